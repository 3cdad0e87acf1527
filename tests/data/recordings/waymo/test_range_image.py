"""Range images to points: the vectorised code against the plain reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from occfeat.data.recordings.waymo.range_image import Laser, correct_motion, decode_returns
from occfeat.errors import DatasetError
from tests.support.recordings.waymo_ranges import images_of, matrix_of, reference_points


def random_image(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    image = rng.uniform(0.5, 75, (height, width, 4)).astype(np.float32)
    image[..., 0] = np.where(rng.random((height, width)) < 0.3, rng.choice((-1, 0)), image[..., 0])
    return image


@given(
    seed=st.integers(0, 10_000), height=st.integers(1, 6), width=st.integers(1, 9), given_beams=st.booleans()
)
def test_points__equal_the_plain_reference(seed: int, height: int, width: int, given_beams: bool) -> None:
    rng = np.random.default_rng(seed)
    image = random_image(rng, height, width)
    mounted = matrix_of([*rng.uniform(-0.2, 0.2, 2), rng.uniform(-3, 3), 1.4, -0.3, 2.1])
    low, high = -0.31, 0.04
    beams = np.sort(rng.uniform(low, high, height)) if given_beams else None
    laser = Laser("LIDAR_FRONT", mounted, (low, high), beams)
    points, kept = decode_returns([image], laser.rays(height, width))
    uniform = [low + (high - low) * (i + 0.5) / height for i in range(height)]
    expected = reference_points(image, mounted, uniform if beams is None else beams.tolist())
    assert points.shape == expected.shape
    assert np.abs(points - expected).max(initial=0) < 2e-5
    assert (image.reshape(-1, 4)[kept, 0] > 0).all()


@given(seed=st.integers(0, 10_000))
def test_points_of_the_moving_lidar__equal_the_plain_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = 5, 8
    image = random_image(rng, height, width)
    mounted = matrix_of([0.01, -0.02, 2.5, 1.4, 0.0, 2.2])
    start = np.array([0.02, -0.03, rng.uniform(-3, 3), 15_568.0, -860.0, 30.0])
    pose = matrix_of(list(start))
    pixel_poses = start + rng.normal(0, (0.01, 0.01, 0.05, 1, 1, 0.1), (height, width, 6))
    pixel_poses = pixel_poses.astype(np.float32)
    laser = Laser("LIDAR_TOP", mounted, (-0.3, 0.1))
    points, kept = decode_returns([image], laser.rays(height, width))
    points[:, :3] = correct_motion(points[:, :3], pixel_poses.reshape(-1, 6)[kept], mounted, pose)
    beams = laser.beams_rad(height)[::-1].tolist()
    expected = reference_points(image, mounted, beams, pixel_poses, pose)
    assert np.abs(points - expected).max() < 1e-4
    still = reference_points(image, mounted, beams)
    assert np.abs(points - still).max() > 0.1  # the correction is not small


def test_inverse_projection__gives_the_points_back() -> None:
    rng = np.random.default_rng(0)
    beams = np.sort(rng.uniform(-0.5, 0.2, 16))
    mounted, pose = (
        matrix_of([0.0, 0.01, -1.57, 0.9, 0.1, 1.8]),
        matrix_of([0.01, 0.02, 1.0, 700.0, 300.0, 2.0]),
    )
    ring = np.repeat(np.arange(16), 100)
    lift = beams[ring] + rng.normal(0, 1e-3, len(ring))
    around = np.tile(np.arange(100) * 2 * np.pi / 100, 16) + rng.normal(0, 1e-3, len(ring))
    rays = np.stack((np.cos(around) * np.cos(lift), np.sin(around) * np.cos(lift), np.sin(lift)), axis=1)
    points = np.column_stack(
        (rays * rng.uniform(2, 70, len(ring))[:, None], rng.uniform(0, 255, len(ring)), ring)
    )
    behind = points[:50] * (1.5, 1.5, 1.5, 1, 1)  # second returns
    both = np.concatenate((points, behind))
    images = images_of(both, beams, 400, mounted, pose)
    assert images.lost == 0
    laser = Laser("LIDAR_TOP", mounted, (0.0, 0.0), beams)
    rays = laser.rays(16, 400)
    found = []
    for image in (images.first, images.second):
        one, kept = decode_returns([image], rays)
        own = images.pixel_poses.reshape(-1, 6)[kept]
        one[:, :3] = correct_motion(one[:, :3], own, mounted, pose)
        found.append(one)
    back = np.concatenate(found)
    assert len(found[1]) == 50
    order, other = np.lexsort(both[:, 3::1].T), np.lexsort(back[:, 3::1].T)
    assert np.abs(both[order] - back[other]).max() < 2e-4


def test_beams__are_as_many_as_rows() -> None:
    laser = Laser("LIDAR_TOP", np.eye(4), (0.0, 0.0), np.linspace(-0.3, 0.1, 64))
    with pytest.raises(DatasetError, match="has 64 beams, but a range image has 32 rows"):
        laser.rays(32, 10)
    for odd in (np.array([0.0, np.nan]), np.array([0.0, 2.0])):
        with pytest.raises(DatasetError, match="expected inclinations between"):
            Laser("LIDAR_TOP", np.eye(4), (0.0, 0.0), odd)

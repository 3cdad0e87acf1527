"""What the LiDAR makes of a flat place: ranges that scatter, and rays that bring nothing back."""

import numpy as np
import pytest

from streetworld.rendering.lidar import RANGE_M, RANGE_NOISE_M, beam_directions
from tests.streetworld.test_scenes import built_street, open_field

Ranges = tuple[np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def ranges() -> Ranges:
    """Measured and true ranges of all points on the ground, and the ranges of all rays that meet it."""
    scene = open_field(built_street(), [])
    height_m = float(scene.scene_from_lidar(0.0)[2, 3])
    sweep = scene.scan(0.0)
    points = sweep.points[sweep.object_id >= 0, :3].astype(float)
    measured = np.linalg.norm(points, axis=1)
    down = -beam_directions()[0][:, 2].astype(float)
    cast = height_m / down[down > 0]
    return measured, height_m * measured / -points[:, 2], cast[(cast > RANGE_M[0]) & (cast < RANGE_M[1])]


def test_ranges__scatter_as_stated_around_the_truth_near_and_far(ranges: Ranges) -> None:
    measured, true, _ = ranges
    for reach in (true < 10, (true >= 10) & (true < 60)):
        error_m = (measured - true)[reach]
        assert len(error_m) > 3000
        assert error_m.std() == pytest.approx(RANGE_NOISE_M, rel=0.05)
        assert abs(error_m.mean()) < 0.05 * RANGE_NOISE_M


def test_some_rays_bring_nothing_back__more_of_them_from_afar(ranges: Ranges) -> None:
    _, true, cast = ranges

    def lost(near_m: float, far_m: float) -> float:
        returned, sent = (int(((one > near_m) & (one < far_m)).sum()) for one in (true, cast))
        return 1 - returned / sent

    assert 0.005 < lost(0, 30) < 0.05
    assert 0.1 < lost(55, 90) < 0.8

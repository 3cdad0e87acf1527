"""Lenses of the street world: formulas, inverse, limits, and what is black."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from occfeat.geometry.lens import PINHOLE, Lens
from streetworld.optics import Optics, distort, limit_rad, undistort
from streetworld.rendering.sensors import UNLIT
from streetworld.rigs import BARREL, FISHEYE, RIGS
from streetworld.scene import Scene
from streetworld.things.materials import CLASSES
from tests.streetworld.test_scenes import built_street

LENSES = {
    "barrel": BARREL,
    "rational": Lens("brown_conrady", (0.4, 0.1, 0.001, -0.002, 0.01, 0.7, 0.2, 0.03)),
    "off centre": Lens("brown_conrady", (0.1, 0.02, 0.02, -0.03)),
    "fisheye": FISHEYE,
    "half a turn": Lens("kannala_brandt", (0.05, 0.0, 0.0, 0.0)),
    "f-theta": Lens("f_theta", (0.9, 0.05, -0.02, 0.001)),
}
SIZE = (90, 160)


def pixels_of(size: tuple[int, int]) -> np.ndarray:
    v, u = np.mgrid[: size[0], : size[1]] + 0.5
    return np.stack((u.ravel(), v.ravel()), axis=-1).astype(np.float32)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_undistortion__is_the_inverse(lens: Lens) -> None:
    angle = np.linspace(0.001, min(0.98 * limit_rad(lens), 1.2 if lens.model == "brown_conrady" else 3), 400)
    around = np.linspace(0, 40, 400)
    unit = np.stack((np.cos(around), np.sin(around)), axis=-1)
    directions, seen = undistort(lens, distort(lens, angle, unit))
    assert seen.all()
    wanted = np.column_stack((unit * np.sin(angle)[:, None], np.cos(angle)))
    np.testing.assert_allclose(directions, wanted, atol=1e-9)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_distortion__is_that_of_opencv(lens: Lens) -> None:
    flat = np.random.default_rng(0).uniform(-0.6, 0.6, (500, 2))
    across = np.hypot(*flat.T)
    own = distort(lens, np.arctan(across), flat / across[:, None])
    numbers, matrix = np.array(lens.coefficients), np.eye(3)
    if lens.model == "brown_conrady":
        points = np.column_stack((flat, np.ones(500)))
        other, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, numbers)
    elif lens.model == "kannala_brandt":
        other = cv2.fisheye.distortPoints(flat[:, None], matrix, numbers)
    else:  # OpenCV does not know it
        angle = np.arctan(across)
        other = flat / across[:, None] * np.polyval([*numbers[::-1], 0], angle)[:, None]
    np.testing.assert_allclose(own, other.reshape(-1, 2), atol=1e-9)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_a_lens__sees_as_far_as_its_value_says(lens: Lens) -> None:
    """The package stops before a half turn, and earlier than the radial part of a lens that is off centre."""
    off_center = 0.0 if lens.is_fisheye else max(map(abs, lens.coefficients[2:4]))
    limit = min(limit_rad(lens), math.radians(179.9 if lens.is_fisheye else 89.9))
    assert -1e-6 < limit - lens.max_angle_rad < 1e-6 + 20 * off_center


def test_a_turn_back__ends_what_a_lens_sees() -> None:
    assert limit_rad(Lens("f_theta", (1.0, -0.4))) == pytest.approx(1.25, abs=1e-6)
    assert limit_rad(Lens("f_theta", (1.0,))) == math.pi
    assert limit_rad(Lens("kannala_brandt", (-1 / 3, 0.0, 0.0, 0.0))) == pytest.approx(1, abs=1e-6)


def test_pixels_beyond_the_lens__have_a_direction_at_its_border() -> None:
    lens = Lens("f_theta", (1.0, -0.4))
    optics = Optics(np.array([[100.0, 0, 80], [0, 100, 45], [0, 0, 1]]), lens, SIZE)
    directions, lit = optics.image_rays
    reach = np.hypot(*(pixels_of(SIZE) - (80, 45)).T) / 100
    np.testing.assert_array_equal(lit, reach <= 1.25 - 0.4 * 1.25**2)
    assert 0.5 < lit.mean() < 0.95
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.arccos(directions[~lit, 2]), 1.25, atol=1e-3)
    assert optics.widest_rad == pytest.approx(1.25, abs=0.1)


def test_a_lens_without_distortion__is_a_pinhole() -> None:
    matrix = np.array([[120.0, 0, 80], [0, 120, 45], [0, 0, 1]])
    plain, none = (Optics(matrix, lens, SIZE) for lens in (PINHOLE, Lens("brown_conrady", (0.0,) * 4)))
    np.testing.assert_allclose(none.image_rays[0], plain.image_rays[0], atol=1e-6)
    assert none.pixel_rad == pytest.approx(plain.pixel_rad)
    assert none.widest_rad == pytest.approx(plain.widest_rad, abs=1e-6)


@pytest.fixture(scope="module")
def surround() -> Scene:
    street = built_street()
    request = replace(street.request, rig="fisheye4", image_size=(96, 168))
    return replace(street, request=request, rig=request.mounted_rig())


@pytest.mark.parametrize("number", range(4))
def test_pixels_beyond_the_lens__are_black_and_of_no_class(surround: Scene, number: int) -> None:
    camera = surround.rig.cameras[number]
    shot = surround.look(camera, 0).shot
    lit = camera.optics(surround.request.image_size).image_rays[1].reshape(shot.object_id.shape)
    assert 0.85 < lit.mean() < 0.97
    assert not shot.pixels[~lit].any()
    assert shot.pixels[lit].mean() > 60
    np.testing.assert_array_equal(shot.class_id == UNLIT, ~lit)
    assert set(shot.object_id[~lit]) == {-1}
    np.testing.assert_array_equal(np.isinf(shot.depth_m), (shot.class_id == CLASSES.index("sky")) | ~lit)
    assert shot.depth_m.min() > 0  # beside and behind the image plane, too


def test_black_corners__do_not_change_the_exposure(surround: Scene) -> None:
    """The same camera on a wider image shows the same street with more black around it."""
    camera = surround.rig.cameras[0]
    wide = replace(camera, view_deg=205.0)
    narrow = surround.look(camera, 0).shot.pixels
    scene = replace(surround, rig=replace(surround.rig, cameras=(wide,)))
    height, width = narrow.shape[:2]
    middle = slice(height // 3, 2 * height // 3), slice(width // 3, 2 * width // 3)
    seen = scene.look(wide, 0).shot.pixels
    assert float(seen[middle].mean()) == pytest.approx(float(narrow[middle].mean()), abs=6)


def test_a_rig_with_distortion__shows_the_street_of_the_one_without() -> None:
    street = built_street()
    grey = []
    for name in ("nuscenes", "raw6"):
        request = replace(street.request, rig=name)
        scene = replace(street, request=request, rig=request.mounted_rig())
        shots = [scene.look(camera, 0).shot for camera in scene.rig.cameras]
        grey.append([float(shot.pixels.mean()) for shot in shots])
        assert all((shot.class_id != UNLIT).all() for shot in shots)
    assert [one.channel for one in RIGS["raw6"].cameras] == [one.channel for one in RIGS["nuscenes"].cameras]
    np.testing.assert_allclose(grey[1], grey[0], atol=12)

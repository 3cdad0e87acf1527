import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from occfeat.geometry.lens import PINHOLE, Lens
from streetworld.layout.street import annotation_of
from streetworld.optics import Optics
from streetworld.rendering.labels import (
    Label,
    Pose,
    View,
    _covering_pixels,
    _covers,
    _is_out_of_sight,
    label,
    points_inside,
)
from streetworld.rendering.sensors import Shot, turn
from streetworld.rendering.tracer import Tracer
from streetworld.things.materials import Material
from streetworld.things.objects import Annotation
from streetworld.things.shapes import box, join, place

CAR = box((0, 0, 0.8), (4, 2, 1.6), Material.PAINT)
SIZE = (90, 160)
INTRINSICS = np.array([[120.0, 0, 80], [0, 120, 45], [0, 0, 1]])
PLAIN = Optics(INTRINSICS, PINHOLE, SIZE)
FISHEYE = Optics(
    np.array([[193.0, 0, 320], [0, 193, 180], [0, 0, 1]]),
    Lens("kannala_brandt", (-0.01, 0.0, 0.0, -0.0008)),
    (360, 640),
)
"""Sees 190 degrees from left to right."""
FORWARD = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]])
NO_POINTS = np.zeros((0, 3))


def annotation() -> Annotation:
    return annotation_of(CAR, (1.0, 1.0, 1.0), "vehicle.car", None)


def view_of(*walls: tuple[float, float, float], optics: Optics = PLAIN, turned_deg: float = 0.0) -> View:
    """A car 10 m ahead (object 7) behind walls, each at (x, from y, to y), as a turned camera sees them."""
    things = [place(CAR, (10, 0, 0), object_id=7)]
    for x, low, high in walls:
        wall = box((x, (low + high) / 2, 2), (0.1, high - low, 4), Material.WALL)
        things.append(place(wall, (0, 0, 0), object_id=1))
    scene_from_camera = FORWARD.copy()
    scene_from_camera[:3, :3] = Pose(0.0, 0.0, 0.0, math.radians(turned_deg)).rotation @ FORWARD[:3, :3]
    directions, lit = optics.image_rays
    origin = np.tile(np.float32([[0, 0, 1]]), (len(directions), 1))
    mesh = join(things)
    face = Tracer(mesh).hit(origin, turn(directions, scene_from_camera)).face
    seen = np.where((face >= 0) & lit, mesh.object_id[face], -1).astype(np.int32).reshape(optics.size)
    black = np.zeros((*optics.size, 3), np.uint8)
    shot = Shot(black, np.zeros(optics.size, np.float32), np.zeros(optics.size, np.uint8), seen)
    return View(shot, scene_from_camera, optics)


def look(*views: View, points: np.ndarray = NO_POINTS) -> Label | None:
    at = Pose(10.0, 0.0, 0.0, 0.0)
    return label(7, annotation(), at, [(at, CAR)] * len(views), list(views), points)


def test_nothing_in_the_way_is_level_four() -> None:
    found = look(view_of())
    assert found is not None
    assert found.visible == 1
    assert found.level == 4
    np.testing.assert_allclose(found.center, (10, 0, 0.8), atol=1e-6)


@pytest.mark.parametrize(("edge", "share", "level"), [(-0.55, 0.75, 3), (0.05, 0.5, 2), (0.4, 0.27, 1)])
def test_a_wall_hides_the_share_it_covers(edge: float, share: float, level: int) -> None:
    found = look(view_of((7.0, -5.0, edge)))
    assert found is not None
    assert found.visible == pytest.approx(share, abs=0.08)
    assert found.level == level


@pytest.mark.parametrize("turned_deg", [0.0, -50.0, 80.0])
@pytest.mark.parametrize(
    ("edge", "share", "level"), [(-5.0, 1.0, 4), (-0.4, 0.72, 3), (0.05, 0.5, 2), (0.4, 0.27, 1)]
)
def test_a_wall_hides_the_share_it_covers__from_a_fisheye_camera(
    turned_deg: float, edge: float, share: float, level: int
) -> None:
    found = look(view_of((7.0, -5.1, edge), optics=FISHEYE, turned_deg=turned_deg))
    assert found is not None
    assert found.visible == pytest.approx(share, abs=0.08)
    assert found.level == level


def test_only_the_part_of_an_object_within_the_lens_counts() -> None:
    """Of a car 100 degrees aside, the lens shows some; nothing hides that part."""
    found = look(view_of(optics=FISHEYE, turned_deg=95.0))
    assert found is not None
    assert found.visible > 0.97
    assert look(view_of(optics=FISHEYE, turned_deg=125.0)) is None


def test_what_is_wholly_hidden_is_not_labelled_unless_the_lidar_has_it() -> None:
    hidden = view_of((7.0, -5.0, 5.0))
    assert look(hidden) is None
    inside = np.array([[10.0, 0.5, 1.0], [30.0, 0, 1]])
    found = look(hidden, points=inside)
    assert found is not None
    assert found.level == 1
    assert found.lidar_points == 1


def test_the_share_counts_the_pixels_of_all_cameras() -> None:
    found = look(view_of(), view_of((7.0, -5.0, 5.0)))
    assert found is not None
    assert found.visible == pytest.approx(0.5, abs=0.01)


def test_points_inside_a_turned_box() -> None:
    pose = Pose(5.0, 5.0, 0.0, np.pi / 2)
    points = np.array([[5.0, 6.9, 0.8], [6.9, 5.0, 0.8], [5.0, 5.0, 1.7], [5.9, 3.1, 0.1]])
    assert points_inside(annotation(), pose, points).tolist() == [True, False, False, True]


PLACES = st.tuples(st.floats(-60, 60), st.floats(-60, 60), st.floats(0, 2 * math.pi))


VIEWS = {"plain": view_of(), "fisheye": view_of(optics=FISHEYE)}
"""Views of 67 and 190 degrees."""


@pytest.mark.parametrize("name", VIEWS)
@given(PLACES)
def test_what_is_out_of_sight_covers_no_pixel(name: str, place: tuple[float, float, float]) -> None:
    x, y, yaw = place
    view, pose = VIEWS[name], Pose(x, y, 0.0, yaw)
    if _is_out_of_sight(annotation(), pose, view):
        pixels, _ = _covering_pixels(annotation(), pose, view)
        assert not _covers(Tracer(CAR), (1.0, 1.0, 1.0), pose, view, pixels).any()


@given(PLACES)
def test_the_pixels_of_an_object_lie_where_they_are_looked_for(place: tuple[float, float, float]) -> None:
    """Behind a fisheye lens, edges of boxes are bent."""
    x, y, yaw = place
    view, pose = VIEWS["fisheye"], Pose(x / 8, y / 8, 0.0, yaw)
    if math.hypot(pose.x, pose.y) < 3:
        return
    every = np.stack(np.meshgrid(np.arange(640) + 0.5, np.arange(360) + 0.5), axis=-1).reshape(-1, 2)[::7]
    own = every[_covers(Tracer(CAR), (1.0, 1.0, 1.0), pose, view, every)]
    pixels, weight = _covering_pixels(annotation(), pose, view)
    if len(own):
        assert (own.min(axis=0) > pixels.min(axis=0) - math.sqrt(weight) - 1).all()
        assert (own.max(axis=0) < pixels.max(axis=0) + math.sqrt(weight) + 1).all()


@pytest.mark.parametrize(("name", "least", "most"), [("plain", 52, 58), ("fisheye", 24, 30)])
def test_most_boxes_are_out_of_sight(name: str, least: int, most: int) -> None:
    places = [(30 * math.cos(angle), 30 * math.sin(angle)) for angle in np.linspace(0, 2 * math.pi, 72)]
    hidden = [_is_out_of_sight(annotation(), Pose(x, y, 0.0, 0.0), VIEWS[name]) for x, y in places]
    assert least <= sum(hidden) <= most

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetworld.layout.street import annotation_of
from streetworld.rendering.labels import (
    Label,
    Pose,
    TemplateTracers,
    View,
    _covering_pixels,
    _is_out_of_sight,
    label,
    points_inside,
)
from streetworld.rendering.sensors import Shot, rays
from streetworld.rendering.tracer import Tracer
from streetworld.things.materials import Material
from streetworld.things.objects import Annotation
from streetworld.things.shapes import box, join, place

CAR = box((0, 0, 0.8), (4, 2, 1.6), Material.PAINT)
SIZE = (90, 160)
INTRINSICS = np.array([[120.0, 0, 80], [0, 120, 45], [0, 0, 1]])
FORWARD = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1], [0, 0, 0, 1]])
NO_POINTS = np.zeros((0, 3))


def annotation() -> Annotation:
    return annotation_of(CAR, (1.0, 1.0, 1.0), "vehicle.car", None)


def view_of(*walls: tuple[float, float, float]) -> View:
    """A car 10 m ahead (object 7) behind walls, each at (x, from y, to y), as a camera sees them."""
    things = [place(CAR, (10, 0, 0), object_id=7)]
    for x, low, high in walls:
        wall = box((x, (low + high) / 2, 2), (0.1, high - low, 4), Material.WALL)
        things.append(place(wall, (0, 0, 0), object_id=1))
    v, u = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32) + np.float32(0.5)
    directions, _ = rays(np.stack((u.ravel(), v.ravel()), -1), FORWARD, INTRINSICS)
    origin = np.tile(np.float32([[0, 0, 1]]), (len(directions), 1))
    mesh = join(things)
    face = Tracer(mesh).hit(origin, directions).face
    seen = np.where(face >= 0, mesh.object_id[face], -1).astype(np.int32).reshape(SIZE)
    shot = Shot(np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.float32), np.zeros(SIZE, np.uint8), seen)
    return View(shot, FORWARD, INTRINSICS)


def look(*views: View, points: np.ndarray = NO_POINTS) -> Label | None:
    at = Pose(10.0, 0.0, 0.0, 0.0)
    return label(7, annotation(), at, [(at, CAR)] * len(views), list(views), points, TemplateTracers())


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


@pytest.fixture(scope="module")
def ahead() -> View:
    """A view of 67 degrees."""
    return view_of()


@given(PLACES)
def test_what_is_out_of_sight_covers_no_pixel(ahead: View, place: tuple[float, float, float]) -> None:
    x, y, yaw = place
    pose = Pose(x, y, 0.0, yaw)
    if _is_out_of_sight(annotation(), pose, ahead):
        assert len(_covering_pixels(annotation(), pose, ahead)[0]) == 0


def test_most_boxes_are_out_of_sight(ahead: View) -> None:
    places = [(30 * math.cos(angle), 30 * math.sin(angle)) for angle in np.linspace(0, 2 * math.pi, 72)]
    hidden = [_is_out_of_sight(annotation(), Pose(x, y, 0.0, 0.0), ahead) for x, y in places]
    assert 52 <= sum(hidden) <= 58

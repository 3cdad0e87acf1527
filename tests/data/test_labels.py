import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from occfeat.data.formats.nuscenes.source import NuScenes
from occfeat.data.keyframe import Boxes
from occfeat.data.labels import draw_labels, fill, polygons_on
from occfeat.errors import SettingsError
from occfeat.geometry.frames import from_rotation, rotation_about_z
from occfeat.geometry.grid import BevGrid

GRID = BevGrid((-50.0, -50.0), (50.0, 50.0), (0.5, 0.5))
ONE = torch.eye(4, dtype=torch.float64)


def rectangle(center: tuple[float, float], size: tuple[float, float], yaw: float = 0.0) -> torch.Tensor:
    half = torch.tensor(size, dtype=torch.float64) / 2
    corners = torch.tensor([[1.0, -1], [1, 1], [-1, 1], [-1, -1]], dtype=torch.float64) * half
    turn = torch.tensor(
        [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]], dtype=torch.float64
    )
    return (corners @ turn.T + torch.tensor(center, dtype=torch.float64))[None]


def boxes_at(centers: list[tuple[float, float]], **changes: object) -> Boxes:
    n = len(centers)
    values = {
        "tokens": tuple(str(i) for i in range(n)),
        "category": ("vehicle.car",) * n,
        "center_ego": torch.tensor([(x, y, 1.0) for x, y in centers], dtype=torch.float64),
        "size_m": torch.tensor([(4.6, 1.9, 1.7)], dtype=torch.float64).repeat(n, 1),
        "ego_from_box": rotation_about_z(torch.linspace(0, 3, n, dtype=torch.float64)),
        "visibility": torch.full((n,), 4),
        "lidar_points": torch.zeros(n, dtype=torch.int64),
        "speed_mps": torch.full((n,), math.nan),
    }
    return Boxes(**(values | changes))  # type: ignore[arg-type]


def rasterize(footprints_ego: torch.Tensor, grid: BevGrid) -> torch.Tensor:
    return fill(polygons_on(footprints_ego, grid).values(), grid)


def test_rasterize__axes_and_border() -> None:
    """x is the first index; corners are rounded to cells, and both ends are filled."""
    mask = rasterize(rectangle((10.0, -20.0), (4.0, 2.0)), GRID)
    x, y = mask.nonzero().unbind(1)
    assert (x.min(), x.max(), y.min(), y.max()) == (116, 124, 58, 62)
    assert mask.sum() == 9 * 5


def test_rasterize__equals_the_published_recipe() -> None:
    """The lines of the reference labels: subtract the first centre, add half a cell, round, swap, fill."""
    rng = np.random.default_rng(0)
    footprints = torch.cat([rectangle(tuple(rng.uniform(-55, 55, 2)), tuple(rng.uniform(0.3, 12, 2)), yaw)
                            for yaw in rng.uniform(0, 7, 200)])  # fmt: skip
    expected = np.zeros((200, 200))
    first_center = np.array((-50.0, -50.0)) + 0.5 / 2
    for footprint in footprints.numpy():
        points = np.round((footprint - first_center + 0.5 / 2) / 0.5).astype(np.int32)
        points[:, [1, 0]] = points[:, [0, 1]]
        cv2.fillPoly(expected, [points], 1.0)
    np.testing.assert_array_equal(rasterize(footprints, GRID), expected > 0)


def test_rasterize__none() -> None:
    assert not rasterize(torch.empty(0, 4, 2), GRID).any()


@pytest.mark.parametrize("far", [60.0, 5e3, 1e6, 1e12, 1e300])
@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (-1, 0), (0, -1), (-1, 1)])
def test_rasterize__outside(far: float, direction: tuple[int, int]) -> None:
    assert not rasterize(rectangle((direction[0] * far, direction[1] * far), (4, 2)), GRID).any()


@pytest.mark.parametrize("size", [250.0, 2e4, 1e7, 1e12, 1e200])
@pytest.mark.parametrize("yaw", [0.0, 0.3])
def test_rasterize__huge_covers_everything(size: float, yaw: float) -> None:
    assert rasterize(rectangle((3.0, 2.0), (size, size), yaw), GRID).all()


@pytest.mark.parametrize("length", [300.0, 2e4, 1e6, 1e9])
def test_rasterize__huge_across_the_border(length: float) -> None:
    """A wall that reaches from x = 10 m far to the front covers the front cells only."""
    mask = rasterize(rectangle((10 + length / 2, 0.0), (length, length)), GRID)
    assert mask[120:].all()
    assert not mask[:120].any()


def test_rasterize__not_finite_is_left_out() -> None:
    footprints = rectangle((0, 0), (4, 2)).repeat(2, 1, 1)
    footprints[0, 0, 0] = math.nan
    torch.testing.assert_close(rasterize(footprints, GRID), rasterize(footprints[1:], GRID))


@settings(deadline=None, max_examples=30)
@given(
    center=st.tuples(st.floats(-35, 35), st.floats(-35, 35)),
    size=st.tuples(st.floats(0.1, 20), st.floats(0.1, 20)),
    yaw=st.floats(-4, 4),
)
def test_rasterize__near_the_exact_rectangle(
    center: tuple[float, float], size: tuple[float, float], yaw: float
) -> None:
    """Cells well inside are filled, cells more than a rounding and a border away are not.

    Of rectangles within the grid: those that reach over its border get stray cells along it from `cv2`, in
    the published labels too.
    """
    mask = rasterize(rectangle(center, size, yaw), GRID)
    offset = GRID.centers().double() - torch.tensor(center, dtype=torch.float64)
    turn = torch.tensor(
        [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]], dtype=torch.float64
    )
    beyond = (offset @ turn).abs() - torch.tensor(size, dtype=torch.float64) / 2
    assert mask[(beyond < -1.1).all(-1)].all()
    assert not mask[(beyond > 1.1).any(-1)].any()


def test_draw_labels__classes_and_visibility() -> None:
    boxes = boxes_at(
        [(10, 0), (20, 5), (-10, 3), (-20, -8), (0, 15)],
        category=(
            "vehicle.car",
            "vehicle.truck",
            "human.pedestrian.adult",
            "movable_object.barrier",
            "vehicle.car",
        ),
        visibility=torch.tensor([4, 1, 1, 1, 0]),
    )
    labels = draw_labels(boxes, NuScenes.taxonomy, ONE, GRID, ("vehicle", "pedestrian"))
    assert labels.classes == ("vehicle", "pedestrian")
    footprints = boxes.footprint_ego()
    torch.testing.assert_close(labels.target[0], rasterize(footprints[[0, 1, 4]], GRID))
    torch.testing.assert_close(labels.target[1], rasterize(footprints[[2]], GRID))
    torch.testing.assert_close(labels.low_visibility[0], rasterize(footprints[[1]], GRID))
    torch.testing.assert_close(labels.low_visibility[1], labels.target[1])


def test_draw_labels__unknown_class() -> None:
    with pytest.raises(SettingsError, match="no class 'tree'"):
        draw_labels(boxes_at([(0, 0)]), NuScenes.taxonomy, ONE, GRID, ("tree",))


def test_draw_labels__no_boxes() -> None:
    empty = boxes_at([], center_ego=torch.empty(0, 3, dtype=torch.float64))
    assert not draw_labels(empty, NuScenes.taxonomy, ONE, GRID, ("vehicle",)).target.any()


def test_draw_labels__quarter_turn_turns_the_mask() -> None:
    """Boxes on whole cells: turning the ego frame by 90 degrees turns the mask, no more and no less."""
    aligned = rotation_about_z(torch.tensor([0, math.pi / 2, math.pi], dtype=torch.float64))
    boxes = boxes_at(
        [(10, -20), (-30, 5), (2, 3)],
        ego_from_box=aligned,
        size_m=torch.tensor([(4.0, 2.0, 1.5)], dtype=torch.float64).repeat(3, 1),
    )
    turn = from_rotation(
        rotation_about_z(torch.tensor(math.pi / 2, dtype=torch.float64)), torch.zeros(3).double()
    )
    before = draw_labels(boxes, NuScenes.taxonomy, ONE, GRID, ("vehicle",)).target[0]
    after = draw_labels(boxes, NuScenes.taxonomy, turn, GRID, ("vehicle",)).target[0]
    # (x, y) goes to (-y, x): corner k of the old mask to corner 200 - k of the new one
    expected = torch.zeros_like(before)
    x, y = before.nonzero().unbind(1)
    expected[200 - y, x] = True
    torch.testing.assert_close(after, expected)


def clip_by_hand(polygon: np.ndarray, reach: float) -> np.ndarray:
    """The part of a convex polygon within a square, one side of the square after the other."""
    for axis in (0, 1):
        for sign in (1.0, -1.0):
            inside_by, kept = reach - sign * polygon[:, axis], []
            for i in range(len(polygon)):
                after = (i + 1) % len(polygon)
                here, there = inside_by[i], inside_by[after]
                if here >= 0:
                    kept.append(polygon[i])
                if (here >= 0) != (there >= 0):
                    kept.append(polygon[i] + (polygon[after] - polygon[i]) * (here / (here - there)))
            polygon = np.array(kept).reshape(-1, 2)
    return polygon


@settings(deadline=None, max_examples=300)
@given(
    center=st.tuples(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5)),
    size=st.tuples(st.floats(1e-30, 1e6), st.floats(0.5, 1e6)),
    yaw=st.floats(-4, 4),
)
@example((4146.0477, 50.298), (5e-30, 45.9), 2.63)
def test_rasterize__far_polygons_as_clipped_by_hand(
    center: tuple[float, float], size: tuple[float, float], yaw: float
) -> None:
    footprint = rectangle(center, size, yaw)
    cells = clip_by_hand((footprint[0].numpy() + 50) / 0.5, 8192.0)
    expected = np.zeros(GRID.shape, dtype=np.uint8)
    if len(cells):
        cv2.fillPoly(expected, [np.round(cells).astype(np.int32)[:, ::-1]], 1)
    np.testing.assert_array_equal(rasterize(footprint, GRID), expected > 0)


def test_draw_labels__motion_ignores_those_that_are_not_known_to_move_or_to_stand() -> None:
    """A fast, a slow, a limiting and an unknown car, and a slow pedestrian."""
    boxes = boxes_at(
        [(-20, 0), (-10, 0), (0, 0), (10, 0), (20, 0)],
        category=(*("vehicle.car",) * 4, "human.pedestrian.adult"),
        speed_mps=torch.tensor([5.0, 0.2, 1.0, math.nan, 0.5]),
    )
    classes = ("vehicle", "pedestrian")
    labels = draw_labels(boxes, NuScenes.taxonomy, ONE, GRID, classes, motion=True)
    footprints = boxes.footprint_ego()
    drawn = {
        "not_moving": (rasterize(footprints[1:4], GRID), rasterize(footprints[4:], GRID)),
        "not_still": (
            rasterize(footprints[[0, 3]], GRID),
            rasterize(footprints[:0], GRID),
        ),
    }
    for name, expected in drawn.items():
        torch.testing.assert_close(getattr(labels, name), torch.stack(expected))
    plain = draw_labels(boxes, NuScenes.taxonomy, ONE, GRID, classes)
    assert (plain.not_moving, plain.not_still) == (None, None)
    torch.testing.assert_close(plain.target, labels.target)

import math
from dataclasses import replace
from pathlib import Path

import torch
from hypothesis import given
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.camera import NEAREST_DEPTH_M, flip_left_right, project
from occfeat.geometry.frames import invert, transform_points
from occfeat.geometry.lens import Lens
from occfeat.report.pictures.camera_images import (
    by_distance,
    clip_to_front,
    draw_boxes,
    draw_points,
    lines_of,
    natural_rows,
)
from occfeat.report.pictures.palette import CLASS_COLORS
from tests.geometry.strategies import vectors
from tests.report.scene import box_corners, find, rig_looking_at


def names_in_rows(cameras: Cameras, names: str) -> list[str]:
    return ["".join(names[camera] for camera in row) for row in natural_rows(cameras)]


def test_natural_rows__of_nuscenes() -> None:
    # Front, front right, back right, back, back left, front left, as nuScenes has them.
    rig = rig_looking_at(0.0, -55.0, -110.0, 180.0, 110.0, 55.0)
    assert natural_rows(rig) == [[5, 0, 1], [4, 3, 2]]


def test_natural_rows__of_any_rig() -> None:
    assert names_in_rows(rig_looking_at(0.0), "F") == ["F"]
    assert names_in_rows(rig_looking_at(0.0, 90.0, 180.0, -90.0), "FLBR") == ["LFR", "B"]
    assert names_in_rows(rig_looking_at(-179.0, 170.0), "ab") == ["ba"]
    seven = rig_looking_at(0.0, 45.0, -45.0, 99.0, -99.0, 153.0, -153.0)
    assert names_in_rows(seven, "0123456") == ["102", "3564"]


@given(vectors(3, -5, 5), vectors(3, -5, 5))
def test_clip_to_front__keeps_the_part_in_front(first: Tensor, second: Tensor) -> None:
    (clipped,), (left,) = clip_to_front(torch.stack((first, second))[None])
    steps = torch.linspace(0, 1, 101, dtype=torch.float64)[:, None]
    depth_m = (first + steps * (second - first))[:, 2]
    assert bool(left) == bool((depth_m >= NEAREST_DEPTH_M).any())
    if left:
        assert clipped[:, 2].min() >= NEAREST_DEPTH_M - 1e-9
        # Still on the same line.
        area = torch.linalg.cross(clipped - first, (second - first).expand(2, 3))
        torch.testing.assert_close(area, torch.zeros_like(area), rtol=0, atol=1e-8)


def bare_axes(cameras: Cameras, figure: Figure) -> Axes:
    """Axes that fill a figure in which one pixel is one image pixel."""
    height, width = cameras.image_size
    figure.set_size_inches(width / 10, height / 10)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return axes


def pixels_ego(cameras: Cameras, points_ego: Tensor) -> Tensor:
    """Pixels (P, 2) of the first camera that points of the ego frame project to."""
    points_camera = transform_points(invert(cameras.ego_from_camera[0]), points_ego)
    return project(cameras.intrinsics[0], points_camera)[0]


def test_draw_boxes__corners_are_where_they_project(tmp_path: Path) -> None:
    cameras = rig_looking_at(10.0)
    corners = box_corners((7.0, 2.0, 1.2), (3.0, 2.0, 1.6))
    figure = Figure()
    draw_boxes(bare_axes(cameras, figure), corners[None], ("vehicle.car",), cameras, 0)
    figure.savefig(tmp_path / "box.png", dpi=200)  # twenty pixels per image pixel
    drawn = torch.from_numpy(find(tmp_path / "box.png", CLASS_COLORS["vehicle"]).copy()).flip(-1) / 20
    expected = pixels_ego(cameras, corners)
    assert torch.cdist(expected, drawn.to(expected)).amin(dim=1).max() < 0.5
    assert (drawn.amin(dim=0) - expected.amin(dim=0)).abs().max() < 0.5
    assert (drawn.amax(dim=0) - expected.amax(dim=0)).abs().max() < 0.5


FISHEYE = Lens("f_theta", (1.0,))


def through_fisheye(cameras: Cameras) -> Cameras:
    return replace(cameras, lenses=torch.tensor([FISHEYE.numbers()] * len(cameras.present)))


def test_lines__bend_behind_a_lens_and_stay_on_the_segment() -> None:
    cameras = through_fisheye(rig_looking_at(0.0))
    ends = torch.tensor([[[4.0, -6.0, 3.0], [4.0, 6.0, 3.0]]])  # across the view, above the axis
    ((edge, line),) = lines_of(ends, cameras, 0)
    assert edge == 0
    share = torch.linspace(0, 1, 33)[:, None]
    x, y, z = (ends[0, :1] + share * (ends[0, 1:] - ends[0, :1]) - torch.tensor([0.0, 0.0, 1.5])).unbind(1)
    angle, across = torch.atan2(torch.hypot(y, z), x), torch.hypot(y, z)
    expected = torch.stack((30 - 30 * angle * y / across, 20 - 30 * angle * z / across), dim=1)
    assert torch.allclose(torch.from_numpy(line), expected, atol=1e-3)
    assert line[16, 1] < line[0, 1] - 0.5  # higher in the middle: bent


def test_lines__that_leave_the_view_and_come_back_are_cut() -> None:
    """A lens that sees up to 57 degrees does not see the corner of a bent way, but both its ends."""
    barrel = Lens("f_theta", (1.0, -0.5))
    cameras = replace(rig_looking_at(0.0), lenses=torch.tensor([barrel.numbers()]))
    ends = torch.tensor([[[4.0, -20.0, 1.5], [4.0, 20.0, 1.5]], [[-4.0, 0.0, 1.5], [-6.0, 1.0, 1.5]]])
    ((edge, line),) = lines_of(ends, cameras, 0)
    assert edge == 0
    assert len(line) < 33
    assert abs(line[:, 0] - 30).max() <= 30 * 0.5


def test_draw_points__through_a_fisheye_beside_the_car(tmp_path: Path) -> None:
    cameras = through_fisheye(replace(rig_looking_at(0.0), image_size=(100, 100)))
    cameras.intrinsics[0, :2, 2] = 50.0
    beside = torch.tensor([[-0.5, 10.0, 1.5], [-10.0, 0.0, 1.5]])  # the second one is right behind
    figure = Figure()
    draw_points(bare_axes(cameras, figure), beside, cameras, 0, by_distance(beside, 10.0))
    figure.savefig(tmp_path / "points.png", dpi=200)
    drawn = find(tmp_path / "points.png", "#440154")
    expected_u = 50 - 30 * math.atan2(10, -0.5)
    assert abs(drawn[:, 1].mean() / 20 - expected_u) < 0.3
    assert abs(drawn[:, 0].mean() / 20 - 50) < 0.3


def test_draw_points__follow_flipped_images(tmp_path: Path) -> None:
    cameras = rig_looking_at(0.0)
    flipped = Cameras(
        flip_left_right(60.0).float() @ cameras.intrinsics,
        cameras.ego_from_camera,
        cameras.present,
        cameras.image_size,
    )
    left_ahead = torch.tensor([[10.0, 5.0, 1.0], [-10.0, 5.0, 1.0]])  # the second one is behind
    for rig, expected_u in ((cameras, 15.0), (flipped, 45.0)):
        figure = Figure()
        draw_points(bare_axes(rig, figure), left_ahead, rig, 0, by_distance(left_ahead, 125.0**0.5))
        figure.savefig(tmp_path / "points.png", dpi=200)
        drawn = find(tmp_path / "points.png", "#440154")  # the far end of the colour map
        assert abs(drawn[:, 1].mean() / 20 - expected_u) < 0.3
        assert abs(drawn[:, 0].mean() / 20 - 21.5) < 0.3

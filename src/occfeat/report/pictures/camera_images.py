"""The images of a rig as seen from the vehicle, with points and boxes drawn on them.

Axes: `N` cameras, `P` points, `n` boxes, `e` edges.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import SubFigure
from numpy import ndarray
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.camera import NEAREST_DEPTH_M, project, visible_in
from occfeat.geometry.frames import invert, transform_points
from occfeat.report.pictures.palette import DISTANCE_COLORS, TIME_COLORS, color_of

EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
"""Pairs of corners of a box: bottom ring, top ring, uprights. The first edge is the lower front one."""

BENDS = 32
"""Pieces of a line behind a lens."""


def natural_rows(cameras: Cameras) -> list[list[int]]:
    """Return cameras in the rows they are drawn in: those that look ahead above, those that look back below.

    Each row runs from the vehicle's left to its right: front left is upper left, back left is lower left.
    """
    axis_ego = cameras.ego_from_camera[:, :3, 2]
    azimuth_deg = torch.rad2deg(torch.atan2(axis_ego[:, 1], axis_ego[:, 0])).tolist()  # left is positive
    ahead = [camera for camera, angle in enumerate(azimuth_deg) if abs(angle) <= 90.5]
    behind = [camera for camera in range(len(azimuth_deg)) if camera not in ahead]
    ahead.sort(key=lambda camera: -azimuth_deg[camera])
    behind.sort(key=lambda camera: azimuth_deg[camera] % 360)
    return [row for row in (ahead, behind) if row]


def show_images(
    figure: SubFigure, images: UInt8[Tensor, "N 3 H W"], cameras: Cameras, channels: Sequence[str]
) -> dict[int, Axes]:
    """Draw the images in their natural rows and return the axes of each camera, in pixels."""
    rows = natural_rows(cameras)
    grid = figure.add_gridspec(len(rows), math.lcm(*map(len, rows)))
    height, width = cameras.image_size
    panels = {}
    for number, row in enumerate(rows):
        span = grid.ncols // len(row)
        for column, camera in enumerate(row):
            axes = figure.add_subplot(grid[number, column * span : (column + 1) * span])
            # The extent puts the centre of the first pixel at (0.5, 0.5).
            axes.imshow(images[camera].permute(1, 2, 0).numpy(), extent=(0, width, height, 0))
            absent = "" if cameras.present[camera] else " (missing)"
            axes.set(xlim=(0, width), ylim=(height, 0))
            axes.set_title(channels[camera] + absent, fontsize=9)
            axes.set_axis_off()
            panels[camera] = axes
    return panels


def pixels_of(
    points_ego: Float[Tensor, "P 3"], cameras: Cameras, camera: int
) -> tuple[Float[Tensor, "P 2"], Float[Tensor, " P"]]:
    """Return pixel and depth of points in one camera, see `geometry.camera.project`."""
    points_camera = transform_points(invert(cameras.ego_from_camera[camera]), points_ego)
    lens = None if cameras.lenses is None else cameras.lenses[camera]
    return project(cameras.intrinsics[camera], points_camera, lens)


@dataclass(frozen=True)
class PointColors:
    """What the colours of LiDAR points mean."""

    values: Float[Tensor, " P"]
    limits: tuple[float, float]
    """Values at the two ends of the colour map."""
    colors: str
    """matplotlib colour map."""
    label: str
    """What it shows, with its unit."""


def by_distance(points_ego: Float[Tensor, "P 3"], farthest_m: float) -> PointColors:
    """Return colours of the distance from the ego origin."""
    label = "LiDAR distance on the images, m"
    return PointColors(points_ego[:, :2].norm(dim=1), (0.0, farthest_m), DISTANCE_COLORS, label)


def by_time(after_s: Float[Tensor, " P"]) -> PointColors:
    """Return colours of the time after the key frame."""
    most_s = max(float(after_s.abs().max()) if len(after_s) else 0.0, 1e-3)
    return PointColors(after_s, (-most_s, most_s), TIME_COLORS, "LiDAR, s after the key frame")


def draw_points(
    axes: Axes, points_ego: Float[Tensor, "P 3"], cameras: Cameras, camera: int, colors: PointColors
) -> None:
    """Draw the LiDAR points a camera sees in their colours, the nearest on top."""
    pixels, depth_m = pixels_of(points_ego, cameras, camera)
    seen = visible_in(cameras.image_size, pixels, depth_m)
    distance_m = points_ego[:, :2].norm(dim=1)
    order = distance_m[seen].argsort(descending=True)
    u, v = pixels[seen][order].unbind(-1)
    axes.scatter(
        u.numpy(),
        v.numpy(),
        c=colors.values[seen][order].numpy(),
        s=1.5,
        linewidths=0,
        cmap=colors.colors,
        vmin=colors.limits[0],
        vmax=colors.limits[1],
    )


def draw_boxes(
    axes: Axes,
    corners_ego: Float[Tensor, "n 8 3"],
    categories: Sequence[str],
    cameras: Cameras,
    camera: int,
) -> None:
    """Draw the boxes that a camera sees as wireframes; the lower front edge is thicker."""
    lines, colors, widths = [], [], []
    for corners, category in zip(corners_ego, categories, strict=True):
        for edge, line in lines_of(corners[torch.tensor(EDGES)], cameras, camera):
            lines.append(line)
            colors.append(color_of(category))
            widths.append(2.0 if edge == 0 else 0.9)
    axes.add_collection(LineCollection(lines, colors=colors, linewidths=widths))


def lines_of(ends_ego: Float[Tensor, "e 2 3"], cameras: Cameras, camera: int) -> list[tuple[int, ndarray]]:
    """Return the parts of line segments that a camera sees: the number of each, and its pixels (k, 2).

    Behind a lens a segment bends, and can leave the view and come back.
    """
    if cameras.lenses is None:
        ends_camera = transform_points(invert(cameras.ego_from_camera[camera]), ends_ego.flatten(0, 1))
        ends_camera, in_front = clip_to_front(ends_camera.reshape(-1, 2, 3))
        ends_px, _ = project(cameras.intrinsics[camera], ends_camera.flatten(0, 1))
        return [(edge, ends_px.reshape(-1, 2, 2)[edge].numpy()) for edge in in_front.nonzero()[:, 0].tolist()]
    share = torch.linspace(0, 1, BENDS + 1, dtype=ends_ego.dtype)[:, None]
    points_ego = ends_ego[:, :1] + share * (ends_ego[:, 1:] - ends_ego[:, :1])
    pixels, depth_m = pixels_of(points_ego.flatten(0, 1), cameras, camera)
    lines = []
    for edge, seen in enumerate((depth_m >= NEAREST_DEPTH_M).view(-1, BENDS + 1)):
        inside = seen.nonzero()[:, 0].numpy()
        for run in np.split(inside, np.flatnonzero(np.diff(inside) > 1) + 1):
            if len(run) > 1:
                lines.append((edge, pixels.view(-1, BENDS + 1, 2)[edge, run].numpy()))
    return lines


def clip_to_front(
    ends_camera: Float[Tensor, "e 2 3"],
) -> tuple[Float[Tensor, "e 2 3"], Bool[Tensor, " e"]]:
    """Cut line segments off at the nearest visible depth; also return which of them remain."""
    depth_m = ends_camera[..., 2]
    behind = depth_m < NEAREST_DEPTH_M
    other, other_depth_m = ends_camera.flip(1), depth_m.flip(1)
    crosses = behind & ~behind.flip(1)
    share = (NEAREST_DEPTH_M - depth_m) / torch.where(
        crosses, other_depth_m - depth_m, torch.ones_like(depth_m)
    )
    clipped = torch.where(
        crosses[..., None], ends_camera + share[..., None] * (other - ends_camera), ends_camera
    )
    return clipped, ~behind.all(dim=1)

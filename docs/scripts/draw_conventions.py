"""Draws the pictures of the conventions page, with the package's own geometry so that they cannot go stale.

Run by every build of the documentation. By hand: `python docs/scripts/draw_conventions.py FOLDER`.
"""

import math
import sys
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor

from occfeat.geometry.camera import flip_left_right, resize, rotate
from occfeat.geometry.frames import from_rotation, invert, rotation_about_z, transform_points
from occfeat.geometry.grid import BevGrid
from occfeat.report.pictures.bev import bev_axes, for_display, show_cells
from occfeat.report.pictures.palette import CLASS_COLORS, EGO_COLOR, OTHER_COLOR

ORANGE, BLUE, GREEN, RED = CLASS_COLORS["vehicle"], CLASS_COLORS["pedestrian"], OTHER_COLOR, EGO_COLOR
CAR_LENGTH_M, CAR_WIDTH_M, REAR_OVERHANG_M = 4.1, 1.7, 0.8
MOUNTS = {  # x forward and y left in metres, azimuth in degrees: about as in nuScenes
    "front": (1.7, 0.0, 0.0),
    "front left": (1.5, 0.5, 55.0),
    "front right": (1.5, -0.5, -55.0),
    "back left": (1.0, 0.5, 110.0),
    "back right": (1.0, -0.5, -110.0),
    "back": (-0.6, 0.0, 180.0),
}


def ego_from_camera(x_m: float, y_m: float, azimuth_deg: float, height_m: float = 1.5) -> Tensor:
    """Transform of a level camera that looks at an azimuth, left being positive."""
    looking_ahead = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # camera x is right, y is down
    turn = rotation_about_z(torch.tensor(math.radians(azimuth_deg)))
    return from_rotation(turn @ looking_ahead, torch.tensor([x_m, y_m, height_m]))


def seen_from_above(axes: Axes, reach_m: float) -> None:
    """Axes with x up and y to the left, in metres."""
    axes.set(xlim=(reach_m, -reach_m), ylim=(-reach_m, reach_m), aspect="equal")
    axes.set_axis_off()


def draw_car(axes: Axes, global_from_ego: Tensor | None = None, color: str = "#D9D9D9") -> None:
    """The outline of the car seen from above; the ego frame's origin is on the rear axle."""
    back, front = -REAR_OVERHANG_M, CAR_LENGTH_M - REAR_OVERHANG_M
    half = CAR_WIDTH_M / 2
    outline_ego = torch.tensor([[back, half, 0], [front, half, 0], [front, -half, 0], [back, -half, 0]])
    outline = transform_points(torch.eye(4) if global_from_ego is None else global_from_ego, outline_ego)
    axes.fill(outline[:, 1], outline[:, 0], color=color, edgecolor="gray", zorder=0)


def arrow(axes: Axes, start: Tensor, end: Tensor, color: str, label: str = "") -> None:
    """An arrow between two points seen from above, with a name at its tip."""
    (x0, y0), (x1, y1) = start[:2].tolist(), end[:2].tolist()
    axes.annotate("", (y1, x1), (y0, x0), arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.6})
    if label:
        beyond = torch.tensor([x1, y1]) + 0.25 * torch.nn.functional.normalize(end[:2] - start[:2], dim=0)
        axes.text(beyond[1], beyond[0], label, color=color, ha="center", va="center", fontsize=8)


def draw_frames() -> Figure:
    """The ego frame, and the camera frames of a rig around it."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot()
    seen_from_above(axes, 4.2)
    axes.set_ylim(-3.2, 4.2)
    draw_car(axes)
    origin = torch.zeros(3)
    arrow(axes, origin, torch.tensor([1.2, 0, 0]), RED, "x forward")
    arrow(axes, origin, torch.tensor([0, 1.2, 0]), RED, "y left")
    axes.plot(0, 0, "o", color=RED, markersize=9, markerfacecolor="white")
    axes.plot(0, 0, ".", color=RED, markersize=5)
    axes.text(-0.3, -0.35, "z up\n(towards you)", color=RED, fontsize=8)
    axes.text(
        0,
        -3.9,
        "red: ego frame     blue: camera z (viewing direction)     green: camera x (right)\n"
        "camera y points down, away from you",
        ha="center",
        fontsize=8,
    )
    for name, (x_m, y_m, azimuth_deg) in MOUNTS.items():
        camera = ego_from_camera(x_m, y_m, azimuth_deg)
        ends = transform_points(camera, torch.tensor([[0.0, 0, 0], [0, 0, 1.1], [0.5, 0, 0]]))
        arrow(axes, ends[0], ends[1], BLUE, name)
        arrow(axes, ends[0], ends[2], GREEN)
    return figure


def draw_chain() -> Figure:
    """One point, taken from a camera's frame to the world by a chain of transforms."""
    global_from_ego = from_rotation(rotation_about_z(torch.tensor(0.5)), torch.tensor([410.0, 1180.0, 0.0]))
    camera = ego_from_camera(*MOUNTS["front left"])
    point_camera = torch.tensor([[1.0, 0.5, 8.0]])
    point_ego = transform_points(camera, point_camera)
    point_global = transform_points(global_from_ego @ camera, point_camera)
    figure = Figure(figsize=(8, 2.1), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(0, 10), ylim=(0, 2.6))
    axes.set_axis_off()
    stations = zip(
        (1.2, 5.0, 8.8),
        ("camera frame", "ego frame", "global frame"),
        (point_camera, point_ego, point_global),
        strict=True,
    )
    for x, name, point in stations:
        axes.add_patch(
            FancyBboxPatch((x - 1.0, 0.9), 2.0, 0.9, boxstyle="round,pad=0.08", fc="#F4F4F4", ec="gray")
        )
        axes.text(x, 1.55, name, ha="center", fontsize=9, weight="bold")
        numbers = ", ".join(f"{value:.1f}" for value in point[0].tolist())
        axes.text(x, 1.1, f"({numbers}) m", ha="center", fontsize=8)
    for x, name in ((3.1, "ego_from_camera"), (6.9, "global_from_ego")):
        axes.annotate("", (x + 0.75, 1.35), (x - 0.75, 1.35), arrowprops={"arrowstyle": "-|>", "color": BLUE})
        axes.text(x, 2.05, name, ha="center", fontsize=8, family="monospace", color=BLUE)
    chain = "global_from_camera = global_from_ego @ ego_from_camera"
    axes.text(5, 0.25, chain, ha="center", fontsize=9, family="monospace")
    return figure


def draw_pixels() -> Figure:
    """Where a pixel goes when the image is resized, mirrored or turned."""
    size = (3, 4)
    operations = {
        "image (3, 4)": torch.eye(3, dtype=torch.float64),
        "resize((3, 4), (6, 8))": resize(size, (6, 8)),
        "flip_left_right(4)": flip_left_right(4.0),
        "rotate((3, 4), 20)": rotate(size, 20.0),
    }
    figure = Figure(figsize=(10, 2.9), layout="constrained")
    panels = figure.subplots(1, 4)
    old = torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64)
    corners = torch.tensor([[0, 0, 1], [4, 0, 1], [4, 3, 1], [0, 3, 1], [0, 0, 1]], dtype=torch.float64)
    for axes, (name, new_from_old_px) in zip(panels, operations.items(), strict=True):
        width, height = (8, 6) if "resize" in name else (4, 3)
        axes.set(xlim=(-0.6, width + 0.6), ylim=(height + 0.6, -0.6), aspect="equal")
        axes.set_xticks(range(width + 1))
        axes.set_yticks(range(height + 1))
        axes.grid(color="lightgray")
        axes.plot(*(corners @ new_from_old_px.T)[:, :2].T, color=BLUE)
        u, v = (new_from_old_px @ old)[:2].tolist()
        axes.plot(u, v, "o", color=RED, markersize=5)
        axes.annotate(
            f"({u:.2f}, {v:.2f})", (u, v), (5, 7), textcoords="offset points", fontsize=8, color=RED
        )
        axes.set_title(name, fontsize=9, family="monospace")
        axes.tick_params(labelsize=7)
        axes.set_xlabel("u →", fontsize=8)
        axes.set_ylabel("← v", fontsize=8)
    return figure


def draw_bev() -> Figure:
    """The order of BEV indices beside the picture of the same cells."""
    grid = BevGrid((-4.0, -3.0), (8.0, 3.0), (2.0, 2.0))
    cells = torch.zeros(grid.shape)
    cells[5, 2] = 1  # far ahead, left
    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    table, picture = figure.subplots(1, 2, width_ratios=(1, 1))
    table.set(xlim=(-1.2, 3.2), ylim=(6.8, -1.2), aspect="equal", title="tensor[x, y]")
    table.set_axis_off()
    bev_axes(picture, grid, "the same cells as a picture")
    show_cells(picture, cells.numpy(), grid, colors="Oranges", limits=(0.0, 1.6))
    for x, y in torch.cartesian_prod(torch.arange(6), torch.arange(3)).tolist():
        filled = bool(cells[x, y])
        table.add_patch(Rectangle((y, x), 1, 1, fc=ORANGE if filled else "#F4F4F4", ec="gray"))
        table.text(y + 0.5, x + 0.5, f"{x}, {y}", ha="center", va="center", fontsize=8)
        forward_m, left_m = grid.centers()[x, y].tolist()
        picture.text(left_m, forward_m, f"{x}, {y}", ha="center", va="center", fontsize=8)
    table.annotate("", (-0.4, 6), (-0.4, 0), arrowprops={"arrowstyle": "-|>"})
    table.text(-0.7, 3, "index 0 grows with x, forward", rotation=90, va="center", fontsize=8)
    table.annotate("", (3, -0.3), (0, -0.3), arrowprops={"arrowstyle": "-|>"})
    table.text(1.5, -0.55, "index 1 grows with y, left", ha="center", fontsize=8)
    assert for_display(cells.numpy())[0, 0] == 1  # the filled cell is upper left
    return figure


def draw_ego_motion() -> Figure:
    """Why a camera's transform counts the ego motion between its time and the LiDAR's."""
    lidar_ego_from_camera_ego = from_rotation(
        rotation_about_z(torch.tensor(0.1)), torch.tensor([-1.5, 0.1, 0.0])
    )
    calibration = ego_from_camera(*MOUNTS["front left"])
    compensated = lidar_ego_from_camera_ego @ calibration
    thing_ego = torch.tensor([[5.5, 4.0, 1.0]])  # in the ego frame at the LiDAR's time
    # The pixel that shows the thing is a ray in the camera frame, one and a quarter times as long.
    ray_camera = torch.stack((torch.zeros(3), 1.25 * transform_points(invert(compensated), thing_ego)[0]))
    figure = Figure(figsize=(8, 4), layout="constrained")
    figure.supxlabel(
        "gray: car at the LiDAR's time     outline: at the camera's time (motion drawn large)\n"
        "orange: where the LiDAR sees a thing     blue: ray of the pixel that shows it",
        fontsize=8,
    )
    cases = (("compensated (default)", compensated), ("calibration alone", calibration))
    for axes, (name, used) in zip(figure.subplots(1, 2), cases, strict=True):
        seen_from_above(axes, 7.5)
        axes.set(xlim=(8, -2), ylim=(-3, 10))
        draw_car(axes)
        draw_car(axes, lidar_ego_from_camera_ego, color="none")
        axes.plot(thing_ego[0, 1], thing_ego[0, 0], "s", color=ORANGE, markersize=9)
        start, end = transform_points(used, ray_camera)
        arrow(axes, start, end, BLUE)
        along = torch.nn.functional.normalize(end - start, dim=0)
        miss_m = torch.linalg.cross(thing_ego[0] - start, along).norm().item()
        axes.set_title(f"{name}: misses by {miss_m:.1f} m", fontsize=9)
    return figure


def main(folder: Path) -> None:
    """Write all pictures as SVG files."""
    folder.mkdir(parents=True, exist_ok=True)
    # The same bytes from every build: text stays text, and no random ids.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "occfeat", "font.size": 9}):
        for draw in (draw_frames, draw_chain, draw_pixels, draw_bev, draw_ego_motion):
            draw().savefig(folder / f"{draw.__name__.removeprefix('draw_')}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))

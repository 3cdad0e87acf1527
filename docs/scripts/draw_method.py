"""Draws the picture of the method from a pretraining run and a key frame of a street world.

By hand: `python docs/scripts/draw_method.py RUN DATA OUT [POSITION]`, for instance after `make demo` with the
run `runs/demo/pretrained` and the data `runs/demo/street`. The key frame, given by its position, is one of
the split `test`: a town that the run has not seen. Everything shown is data or the output of the network.

Axes: `N` cameras, `K` voxels, `C` BEV channels, `X Y Z` voxels of the grid.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from numpy.typing import NDArray
from torch import Tensor

from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import collate
from occfeat.geometry.grid import VoxelGrid, build_grid
from occfeat.pretraining.key_frames import key_frames_of
from occfeat.pretraining.objectives.contract import needs_of
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.features import FeatureOutput
from occfeat.pretraining.restore import load_pretraining
from occfeat.report.pictures.bev import for_display
from occfeat.report.pictures.camera_images import by_distance, draw_points, natural_rows
from occfeat.report.pictures.palette import EGO_COLOR, HEIGHT_COLORS
from occfeat.report.pictures.topdown import common_colors
from occfeat.settings.sections import DataConfig
from occfeat.teacher.build import build_teacher

SPLIT = "test"
SHOWN_PX = (160, 280)
"""Height and width of the camera images in the picture; the network may see smaller ones."""
SHOWN_FROM = 0.25
"""Predicted probability of occupancy from which a voxel is drawn. The caption says so."""
LOOKING_DEG, DOWN_DEG = -30.0, 38.0
"""Direction of the view on the voxels: angle to the left of straight ahead, and below level."""
SHADES = (1.0, 0.72, 0.86)
"""Brightness of the upper, rear and side faces of a voxel."""
WIDE_IN, HIGH_IN, DOTS_PER_INCH = 14.0, 5.3, 120


@dataclass(frozen=True)
class Scene:
    """What is shown of one key frame."""

    images: UInt8[Tensor, "N 3 H W"]
    cameras: Cameras
    points_ego: Float[Tensor, "P 3"]
    bev: Float[Tensor, "C X Y"]
    occupied: Int64[Tensor, "K 3"]
    """Voxels with a LiDAR return that a camera sees."""
    predicted: Int64[Tensor, "L 3"]
    """Voxels that the network takes for occupied."""
    teacher: Float[Tensor, "K F"]
    """What the teacher sees in the first."""
    student: Float[Tensor, "L F"]
    """What the student predicts in the second."""
    patches: Float[Tensor, "N h w F"]
    """What the teacher sees in every patch of the images."""
    grid: VoxelGrid

    def feature_colors(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return colours of target, prediction and patches in one basis: equal features, equal colours."""
        others = torch.cat((self.student, self.patches.flatten(0, 2)))
        target, rest = (colors.double().numpy() for colors in common_colors(self.teacher, others))
        return (
            target,
            rest[: len(self.student)],
            rest[len(self.student) :].reshape(*self.patches.shape[:3], 3),
        )


@torch.inference_mode()
def read_scene(run: Path, data: Path, position: int) -> Scene:
    """Return images, targets and predictions of one key frame of the split."""
    network, settings = load_pretraining(run)
    index, grid = Index.open(DataConfig(root=data)), build_grid(settings.grid)
    row = int(index.rows(SPLIT)[position])
    key_frames = key_frames_of(settings, index, None, needs_of(network.objectives), learn=False)
    large = settings.view.model_copy(update={"image_size": SHOWN_PX})
    shown = KeyFrames(index, large, Contents(), grid=grid).sample(row)
    batch = collate([key_frames.sample(row)])
    evidence = Evidence(
        batch, grid, build_teacher(settings.teacher, settings.second_teacher), network.usual_maps()
    )
    views = network.see(batch.images, batch.cameras)
    probability = network.occupancy_probability(views)
    compared = network.compare_features(views, evidence)
    if probability is None or compared is None:
        raise SystemExit(f"{run} has not learned both occupancy and features: choose another run.")
    predicted = (probability >= SHOWN_FROM).nonzero()
    features = network.features_at(views, predicted)
    assert features is not None
    output = network.outputs["features"]
    assert isinstance(output, FeatureOutput)
    maps = evidence.teacher_maps
    patches = output.relative(maps.permute(0, 2, 3, 1).flatten(0, 2))
    return Scene(
        images=shown.images,
        cameras=shown.cameras,
        points_ego=evidence.points.points_ego,
        bev=views["bev"][0],
        occupied=compared.cells[:, 1:],
        predicted=predicted[:, 1:],
        teacher=compared.taught,
        student=features,
        patches=patches.unflatten(0, (len(maps), *maps.shape[2:])),
        grid=grid,
    )


def colors_of_height(cells: Int64[Tensor, "K 3"], grid: VoxelGrid) -> NDArray[np.float64]:
    """Return the colour of each voxel by its height."""
    share = (cells[:, 2].double() + 0.5) / grid.shape[2]
    return np.asarray(colormaps[HEIGHT_COLORS](share.numpy())[:, :3])


def colors_of_bev(bev: Float[Tensor, "C X Y"]) -> NDArray[np.float64]:
    """Return the colour of each BEV cell by the first three principal components."""
    cells = bev.flatten(1).T
    return common_colors(cells, cells)[0].reshape(*bev.shape[1:], 3).double().numpy()


def screen_from_ego() -> NDArray[np.float64]:
    """Return the rotation from the ego frame to right, up and towards the reader."""
    looking, down = math.radians(LOOKING_DEG), math.radians(DOWN_DEG)
    ahead = np.array([math.cos(looking), math.sin(looking), 0.0])
    right = np.array([math.sin(looking), -math.cos(looking), 0.0])
    level = np.array([0.0, 0.0, 1.0])
    up = math.sin(down) * ahead + math.cos(down) * level
    towards = -math.cos(down) * ahead + math.sin(down) * level
    return np.stack([right, up, towards])


def faces_of(direction: NDArray[np.float64]) -> list[tuple[NDArray[np.float64], float]]:
    """Return the three faces of a unit cube that a reader in this direction sees, with their brightness."""
    faces = []
    for axis, shade in zip((2, 0, 1), SHADES, strict=True):
        first, second = (other for other in range(3) if other != axis)
        corners = np.full((4, 3), 0.0)
        corners[:, axis] = float(direction[axis] > 0)
        corners[[1, 2], first] = corners[[2, 3], second] = 1.0
        faces.append((corners, shade))
    return faces


def show_voxels(
    axes: Axes, cells: Int64[Tensor, "K 3"], colors: NDArray[np.float64], grid: VoxelGrid
) -> None:
    """Draw voxels as cubes in parallel projection, the farthest first, on the floor of the grid."""
    view = screen_from_ego()
    low, size_m = np.array(grid.lower_m), np.array(grid.cell_m)
    floor = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]) * (np.array(grid.upper_m) - low) + low
    outline = floor @ view.T
    axes.fill(outline[:, 0], outline[:, 1], color="#F2F2F2", zorder=0)
    corner_m = low + cells.numpy() * size_m
    order = np.argsort((corner_m + size_m / 2) @ view[2])
    polygons, paint = [], []
    for cell in order:
        for corners, shade in faces_of(view[2]):
            polygons.append(((corner_m[cell] + corners * size_m) @ view.T)[:, :2])
            paint.append(colors[cell] * shade)
    axes.add_collection(PolyCollection(polygons, facecolors=paint, edgecolors=paint, linewidths=0.15))
    ego = np.array([[1.8, 0, 0], [-1.2, 1.2, 0], [-1.2, -1.2, 0]]) @ view.T
    axes.fill(ego[:, 0], ego[:, 1], color=EGO_COLOR, edgecolor="white", linewidth=0.6, zorder=3)
    axes.set(xlim=(outline[:, 0].min(), outline[:, 0].max()), aspect="equal")
    axes.set_ylim(outline[:, 1].min(), outline[:, 1].max() + 1.5)
    axes.set_axis_off()


def show_rig(
    figure: Figure, left: float, bottom: float, width: float, pictures: list[NDArray[Any]], scene: Scene
) -> list[Axes]:
    """Draw one small picture per camera in two rows, as one stands in the car; returns axes by camera."""
    rows, gap = natural_rows(scene.cameras), 0.003
    height_px, width_px = scene.cameras.image_size
    columns = max(map(len, rows))
    wide = (width - (columns - 1) * gap) / columns
    high = wide * WIDE_IN / HIGH_IN * height_px / width_px
    panels: dict[int, Axes] = {}
    for line, row in enumerate(reversed(rows)):
        for column, camera in enumerate(row):
            at = (left + column * (wide + gap), bottom + line * (high + gap * WIDE_IN / HIGH_IN), wide, high)
            axes = panels[camera] = figure.add_axes(at)
            axes.imshow(pictures[camera], extent=(0, width_px, height_px, 0))
            axes.set(xlim=(0, width_px), ylim=(height_px, 0))
            axes.set_axis_off()
    return [panels[camera] for camera in sorted(panels)]


def arrow(
    figure: Figure, start: tuple[float, float], end: tuple[float, float], label: str, style: str = "-|>"
) -> None:
    """Draw an arrow between two positions of the figure, with its name above it or to its right."""
    color = "#333333"
    look = {"arrowstyle": style, "color": color, "linewidth": 1.8, "mutation_scale": 15}
    figure.add_artist(FancyArrowPatch(start, end, transform=figure.transFigure, **look))
    u, v = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    upright = start[0] == end[0]
    figure.text(
        u + 0.012 * upright,
        v + 0.025 * (not upright),
        label,
        ha="left" if upright else "center",
        va="center" if upright else "bottom",
        fontsize=12,
        color=color,
        style="italic",
    )


def write_words(figure: Figure) -> None:
    """Name all panels and how one is made from the other."""
    for u, upper, lower in (
        (0.155, "camera images", "the same, with LiDAR returns"),
        (0.415, "BEV features", "teacher features"),
        (0.625, "predicted occupancy", "target occupancy"),
        (0.875, "predicted features", "target features"),
    ):
        figure.text(u, 0.955, upper, ha="center", fontsize=13, weight="bold")
        figure.text(u, 0.015, lower, ha="center", fontsize=13, weight="bold")
    for v, text in ((0.74, "from cameras alone"), (0.26, "targets: LiDAR, teacher")):
        figure.text(0.008, v, text, rotation=90, va="center", fontsize=12, color="#333333")
    arrow(figure, (0.291, 0.74), (0.340, 0.74), "student")
    arrow(figure, (0.490, 0.74), (0.530, 0.74), "head")
    arrow(figure, (0.291, 0.22), (0.340, 0.22), "teacher")
    arrow(figure, (0.490, 0.22), (0.538, 0.22), "project")
    arrow(figure, (0.625, 0.475), (0.625, 0.555), "occupancy loss", "<|-|>")
    arrow(figure, (0.875, 0.475), (0.875, 0.555), "feature loss", "<|-|>")


def draw(scene: Scene) -> Figure:
    """Draw the whole picture: what the student predicts above, its targets below."""
    figure = Figure(figsize=(WIDE_IN, HIGH_IN))
    pixels = [image.permute(1, 2, 0).numpy() for image in scene.images]
    target, predicted, patches = scene.feature_colors()
    show_rig(figure, 0.025, 0.60, 0.26, pixels, scene)
    for camera, axes in enumerate(show_rig(figure, 0.025, 0.08, 0.26, pixels, scene)):
        draw_points(axes, scene.points_ego, scene.cameras, camera, by_distance(scene.points_ego, 30.0))
        axes.collections[0].set_sizes([0.35])
    show_rig(figure, 0.345, 0.14, 0.14, list(patches), scene)
    axes = figure.add_axes((0.345, 0.575, 0.14, 0.14 * WIDE_IN / HIGH_IN))
    axes.imshow(for_display(colors_of_bev(scene.bev)))
    axes.set_axis_off()
    voxels = (
        (0.505, 0.535, scene.predicted, colors_of_height(scene.predicted, scene.grid)),
        (0.755, 0.535, scene.predicted, predicted),
        (0.505, 0.06, scene.occupied, colors_of_height(scene.occupied, scene.grid)),
        (0.755, 0.06, scene.occupied, target),
    )
    for left, bottom, cells, colors in voxels:
        show_voxels(figure.add_axes((left, bottom, 0.24, 0.42)), cells, colors, scene.grid)
    write_words(figure)
    return figure


def main(run: Path, data: Path, out: Path, position: int = 18) -> None:
    """Draw a key frame, given by its position in the split."""
    draw(read_scene(run, data, position)).savefig(out, dpi=DOTS_PER_INCH)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), *map(int, sys.argv[4:]))

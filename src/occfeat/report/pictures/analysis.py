"""The pictures of `occfeat analyse`.

Axes: `K` voxels, `F` feature channels, `N` cameras.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from occfeat.geometry.camera import visible_in
from occfeat.geometry.grid import VoxelGrid
from occfeat.pretraining.analysis.collect import BEV, STUDENT, TEACHER, Seen
from occfeat.report.pictures import bev, camera_images
from occfeat.report.pictures.palette import CLASS_COLORS, EGO_COLOR, OTHER_COLOR
from occfeat.report.pictures.plots import PANEL_IN, save_figure
from occfeat.report.pictures.topdown import colors_from_above, common_colors

SIMILARITY_COLORS = "magma"
BAR_COLORS = (OTHER_COLOR, CLASS_COLORS["vehicle"], CLASS_COLORS["carpark_area"])
"""Colours of up to three groups of bars, in their order."""
Bars = Mapping[str, Mapping[str, float]]


def draw_features(path: Path, seen: Seen, channels: Sequence[str], grid: VoxelGrid) -> None:
    """Draw features of teacher and student in one basis: equal colours are equal features.

    The student's BEV features follow in a basis of their own. They are alone if no features were distilled.

    Args:
        path: PNG file to write.
        seen: A key frame with at least three voxels.
        channels: Names of its cameras.
        grid: Where the voxels lie.
    """
    colors, features = {}, seen.features
    if STUDENT in features:
        taught = common_colors(features[TEACHER], features[STUDENT])
        colors = dict(zip(("teacher features", "student features"), taught, strict=True))
    colors["BEV features of each column"] = common_colors(features[BEV], features[BEV])[0]
    _draw_voxels(path, seen, channels, grid, colors)


def draw_similarity(
    path: Path,
    seen: Seen,
    channels: Sequence[str],
    grid: VoxelGrid,
    similarities: Mapping[str, Float[Tensor, " K"]],
    chosen: int,
) -> None:
    """Draw the cosine of each voxel to a chosen one, which a cross marks.

    Args:
        path: PNG file to write.
        seen: A key frame.
        channels: Names of its cameras.
        grid: Where the voxels lie.
        similarities: Cosine to the chosen voxel, by name of the features.
        chosen: Index of the chosen voxel.
    """
    scale = ScalarMappable(Normalize(0, 1), SIMILARITY_COLORS)
    colors = {title: scale.to_rgba(values.numpy())[:, :3] for title, values in similarities.items()}
    _draw_voxels(path, seen, channels, grid, colors, chosen=chosen, scale=scale)


def draw_bars(path: Path, groups: Bars, *, title: str, label: str, baseline: float | None = None) -> None:
    """Draw the same metrics of several features side by side.

    Args:
        path: PNG file to write.
        groups: Metrics by name, by features; at most three.
        title: Written above.
        label: Name of the metric.
        baseline: Value of the constant-prediction baseline.
    """
    names = list(dict.fromkeys(name for metrics in groups.values() for name in metrics))
    figure = Figure(figsize=(2 + 0.75 * len(names), 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(groups)
    for number, (who, metrics) in enumerate(groups.items()):
        positions = [index + (number - (len(groups) - 1) / 2) * width for index in range(len(names))]
        values = [metrics.get(name, np.nan) for name in names]
        axes.bar(positions, values, width, label=who, color=BAR_COLORS[number])
    if baseline is not None:
        constant = "constant-prediction baseline"
        axes.axhline(baseline, color="black", linestyle=":", linewidth=1, label=constant)
    axes.set_xticks(range(len(names)), names, rotation=35, ha="right", fontsize=8)
    axes.set_ylabel(label)
    axes.set_title(title, fontsize=11)
    figure.legend(fontsize=8, loc="outside right upper")
    save_figure(figure, path)


def _draw_voxels(
    path: Path,
    seen: Seen,
    channels: Sequence[str],
    grid: VoxelGrid,
    colors: Mapping[str, object],
    *,
    chosen: int | None = None,
    scale: ScalarMappable | None = None,
) -> None:
    """Draw a row per set of colours: the voxels on the images, and from above."""
    rows = camera_images.natural_rows(seen.sample.cameras)
    height_px, width_px = seen.sample.cameras.image_size
    images_in = 0.7 * PANEL_IN * max(map(len, rows))
    row_in = max(0.7 * PANEL_IN * len(rows) * height_px / width_px + 0.9, PANEL_IN)
    figure = Figure(figsize=(images_in + row_in + 1, row_in * len(colors)), layout="constrained")
    parts = figure.subfigures(len(colors), 2, width_ratios=(images_in, row_in + 1), squeeze=False)
    for (left, right), (title, rgb) in zip(parts, colors.items(), strict=True):
        left.suptitle(title, fontsize=11)
        values = np.asarray(rgb)
        panels = camera_images.show_images(left, seen.sample.images, seen.sample.cameras, channels)
        for camera, axes in panels.items():
            if seen.sample.cameras.present[camera]:
                _draw_on_image(axes, seen, camera, values)
        axes = right.subplots()
        bev.bev_axes(axes, grid.bev, f"{title}, from above")
        picture = colors_from_above(seen.cells, torch.from_numpy(values), grid.bev.shape)
        bev.show_cells(axes, picture, grid.bev)
        if chosen is not None:
            x, y, _ = seen.centers_ego[chosen].tolist()
            axes.plot(y, x, "X", color=EGO_COLOR, markersize=9, markeredgecolor="white")
        if scale is not None:
            right.colorbar(scale, ax=axes, shrink=0.7, label="cosine to the marked voxel")
    save_figure(figure, path)


def _draw_on_image(axes: Axes, seen: Seen, camera: int, colors: np.ndarray) -> None:
    """Draw the voxels that a camera may see, the nearest on top."""
    cameras = seen.sample.cameras
    pixels, depth_m = camera_images.pixels_of(seen.centers_ego, cameras, camera)
    inside = visible_in(cameras.image_size, pixels, depth_m).nonzero()[:, 0]
    order = inside[depth_m[inside].argsort(descending=True)]
    u, v = pixels[order].unbind(-1)
    axes.scatter(u.numpy(), v.numpy(), c=colors[order.numpy()], s=9, linewidths=0)

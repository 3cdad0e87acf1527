"""Predictions of several networks on the same key frames, side by side.

Axes: `X Y` BEV cells.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from occfeat.data.sample.sample import Sample
from occfeat.geometry.grid import BevGrid
from occfeat.report.pictures import bev, camera_images
from occfeat.report.pictures.palette import PROBABILITY_COLORS
from occfeat.report.pictures.plots import PANEL_IN, save_figure
from occfeat.training.overlap import THRESHOLD


@dataclass(frozen=True)
class Compared:
    """One key frame and what each network predicts for it."""

    sample: Sample
    """With labels of one class; with LiDAR points if the images shall show them."""
    channels: Sequence[str]
    """Names of its cameras."""
    probabilities: Mapping[str, Float[Tensor, "X Y"]]
    """Predicted probability of the class, by the name of the network."""


def draw_comparison(path: Path, rows: Sequence[Compared], grid: BevGrid) -> None:
    """Draw a row per key frame: its images, the true BEV, and the prediction of each network.

    Args:
        path: PNG file to write.
        rows: At least one key frame.
        grid: Extent of the BEV cells.
    """
    lines = camera_images.natural_rows(rows[0].sample.cameras)
    height_px, width_px = rows[0].sample.cameras.image_size
    images_in = 0.8 * PANEL_IN * max(map(len, lines))
    row_in = max(0.8 * PANEL_IN * len(lines) * height_px / width_px + 0.8, PANEL_IN)
    bev_in = (1 + len(rows[0].probabilities)) * (row_in - 0.6)
    figure = Figure(figsize=(images_in + bev_in, row_in * len(rows) + 0.6), layout="constrained")
    parts = figure.subfigures(len(rows), 2, width_ratios=(images_in, bev_in), squeeze=False)
    for (left, right), row in zip(parts, rows, strict=True):
        _show_images(left, row, grid)
        _show_bev(right, row, grid)
    save_figure(figure, path)


def _show_images(figure: SubFigure, row: Compared, grid: BevGrid) -> None:
    """Draw the images of one key frame, with LiDAR points where it has some."""
    panels = camera_images.show_images(figure, row.sample.images, row.sample.cameras, row.channels)
    farthest_m = max(map(abs, (*grid.lower_m, *grid.upper_m)))
    for camera, axes in panels.items():
        if row.sample.points is not None and row.sample.cameras.present[camera]:
            points_ego = row.sample.points.points_ego
            colors = camera_images.by_distance(points_ego, farthest_m)
            camera_images.draw_points(axes, points_ego, row.sample.cameras, camera, colors)


def _show_bev(figure: SubFigure, row: Compared, grid: BevGrid) -> None:
    """Draw the true BEV of one key frame and the probabilities of each network."""
    panels = figure.subplots(1, 1 + len(row.probabilities), squeeze=False)[0]
    labels = row.sample.labels
    if labels is not None:
        bev.bev_axes(panels[0], grid, f"true: {labels.classes[0]}")
        bev.show_classes(panels[0], labels.target[:1], labels.classes[:1], grid)
        bev.hatch(panels[0], labels.low_visibility[0], grid, "visibility 0-40 %")
    for axes, (name, probability) in zip(panels[1:], row.probabilities.items(), strict=True):
        bev.bev_axes(axes, grid, name)
        colors = PROBABILITY_COLORS
        shown = bev.show_cells(axes, probability.numpy(), grid, colors=colors, limits=(0.0, 1.0))
        bev.outline(axes, probability, THRESHOLD, grid)
        axes.set_ylabel("")
    figure.colorbar(shown, ax=list(panels[1:]), location="right", shrink=0.7, label="probability")

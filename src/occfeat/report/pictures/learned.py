"""What the objectives of pretraining predict, seen from above, beside what is true.

Axes: `X Y` BEV cells.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from occfeat.geometry.grid import BevGrid
from occfeat.pretraining.objectives.contract import Panel
from occfeat.report.pictures import bev
from occfeat.report.pictures.palette import BACKGROUND, PROBABILITY_COLORS, SERIES_COLORS
from occfeat.report.pictures.plots import PANEL_IN, save_figure
from occfeat.training.overlap import THRESHOLD

ANSWER_COLORS = {"unknown": BACKGROUND, "no": SERIES_COLORS[4], "yes": SERIES_COLORS[1]}
"""Colour of what is true of a cell."""


def draw_panels(
    path: Path, panels: Sequence[Panel], grid: BevGrid, *, key_frame: int = 0, title: str = ""
) -> None:
    """Draw what is true of one key frame above what is predicted, a column per panel.

    Args:
        path: PNG file to write.
        panels: At least one.
        grid: The cells.
        key_frame: Its index in the batch.
        title: Written above everything.
    """
    columns = len(panels)
    figure = Figure(figsize=(columns * PANEL_IN + 1, 2 * PANEL_IN + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    above, below = figure.subplots(2, columns, squeeze=False)
    for true, predicted, panel in zip(above, below, panels, strict=True):
        bev.bev_axes(true, grid, panel.title)
        known, probability = panel.known[key_frame].cpu(), panel.probability[key_frame].cpu()
        bev.show_cells(true, answer_colors(panel.true[key_frame].cpu(), known), grid)
        bev.bev_axes(predicted, grid, "predicted")
        shown = bev.show_cells(
            predicted, probability.numpy(), grid, colors=PROBABILITY_COLORS, limits=(0.0, 1.0)
        )
        bev.outline(predicted, probability, THRESHOLD, grid)
    bev.explain(above[0], ANSWER_COLORS)
    figure.colorbar(shown, ax=list(below), shrink=0.8, label="probability")
    save_figure(figure, path)


def answer_colors(true: Bool[Tensor, "X Y"], known: Bool[Tensor, "X Y"]) -> Float[np.ndarray, "X Y 3"]:
    """Return the colour of each cell: yes, no or unknown."""
    colors = np.array([to_rgb(color) for color in ANSWER_COLORS.values()])
    picture: np.ndarray = colors[(known.long() + (known & true).long()).numpy()]
    return picture

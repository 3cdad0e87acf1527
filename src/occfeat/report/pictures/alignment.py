"""A picture of how a camera fits the LiDAR: depth edges on an image, and the score over each error."""

from pathlib import Path

from matplotlib.figure import Figure

from occfeat.data.check.alignment.align import Alignment
from occfeat.report.pictures.palette import SERIES_COLORS
from occfeat.report.pictures.plots import PANEL_IN, save_figure

LABELS = ("about x (right), degrees", "about y (down), degrees", "about z (forward), degrees", "time, ms")
UNITS = (1.0, 1.0, 1.0, 1000.0)


def draw_alignment(path: Path, one: Alignment) -> None:
    """Draw the depth edges on an image as given and as corrected, above the score over each error.

    Args:
        path: PNG file to write.
        one: A camera whose errors could be told.
    """
    figure = Figure(figsize=(2.6 * PANEL_IN, 1.45 * PANEL_IN), layout="constrained")
    figure.suptitle(f"{one.channel}: depth edges of the LiDAR on the image", fontsize=11)
    grid = figure.add_gridspec(2, 1, height_ratios=(2, 1))
    above, below = (figure.add_subfigure(grid[number]) for number in (0, 1))
    if one.example is not None:
        shown = (("as given", one.example.given_px), ("corrected", one.example.corrected_px))
        for axes, (name, pixels), color in zip(above.subplots(1, 2), shown, SERIES_COLORS[:2], strict=True):
            height, width = one.example.grey.shape
            axes.imshow(one.example.grey, cmap="gray", extent=(0, width, height, 0))
            axes.scatter(*pixels.T, s=3, color=color, linewidths=0)
            axes.set_title(name, fontsize=9)
            axes.set_axis_off()
    if one.fit is not None:
        panels = below.subplots(1, len(one.curves), sharey=True, squeeze=False)[0]
        for axis, (axes, curve) in enumerate(zip(panels, one.curves, strict=True)):
            axes.plot(UNITS[axis] * curve.errors, curve.scores, color="black", linewidth=1)
            axes.axvline(0, color=SERIES_COLORS[0], linewidth=1, label="as given")
            error = UNITS[axis] * float(one.fit.errors[axis])
            axes.axvline(error, color=SERIES_COLORS[1], linewidth=1, linestyle="--", label="estimated")
            axes.set_xlabel(LABELS[axis], fontsize=8)
            axes.tick_params(labelsize=7)
        panels[0].set_ylabel("score", fontsize=8)
        panels[0].legend(fontsize=7)
    save_figure(figure, path)

"""Plots that experiments share."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.spread import Cell, half_width, of_seeds
from occfeat.report.pictures.palette import SERIES_COLORS

MARKERS = "osD^v<XP"
BESIDE = 0.05
"""How far curves stand beside each other, of the way from one position to the next."""


@dataclass(frozen=True)
class Curve:
    """One arm over something that was varied."""

    title: str
    cells: dict[float, Cell]
    """Values by what was varied."""


def draw_curves(file: Path, panels: dict[str, list[Curve]], x_title: str) -> None:
    """Draw means with 95 % intervals over pretraining seeds, every run as a dot.

    Positions are equally far apart, whatever the numbers.

    Args:
        file: Picture to write.
        panels: Curves by the title of their panel.
        x_title: What was varied.
    """
    figure = Figure(figsize=(4.5 * len(panels), 4.5), layout="constrained")
    axes_of = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, curves) in zip(axes_of, panels.items(), strict=True):
        _draw_panel(axes, curves)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(x_title)
    figure.legend(*axes_of[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    _save(figure, file)


def draw_arms(file: Path, panels: dict[str, dict[str, Cell]]) -> None:
    """Draw a line per arm: every run as a dot, the mean with its 95 % interval over pretraining seeds.

    Args:
        file: Picture to write.
        panels: Values by arm, by the title of their panel; two panels stand beside each other.
    """
    arms = list(dict.fromkeys(arm for cells in panels.values() for arm in cells))
    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(11, lines * (1 + 0.35 * len(arms))), layout="constrained")
    axes_of = [figure.add_subplot(lines, 2, 1 + number) for number in range(len(panels))]
    for axes, (title, cells) in zip(axes_of, panels.items(), strict=True):
        for position, arm in enumerate(reversed(arms)):
            _draw_arm(axes, position, cells.get(arm, {}), SERIES_COLORS[position % len(SERIES_COLORS)])
        axes.set_yticks(range(len(arms)), list(reversed(arms)))
        axes.set_title(title, fontsize=9)
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle("dots: runs; diamonds: means, with 95 % intervals over pretraining seeds", fontsize=9)
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    """Write a plot, in a folder that is made if it is not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def _draw_arm(axes: Axes, position: int, cell: Cell, color: str) -> None:
    """Draw the runs of an arm in its line; nothing if there are none."""
    if cell:
        axes.plot(list(cell.values()), [position] * len(cell), "o", color=color, alpha=0.35, markersize=4)
        width = half_width(of_seeds(cell))
        axes.errorbar(fmean(cell.values()), position, xerr=width, fmt="D", color=color, capsize=4, zorder=3)


def _draw_panel(axes: Axes, curves: list[Curve]) -> None:
    """Draw the curves of one panel."""
    positions = {x: at for at, x in enumerate(sorted({x for curve in curves for x in curve.cells}))}
    for number, curve in enumerate(curves):
        color = SERIES_COLORS[number % len(SERIES_COLORS)]
        at = np.array([positions[x] for x in curve.cells]) + BESIDE * (number - (len(curves) - 1) / 2)
        for x, cell in zip(at, curve.cells.values(), strict=True):
            axes.plot([x] * len(cell), list(cell.values()), "o", color=color, alpha=0.3, markersize=3)
        means = [fmean(cell.values()) for cell in curve.cells.values()]
        widths = [half_width(of_seeds(cell)) for cell in curve.cells.values()]
        style = {"color": color, "marker": MARKERS[number % len(MARKERS)], "label": curve.title}
        axes.errorbar(at, means, yerr=widths, capsize=3, linewidth=1, **style)
    axes.set_xticks(range(len(positions)), [f"{x:g}" for x in positions])
    axes.grid(axis="y", alpha=0.3)

"""Pictures of the first three experiments: every draw of the smallest share, and what more labels bring."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from concluded.first_three.plan import ARMS, LABELS
from concluded.first_three.results import METRICS, TITLES, Results, independent
from harness.spread import half_width
from occfeat.report.pictures.palette import SERIES_COLORS

ORDER = ("occupancy", "branch", "oracle", "both", "centered-0.1", "centered-1", "none", "features")
COLORS = dict(zip(ORDER, (*SERIES_COLORS, "#000000"), strict=True))
"""Of each arm; neighbours in the pictures differ clearly."""
MARKERS = dict(zip(ORDER, "osD^v<XP", strict=True))
DRAWN = ("vehicle_iou/visible", "mean_iou/map")
BELOW = 2.0
"""Points of IoU shown below the worst pretrained network."""
BESIDE = 0.03
"""How far arms stand beside each other at one share, of the way to the next."""


def draw_draws(results: Results, path: Path) -> None:
    """Draw every fine-tuning as a dot, means with their intervals as bars, at the smallest share."""
    share = next(iter(LABELS))
    figure = Figure(figsize=(10, 9), layout="constrained")
    figure.suptitle(
        f"{share} of the labels, a town never seen: every fine-tuning, mean and 95 % interval over draws"
    )
    parts = figure.subfigures(len(results.modes), squeeze=False)[:, 0]
    for part, mode in zip(parts, results.modes, strict=True):
        part.suptitle(TITLES[mode], fontsize=11)
        for axes, metric in zip(part.subplots(1, 2, sharey=True), DRAWN, strict=True):
            _draw_panel(axes, results, mode, share, metric)
    figure.savefig(path, dpi=110)


def _draw_panel(axes: Axes, results: Results, mode: str, share: str, metric: str) -> None:
    """Draw the arms of one mode, share and metric."""
    values = {arm: results.of(arm, mode, share, metric) for arm in reversed(ARMS)}
    shown = {arm: found for arm, found in values.items() if found}
    for position, (arm, found) in enumerate(shown.items()):
        color = COLORS[arm]
        axes.plot(list(found.values()), [position] * len(found), "o", color=color, alpha=0.35, markersize=4)
        draws = independent(found)
        error = half_width(draws)
        axes.errorbar(np.mean(draws), position, xerr=error, fmt="D", color=color, capsize=4, zorder=3)
    axes.set_yticks(range(len(shown)), [ARMS[arm].title for arm in shown])
    axes.set_title(f"{METRICS[metric]} IoU in %", fontsize=9)
    axes.grid(axis="x", alpha=0.3)


def draw_shares(results: Results, path: Path) -> None:
    """Draw what more labels bring to the arms that have all shares; a panel for each way to fine-tune."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    figure.suptitle("A town never seen: means over draws and pretraining seeds")
    panels = figure.subplots(len(DRAWN), len(results.modes), squeeze=False, sharex=True, sharey="row")
    for line, metric in zip(panels, DRAWN, strict=True):
        line[0].set_ylabel(f"{METRICS[metric]} IoU in %")
        for axes, mode in zip(line, results.modes, strict=True):
            _draw_lines(axes, results, mode, metric)
            axes.set_title(TITLES[mode], fontsize=8)
        _cut(line)
    for axes in panels[-1]:
        axes.set_xlabel("share of the labels")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=110)


def _draw_lines(axes: Axes, results: Results, mode: str, metric: str) -> None:
    """Draw one line per arm over the shares of the labels."""
    for number, arm in enumerate(ARMS):
        found = [list(results.of(arm, mode, share, metric).values()) for share in LABELS]
        if all(found):
            means = [float(np.mean(one)) for one in found]
            beside = BESIDE * (number - (len(ARMS) - 1) / 2)
            style = {"color": COLORS[arm], "marker": MARKERS[arm], "label": ARMS[arm].title}
            axes.plot(np.arange(len(LABELS)) + beside, means, linewidth=1, **style)
    axes.set_xticks(range(len(LABELS)), list(LABELS))
    axes.grid(axis="y", alpha=0.3)


def _cut(panels: Sequence[Axes]) -> None:
    """Leave out what is far worse than all that was pretrained, as linear heads without it, and say so."""
    untrained = ARMS["none"].title
    lines = [line for axes in panels for line in axes.lines]
    pretrained = [min(line.get_ydata()) for line in lines if line.get_label() != untrained]
    if not pretrained:
        return
    lowest = min(pretrained) - BELOW
    panels[0].set_ylim(bottom=lowest)
    for axes in panels:
        for line in axes.lines:
            if (best := max(line.get_ydata())) < lowest:
                words = f"{line.get_label()}: {best:.1f} at the most"
                axes.text(0.98, 0.02, words, transform=axes.transAxes, ha="right", fontsize=8)

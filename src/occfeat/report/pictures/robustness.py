"""Pictures of corruptions: corrupted images, and the IoU under corruptions as a radar.

Axes: `H W` pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes
from torch import Tensor

from occfeat.report.pictures.palette import SERIES_COLORS
from occfeat.report.pictures.plots import PANEL_IN, save_figure

SPOKES = 3
"""Fewest corruptions of a radar."""

_MARKERS = "os^vDPX"
"""One for each colour of a series."""


@dataclass(frozen=True)
class Radar:
    """One network on a radar; unknown values are NaN."""

    name: str
    clean: float
    """IoU on clean images."""
    corrupted: Sequence[Sequence[float]]
    """IoU under each corruption, at each severity."""


def draw_radar(path: Path, networks: Sequence[Radar], names: Sequence[str], *, title: str = "") -> None:
    """Draw the mean over the severities per corruption, their range, and clean images as a dashed circle.

    Args:
        path: PNG file to write.
        networks: At least one and at most seven.
        names: The corruptions, clockwise from the top; at least `SPOKES`.
        title: Written above everything.
    """
    figure = Figure(figsize=(1.6 * PANEL_IN, 1.7 * PANEL_IN), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = cast(PolarAxes, figure.add_subplot(projection="polar"))
    axes.set_theta_zero_location("N")
    axes.set_theta_direction(-1)
    spokes = np.linspace(0, 2 * np.pi, len(names) + 1)
    axes.set_xticks(spokes[:-1], names, fontsize=10)
    for label, angle in zip(axes.get_xticklabels(), spokes[:-1], strict=True):
        label.set_horizontalalignment(_beside(float(np.sin(angle))))
    for network, color, marker in zip(networks, SERIES_COLORS, _MARKERS, strict=False):
        _show(axes, network, spokes, color, marker)
    values = [value for one in networks for value in (one.clean, *np.ravel(one.corrupted)) if value == value]
    axes.set_ylim(0, 1.08 * max((*values, 1e-3)))
    axes.set_rlabel_position(180 / len(names))
    figure.legend(loc="outside lower center", fontsize=9)
    save_figure(figure, path)


def _beside(right: float) -> Literal["left", "center", "right"]:
    """Return how a name outside the circle is aligned, so that it does not run into it."""
    return "center" if abs(right) < 0.1 else "left" if right > 0 else "right"


def _show(axes: PolarAxes, network: Radar, spokes: np.ndarray, color: str, marker: str) -> None:
    """Draw one network: its mean and range per corruption, and its IoU on clean images."""
    values = np.array([*network.corrupted, network.corrupted[0]], dtype=np.float64)  # closes the line
    axes.fill_between(spokes, values.min(axis=1), values.max(axis=1), color=color, alpha=0.15, linewidth=0)
    label = f"{network.name}: mean of severities, and their range"
    axes.plot(spokes, values.mean(axis=1), color=color, marker=marker, label=label)
    around = np.linspace(0, 2 * np.pi, 100)
    clean = np.full_like(around, network.clean)
    axes.plot(around, clean, color=color, linestyle="--", label=f"{network.name}: clean")


def draw_corruptions(
    path: Path,
    clean: UInt8[Tensor, "3 H W"],
    corrupted: Mapping[str, Sequence[UInt8[Tensor, "3 H W"]]],
    severities: Sequence[str],
    *,
    title: str = "",
) -> None:
    """Draw one image under each corruption and severity, a row per corruption.

    Args:
        path: PNG file to write.
        clean: The image.
        corrupted: By corruption, one image per severity.
        severities: Their names.
        title: Written above everything.
    """
    height, width = clean.shape[1:]
    columns = 1 + len(severities)
    panel_in = 0.7 * PANEL_IN
    size = (columns * panel_in, len(corrupted) * (panel_in * height / width + 0.1) + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(len(corrupted), columns, squeeze=False)
    for row, (name, images) in zip(panels, corrupted.items(), strict=True):
        for axes, image in zip(row, (clean, *images), strict=True):
            axes.imshow(image.permute(1, 2, 0).numpy())
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(name, fontsize=9)
    for axes, heading in zip(panels[0], ("clean", *severities), strict=True):
        axes.set_title(heading, fontsize=9)
    save_figure(figure, path)

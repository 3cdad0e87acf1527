"""BEV arrays as pictures: forward is up and left is left.

Tensors are indexed (X, Y), growing forward and to the left; rows of a picture grow downwards and columns to
the right. Only `for_display` turns one into the other.

Axes: `X Y` BEV cells, `K` classes, `P` points.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Shaped
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.image import AxesImage
from torch import Tensor

from occfeat.geometry.grid import BevGrid
from occfeat.report.pictures.palette import BACKGROUND, EGO_COLOR, color_of


def for_display(
    cells: Shaped[np.ndarray, "X Y *color"],
) -> Shaped[np.ndarray, "X Y *color"]:
    """Return cells as rows and columns of a picture: farthest ahead is first, leftmost is first."""
    return cells[::-1, ::-1]


def bev_axes(axes: Axes, grid: BevGrid, title: str) -> None:
    """Prepare axes in metres of the ego frame and mark the ego vehicle."""
    axes.set_xlim(grid.upper_m[1], grid.lower_m[1])  # y grows to the left
    axes.set_ylim(grid.lower_m[0], grid.upper_m[0])
    axes.set_aspect("equal")
    axes.set_facecolor(BACKGROUND)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("← y (left), m", fontsize=8)
    axes.set_ylabel("x (forward), m →", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.plot(0, 0, marker="^", markersize=8, color=EGO_COLOR, markeredgecolor="white", zorder=5)


def show_cells(
    axes: Axes,
    cells: Shaped[np.ndarray, "X Y *color"],
    grid: BevGrid,
    *,
    colors: str | None = None,
    limits: tuple[float, float] | None = None,
) -> AxesImage:
    """Fill the cells of prepared axes with RGB(A) colours, or with numbers by a colour map.

    Args:
        axes: Axes made by `bev_axes`.
        cells: Colours or numbers; NaN stays empty.
        grid: Extent of the cells.
        colors: matplotlib colour map for numbers.
        limits: Numbers at the two ends of the colour map.
    """
    low, high = limits or (None, None)
    return axes.imshow(
        for_display(cells),
        extent=(grid.upper_m[1], grid.lower_m[1], grid.lower_m[0], grid.upper_m[0]),
        origin="upper",
        interpolation="nearest",
        cmap=colors,
        vmin=low,
        vmax=high,
    )


def show_classes(axes: Axes, masks: Bool[Tensor, "K X Y"], classes: tuple[str, ...], grid: BevGrid) -> None:
    """Fill the cells of each class with its colour; later classes lie on top."""
    picture = np.zeros((*grid.shape, 4))
    for name, mask in zip(classes, masks.numpy(), strict=True):
        picture[mask] = (*to_rgb(color_of(name)), 1.0)
        axes.plot([], [], "s", color=color_of(name), label=name)
    show_cells(axes, picture, grid)


def hatch(axes: Axes, mask: Bool[Tensor, "X Y"], grid: BevGrid, label: str) -> None:
    """Hatch cells, on top of their colour."""
    if not mask.any():  # matplotlib warns of an empty contour
        return
    x, y = grid.centers().unbind(-1)
    axes.contourf(
        y.numpy(), x.numpy(), mask.numpy().astype(float), levels=[0.5, 1.5], colors="none", hatches=["/////"]
    )
    axes.plot([], [], "s", color="none", markeredgecolor="black", label=label)


def outline(axes: Axes, values: Float[Tensor, "X Y"], threshold: float, grid: BevGrid) -> None:
    """Draw the line at which values pass a threshold."""
    if not bool((values >= threshold).any() and (values < threshold).any()):
        return
    x, y = grid.centers().unbind(-1)
    axes.contour(y.numpy(), x.numpy(), values.numpy(), levels=[threshold], colors="white", linewidths=0.8)


def explain(axes: Axes, colors: Mapping[str, str]) -> None:
    """Explain colours of cells, given by their meaning, below the axes."""
    for name, color in colors.items():
        axes.plot([], [], "s", color=color, markeredgecolor="gray", label=name)
    legend(axes)


def legend(axes: Axes) -> None:
    """Explain the colours below the axes, if there are any."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=3, frameon=False)

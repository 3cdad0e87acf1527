"""The number of cells of a regular grid, and the check that a grid is possible. Imports no torch."""

import math
from collections.abc import Sequence

MAX_CELLS = 2**28
"""Largest number of cells of a grid; more are assumed to be a mistake."""


def count_cells(
    lower_m: Sequence[float], upper_m: Sequence[float], cell_m: Sequence[float]
) -> tuple[int, ...]:
    """Return the number of cells of a grid along x and y, and along z for a 3-D grid.

    Args:
        lower_m: Smallest coordinate along each axis, in metres.
        upper_m: Largest coordinate along each axis, in metres.
        cell_m: Size of a cell along each axis, in metres.

    Raises:
        ValueError: The grid is impossible; the message names the axis.
    """
    counts = tuple(map(_count, "xyz", lower_m, upper_m, cell_m))
    if math.prod(counts) > MAX_CELLS:
        raise ValueError(f"expected at most {MAX_CELLS:,} cells in the grid, got {math.prod(counts):,}")
    return counts


def _count(axis: str, low: float, high: float, cell: float) -> int:
    """Return the number of cells along one axis."""
    if not all(map(math.isfinite, (low, high, cell))) or cell <= 0:
        found = f"{low:g} to {high:g} m in cells of {cell:g} m"
        raise ValueError(f"axis {axis}: expected finite bounds and cells above 0 m, got {found}")
    if not low < high:
        raise ValueError(f"axis {axis}: expected a lower bound below the upper, got {low} m and {high} m")
    cells = (high - low) / cell
    if cells > MAX_CELLS:  # includes infinity, when the division overflows
        raise ValueError(f"axis {axis}: expected at most {MAX_CELLS:,} cells, got more")
    if round(cells) < 1 or not math.isclose(cells, round(cells), abs_tol=1e-6, rel_tol=0):
        raise ValueError(f"axis {axis}: expected a whole number of {cell:g} m cells, got {high - low:g} m")
    return round(cells)

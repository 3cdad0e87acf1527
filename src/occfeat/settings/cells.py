"""How many cells a regular grid has, and which grids are impossible. Imports no torch."""

import math
from collections.abc import Sequence

MAX_CELLS = 2**28
"""A grid with more cells than this is refused as a mistake."""


def count_cells(
    lower_m: Sequence[float], upper_m: Sequence[float], cell_m: Sequence[float]
) -> tuple[int, ...]:
    """Return the number of cells of a grid along x, y and, if it has heights, z.

    Args:
        lower_m: Smallest coordinate along each axis, in metres.
        upper_m: Largest coordinate along each axis, in metres.
        cell_m: Size of a cell along each axis, in metres.

    Raises:
        ValueError: The grid is impossible; the message names the axis.
    """
    counts = tuple(map(_count, "xyz", lower_m, upper_m, cell_m))
    if math.prod(counts) > MAX_CELLS:
        raise ValueError(f"the grid has more than {MAX_CELLS:,} cells")
    return counts


def _count(axis: str, low: float, high: float, cell: float) -> int:
    """Return the number of cells along one axis."""
    if not all(map(math.isfinite, (low, high, cell))) or cell <= 0:
        raise ValueError(
            f"axis {axis}: bounds must be finite and cells above 0 m, not {low:g} to {high:g} m in {cell:g} m"
        )
    if not low < high:
        raise ValueError(f"axis {axis}: lower bound {low} m must be below upper bound {high} m")
    cells = (high - low) / cell
    if cells > MAX_CELLS:  # infinity, too, when the division overflows
        raise ValueError(f"axis {axis}: more than {MAX_CELLS:,} cells")
    if round(cells) < 1 or not math.isclose(cells, round(cells), abs_tol=1e-6, rel_tol=0):
        raise ValueError(f"axis {axis}: {high - low:g} m is not a whole number of {cell:g} m cells")
    return round(cells)

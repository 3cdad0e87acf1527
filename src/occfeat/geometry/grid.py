"""Regular grids in the ego frame: `BevGrid` seen from above, `VoxelGrid` with heights.

Index order is (X, Y) and (X, Y, Z): the index grows with x (forward), then y (left), then z (up). Cell 0 has
the smallest coordinates, and its centre lies half a cell inside the box. Lower borders belong to the grid,
upper borders do not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occfeat.errors import SettingsError
from occfeat.settings.sections import GridConfig

MAX_CELLS = 2**28
"""A grid with more cells than this is refused as a mistake."""


@dataclass(frozen=True)
class BevGrid:
    """A rectangle of equal cells on the ground plane of the ego frame, in metres."""

    lower_m: tuple[float, float]
    upper_m: tuple[float, float]
    cell_m: tuple[float, float]

    def __post_init__(self) -> None:
        _validate("xy", self.lower_m, self.upper_m, self.cell_m)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells along x and y."""
        x, y = _counts(self.lower_m, self.upper_m, self.cell_m)
        return x, y

    def centers(self) -> Float[Tensor, "X Y 2"]:
        """Centres of all cells in the ego frame, in metres."""
        return _centers(self.lower_m, self.cell_m, self.shape)


@dataclass(frozen=True)
class VoxelGrid:
    """A box of equal cells in the ego frame, in metres."""

    lower_m: tuple[float, float, float]
    upper_m: tuple[float, float, float]
    cell_m: tuple[float, float, float]

    def __post_init__(self) -> None:
        _validate("xyz", self.lower_m, self.upper_m, self.cell_m)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of cells along x, y and z."""
        x, y, z = _counts(self.lower_m, self.upper_m, self.cell_m)
        return x, y, z

    @property
    def bev(self) -> BevGrid:
        """The same cells seen from above."""
        return BevGrid(self.lower_m[:2], self.upper_m[:2], self.cell_m[:2])

    def centers(self) -> Float[Tensor, "X Y Z 3"]:
        """Centres of all cells in the ego frame, in metres."""
        return _centers(self.lower_m, self.cell_m, self.shape)

    def cell_index(self, points_ego: Float[Tensor, "P 3"]) -> tuple[Int64[Tensor, "P 3"], Bool[Tensor, " P"]]:
        """Cell of each point, and whether the point lies in the grid at all.

        The index of a point outside, or of one that is not finite, is (0, 0, 0).
        """
        scaled = (points_ego - points_ego.new_tensor(self.lower_m)) / points_ego.new_tensor(self.cell_m)
        cell = scaled.floor()
        inside = ((cell >= 0) & (cell < cell.new_tensor(self.shape))).all(-1)
        return torch.where(inside[:, None], cell, torch.zeros_like(cell)).long(), inside


def build_grid(config: GridConfig) -> VoxelGrid:
    """The voxels that settings describe.

    Raises:
        SettingsError: They are impossible.
    """
    return VoxelGrid(config.lower_m, config.upper_m, config.cell_m)


def _validate(axes: str, lower_m: Sequence[float], upper_m: Sequence[float], cell_m: Sequence[float]) -> None:
    hint = "Change the lower bounds, upper bounds or cell sizes of the grid."
    for axis, low, high, cell in zip(axes, lower_m, upper_m, cell_m, strict=True):
        if not all(map(math.isfinite, (low, high, cell))) or cell <= 0:
            raise SettingsError(f"Grid axis {axis}: bounds must be finite and cells above 0 m.", hint=hint)
        if not low < high:
            raise SettingsError(
                f"Grid axis {axis}: lower bound {low} m must be below upper bound {high} m.", hint=hint
            )
        cells = (high - low) / cell
        if cells > MAX_CELLS:  # infinity, too, when the division overflows
            raise SettingsError(f"Grid axis {axis}: more than {MAX_CELLS:,} cells.", hint=hint)
        if round(cells) < 1 or not math.isclose(cells, round(cells), abs_tol=1e-6, rel_tol=0):
            raise SettingsError(
                f"Grid axis {axis}: {high - low:g} m is not a whole number of {cell:g} m cells.", hint=hint
            )
    if math.prod(_counts(lower_m, upper_m, cell_m)) > MAX_CELLS:
        raise SettingsError(f"The grid has more than {MAX_CELLS:,} cells.", hint=hint)


def _counts(lower_m: Sequence[float], upper_m: Sequence[float], cell_m: Sequence[float]) -> tuple[int, ...]:
    return tuple(round((high - low) / cell) for low, high, cell in zip(lower_m, upper_m, cell_m, strict=True))


def _centers(
    lower_m: Sequence[float], cell_m: Sequence[float], shape: Sequence[int]
) -> Float[Tensor, "*cells axes"]:
    axes = [
        low + cell * (torch.arange(count, dtype=torch.float64) + 0.5)
        for low, cell, count in zip(lower_m, cell_m, shape, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).float()

"""Regular grids in the ego frame: `BevGrid` seen from above, `VoxelGrid` with heights.

Index order is (X, Y) and (X, Y, Z): the index grows with x (forward), then y (left), then z (up). Cell 0 has
the smallest coordinates, and its centre lies half a cell inside the box. Lower borders belong to the grid,
upper borders do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occfeat.errors import SettingsError
from occfeat.machine.waiting import numbers_like
from occfeat.settings.cells import count_cells
from occfeat.settings.sections import GridConfig


@dataclass(frozen=True)
class BevGrid:
    """A rectangle of equal cells on the ground plane of the ego frame, in metres.

    Raises:
        SettingsError: The grid is impossible.
    """

    lower_m: tuple[float, float]
    upper_m: tuple[float, float]
    cell_m: tuple[float, float]

    def __post_init__(self) -> None:
        _require_possible(self)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Number of cells along x and y."""
        x, y = count_cells(self.lower_m, self.upper_m, self.cell_m)
        return x, y

    def in_words(self) -> str:
        """Return the number, size and borders of the cells, such as `4 x 2 cells of 0.5 x 1 m from …`."""
        (x, y), (length_m, width_m) = self.shape, self.cell_m
        return f"{x} x {y} cells of {length_m:g} x {width_m:g} m from {self.lower_m} to {self.upper_m} m"

    def centers(self) -> Float[Tensor, "X Y 2"]:
        """Return the centres of all cells in the ego frame, in metres."""
        return _centers(self.lower_m, self.cell_m, self.shape)


@dataclass(frozen=True)
class VoxelGrid:
    """A box of equal cells in the ego frame, in metres.

    Raises:
        SettingsError: The grid is impossible.
    """

    lower_m: tuple[float, float, float]
    upper_m: tuple[float, float, float]
    cell_m: tuple[float, float, float]

    def __post_init__(self) -> None:
        _require_possible(self)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Number of cells along x, y and z."""
        x, y, z = count_cells(self.lower_m, self.upper_m, self.cell_m)
        return x, y, z

    @cached_property
    def bev(self) -> BevGrid:
        """The same cells seen from above."""
        return BevGrid(self.lower_m[:2], self.upper_m[:2], self.cell_m[:2])

    def centers(self) -> Float[Tensor, "X Y Z 3"]:
        """Return the centres of all cells in the ego frame, in metres."""
        return _centers(self.lower_m, self.cell_m, self.shape)

    def cell_index(self, points_ego: Float[Tensor, "P 3"]) -> tuple[Int64[Tensor, "P 3"], Bool[Tensor, " P"]]:
        """Return the cell of each point, and whether the point lies in the grid at all.

        The index of a point outside, or of one that is not finite, is (0, 0, 0).
        """
        scaled = (points_ego - numbers_like(self.lower_m, points_ego)) / numbers_like(self.cell_m, points_ego)
        cell = scaled.floor()
        inside = ((cell >= 0) & (cell < numbers_like(self.shape, cell))).all(-1)
        return torch.where(inside[:, None], cell, torch.zeros_like(cell)).long(), inside


def build_grid(config: GridConfig) -> VoxelGrid:
    """Return the voxels that settings describe, which refuse impossible grids themselves."""
    return VoxelGrid(config.lower_m, config.upper_m, config.cell_m)


def _require_possible(grid: BevGrid | VoxelGrid) -> None:
    """Refuse an impossible grid.

    Raises:
        SettingsError: Names the axis and what is wrong with it.
    """
    try:
        count_cells(grid.lower_m, grid.upper_m, grid.cell_m)
    except ValueError as error:
        hint = "Change the lower bounds, upper bounds or cell sizes of the grid."
        raise SettingsError(f"This grid is impossible: {error}.", hint=hint) from error


def _centers(
    lower_m: Sequence[float], cell_m: Sequence[float], shape: Sequence[int]
) -> Float[Tensor, "*cells axes"]:
    """Return the centres of all cells of a grid of any number of axes."""
    axes = [
        low + cell * (torch.arange(count, dtype=torch.float64) + 0.5)
        for low, cell, count in zip(lower_m, cell_m, shape, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).float()

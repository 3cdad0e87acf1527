"""Voxels that a sweep hits and crosses, in slices of their height (this project's choice).

A voxel that contains the road is crossed by rays that end on the road behind it. They pass above the road. So
where a ray passes in a voxel says whether what was hit there is gone.

Axes: `X Y Z` voxels. Bit n of a voxel is its n-th slice from below.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from occfeat.data.sample.lidar import Points
from occfeat.data.sweeps.rays import trace
from occfeat.geometry.grid import VoxelGrid

SLICES = 8
"""Slices of a voxel; they are bits of a byte."""


@dataclass(frozen=True)
class RaySlices:
    """Slices of voxels that a sweep hits, and those that its rays cross without a return in them."""

    hit: UInt8[ndarray, "X Y Z"]
    crossed: UInt8[ndarray, "X Y Z"]

    @property
    def hit_voxels(self) -> Bool[ndarray, "X Y Z"]:
        """Whether each voxel contains a return."""
        hit: ndarray = self.hit != 0
        return hit

    @property
    def crossed_voxels(self) -> Bool[ndarray, "X Y Z"]:
        """Whether a ray passes through each voxel; never one that is hit."""
        crossed: ndarray = (self.crossed != 0) & (self.hit == 0)
        return crossed


def trace_slices(points: Points, grid: VoxelGrid, *, all_rays: bool = False) -> RaySlices:
    """Return the slices of voxels that a sweep hits and crosses; see `rays.trace`."""
    x_m, y_m, z_m = grid.cell_m
    found = trace(points, replace(grid, cell_m=(x_m, y_m, z_m / SLICES)), all_rays=all_rays)
    return RaySlices(_bits(found.hit), _bits(found.crossed))


def _bits(slices: Bool[ndarray, "X Y _"]) -> UInt8[ndarray, "X Y Z"]:
    """Return the slices of each voxel as bits."""
    return np.packbits(slices, axis=2, bitorder="little")


def join_slices(traced: Sequence[RaySlices]) -> RaySlices:
    """Return the slices that several sweeps hit, and those that they only cross."""
    hit = np.bitwise_or.reduce([one.hit for one in traced])
    crossed = np.bitwise_or.reduce([one.crossed for one in traced])
    return RaySlices(hit, crossed & ~hit)


def below_highest(hit: UInt8[ndarray, "X Y Z"]) -> UInt8[ndarray, "X Y Z"]:
    """Return the slices below the highest one that is hit; none where nothing is hit."""
    filled = hit
    for shift in (1, 2, 4):
        filled = filled | filled >> shift
    below: ndarray = filled >> 1
    return below

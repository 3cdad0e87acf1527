"""States of voxels from a window of sweeps: the accumulated present (this project's extension).

Axes: `X Y Z` voxels.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from numpy import ndarray

from occfeat.data.sample.lidar import EMPTY, IN_CONFLICT, OCCUPIED
from occfeat.data.sweeps.slices import RaySlices, below_highest
from occfeat.settings.sections import Conflicts


def accumulate(
    key: RaySlices,
    before: Iterable[RaySlices],
    after: Iterable[RaySlices],
    conflicts: Conflicts,
    around: tuple[int, int],
) -> UInt8[ndarray, "X Y Z"]:
    """Return the state of each voxel.

    - *Occupied*: the key sweep hits it. Or at least two other sweeps hit it, no ray of any sweep passes below
      its highest hit, and it is hit both before and after the key sweep, or is on the ground. With `ignore`,
      two other hits suffice.
    - *Empty*: the key sweep crosses it, or at least two others do and none hits it. Not what is occupied,
      or would be but for the time of its hits.
    - *Unknown*: all else.

    On the ground are voxels below which no sweep hits anything within some cells. Rays *in conflict* say that
    something moved: two other sweeps hit a voxel, the key sweep does not, and a ray passes below. Or the key
    sweep alone hits it, and rays of two others pass below.

    Args:
        key: The sweep of the key frame.
        before: The other sweeps of the window before it.
        after: Those after it.
        conflicts: Who decides where rays conflict.
        around: Cells along x and y, to both sides, within which lower hits are looked for.
    """
    past, future = _Counts(key.hit.shape), _Counts(key.hit.shape)
    for counts, sweeps in ((past, before), (future, after)):
        for sweep in sweeps:
            counts.add(sweep)
    others = past.joined(future)
    own, twice = key.hit_voxels, others.hit_twice
    cleared = (others.crossed | key.crossed) & below_highest(others.hit) != 0
    settled = (past.hit != 0) & (future.hit != 0) | on_ground(own | (others.hit != 0), around)
    conflict = twice & cleared & ~own
    conflict |= (others.crossed_twice & below_highest(key.hit) != 0) & (others.hit == 0)
    trusted = twice if conflicts == "ignore" else twice & ~cleared & settled
    occupied = own | trusted
    doubtful = twice & ~cleared & ~occupied
    empty = ~occupied & ~doubtful & (key.crossed_voxels | others.crossed_voxels_twice & (others.hit == 0))
    states = np.zeros(occupied.shape, dtype=np.uint8)
    for mask, bit in ((empty, EMPTY), (occupied, OCCUPIED), (conflict, IN_CONFLICT)):
        states |= mask * np.uint8(bit)
    return states


def on_ground(hit: Bool[ndarray, "X Y Z"], around: tuple[int, int]) -> Bool[ndarray, "X Y Z"]:
    """Return the voxels below which nothing is hit in the columns around.

    Args:
        hit: Voxels that are hit.
        around: Cells along x and y, to both sides, that count as around.
    """
    heights = hit.shape[2]
    lowest: Int64[ndarray, "X Y"] = np.where(hit.any(axis=2), hit.argmax(axis=2), heights)
    for axis, reach in enumerate(around):
        padding = [(reach, reach) if one == axis else (0, 0) for one in range(2)]
        padded = np.pad(lowest, padding, constant_values=heights)
        lowest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis).min(axis=-1)
    ground: ndarray = np.arange(heights) <= lowest[..., None]
    return ground


class _Counts:
    """What some sweeps hit and cross: slices at least once, voxels and slices at least twice.

    Args:
        shape: Voxels along each axis.
    """

    hit: UInt8[ndarray, "X Y Z"]
    crossed: UInt8[ndarray, "X Y Z"]
    crossed_twice: UInt8[ndarray, "X Y Z"]
    crossed_voxels: Bool[ndarray, "X Y Z"]
    crossed_voxels_twice: Bool[ndarray, "X Y Z"]
    hit_twice: Bool[ndarray, "X Y Z"]
    """Whether two sweeps hit each voxel, in any slices."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.hit, self.crossed, self.crossed_twice = (np.zeros(shape, dtype=np.uint8) for _ in range(3))
        self.crossed_voxels, self.crossed_voxels_twice, self.hit_twice = (
            np.zeros(shape, dtype=bool) for _ in range(3)
        )

    def add(self, sweep: RaySlices) -> None:
        """Count a sweep."""
        crossed_voxels = sweep.crossed_voxels
        self.hit_twice |= (self.hit != 0) & sweep.hit_voxels
        self.hit |= sweep.hit
        self.crossed_twice |= self.crossed & sweep.crossed
        self.crossed |= sweep.crossed
        self.crossed_voxels_twice |= self.crossed_voxels & crossed_voxels
        self.crossed_voxels |= crossed_voxels

    def joined(self, other: "_Counts") -> "_Counts":
        """Return what these sweeps and others hit and cross together."""
        both = _Counts(self.hit.shape)
        both.hit_twice = self.hit_twice | other.hit_twice | (self.hit != 0) & (other.hit != 0)
        both.hit, both.crossed = self.hit | other.hit, self.crossed | other.crossed
        both.crossed_twice = self.crossed_twice | other.crossed_twice | self.crossed & other.crossed
        both.crossed_voxels = self.crossed_voxels | other.crossed_voxels
        twice = self.crossed_voxels_twice | other.crossed_voxels_twice
        both.crossed_voxels_twice = twice | self.crossed_voxels & other.crossed_voxels
        return both

"""States of voxels from a window of sweeps: the accumulated present (this project's extension).

Axes: `X Y Z` voxels.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from occfeat.data.sample.lidar import EMPTY, IN_CONFLICT, OCCUPIED
from occfeat.data.sweeps.rays import RayVoxels
from occfeat.settings.sections import Conflicts


def accumulate(key: RayVoxels, others: Iterable[RayVoxels], conflicts: Conflicts) -> UInt8[ndarray, "X Y Z"]:
    """Return the state of each voxel.

    - *Occupied*: the key sweep hits it. Or at least two other sweeps hit it, no ray of the key sweep crosses
      it, and no sweep after the last of those hits crosses it. With `ignore`, crossing rays do not count.
    - *Empty*: not occupied, and the key sweep crosses it. Or at least two others do, and nobody hits it.
    - *Unknown*: all else.

    Something moved where two other sweeps hit a voxel that crossing rays clear, and where the key sweep hits
    one that two others cross and none hits. Such voxels are marked as `IN_CONFLICT`.

    Args:
        key: The sweep of the key frame.
        others: The other sweeps of the window, in the order of time.
        conflicts: Who decides where rays conflict.
    """
    seen = _Counts(key.hit.shape)
    for other in others:
        seen.add(other)
    cleared = key.crossed | seen.crossed_after
    conflict = (seen.hit_twice & cleared & ~key.hit) | (key.hit & seen.crossed_twice & ~seen.hit)
    trusted = seen.hit_twice if conflicts == "ignore" else seen.hit_twice & ~cleared
    occupied = key.hit | trusted
    empty = ~occupied & (key.crossed | (seen.crossed_twice & ~seen.hit))
    states = np.zeros(occupied.shape, dtype=np.uint8)
    for mask, bit in ((empty, EMPTY), (occupied, OCCUPIED), (conflict, IN_CONFLICT)):
        states |= mask * np.uint8(bit)
    return states


class _Counts:
    """How often the other sweeps hit and cross each voxel: at least once, at least twice.

    Args:
        shape: Voxels along each axis.
    """

    hit: Bool[ndarray, "X Y Z"]
    hit_twice: Bool[ndarray, "X Y Z"]
    crossed: Bool[ndarray, "X Y Z"]
    crossed_twice: Bool[ndarray, "X Y Z"]
    crossed_after: Bool[ndarray, "X Y Z"]
    """Whether a sweep crosses the voxel after the last that hits it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.hit, self.hit_twice, self.crossed, self.crossed_twice, self.crossed_after = (
            np.zeros(shape, dtype=bool) for _ in range(5)
        )

    def add(self, sweep: RayVoxels) -> None:
        """Count a sweep, later than those before."""
        self.hit_twice |= self.hit & sweep.hit
        self.hit |= sweep.hit
        self.crossed_twice |= self.crossed & sweep.crossed
        self.crossed |= sweep.crossed
        self.crossed_after |= sweep.crossed
        self.crossed_after &= ~sweep.hit

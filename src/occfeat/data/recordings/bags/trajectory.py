"""A frame that moves: its poses at some times, and between them.

Axes: `N` poses, `Q` times that are asked for.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int64, Real
from numpy import ndarray

from occfeat.errors import DatasetError
from occfeat.geometry.motion import matrices, normalised, slerp

LARGEST_GAP_US = 1_000_000
"""Longest time between two poses that is interpolated (this project's choice)."""
EXTRAPOLATION_US = 100_000
"""How far before the first pose and after the last one the motion is continued (this project's choice)."""
FASTEST_M_PER_S = 100.0
"""Fastest plausible vehicle; a faster step is a jump (this project's choice)."""
SMALLEST_JUMP_M = 1.0
"""Shorter steps are never jumps: stamps that are close together make any noise fast."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses of a frame b in a frame a, in order of time."""

    times_us: Int64[ndarray, " N"]
    """Strictly increasing."""
    positions_m: Float64[ndarray, "N 3"]
    """Origins of b in frame a."""
    quaternions: Float64[ndarray, "N 4"]
    """Rotations from b to a: (w, x, y, z), of unit length."""
    faults: tuple[str, ...] = field(default=())
    """What was wrong with the poses that it was made of, one sentence each."""

    def __len__(self) -> int:
        return len(self.times_us)

    def covers(self, times_us: Real[ndarray, " Q"]) -> Bool[ndarray, " Q"]:
        """Return at which times the pose is known: between poses that are near enough, or just outside."""
        if not len(self):
            return np.zeros(len(times_us), dtype=bool)
        first, last = self.times_us[0] - EXTRAPOLATION_US, self.times_us[-1] + EXTRAPOLATION_US
        after = np.searchsorted(self.times_us, times_us, side="left").clip(1, max(len(self) - 1, 1))
        ends = np.minimum(after, len(self) - 1)
        exact = self.times_us[ends] == times_us
        near = self.times_us[ends] - self.times_us[after - 1] <= LARGEST_GAP_US
        outside = (times_us < self.times_us[0]) | (times_us > self.times_us[-1])
        inside: ndarray = (times_us >= first) & (times_us <= last) & (near | exact | outside)
        return inside

    def overlaps(self, first_us: int, last_us: int) -> bool:
        """Return whether a pose is known at some time of a stretch, gaps left aside."""
        first, last = self.times_us[[0, -1]] + (-EXTRAPOLATION_US, EXTRAPOLATION_US)
        return bool(first <= last_us and first_us <= last)

    def at(self, times_us: Real[ndarray, " Q"]) -> Float64[ndarray, "Q 4 4"]:
        """Return the transforms `a_from_b` at these times.

        Positions are interpolated linearly and rotations at constant speed. Before the first pose and after
        the last one, the motion continues for `EXTRAPOLATION_US`.

        Raises:
            DatasetError: A pose is not known at one of the times.
        """
        if not (known := self.covers(times_us)).all():
            raise DatasetError(self._why_unknown(times_us[~known]))
        if len(self) == 1:
            return np.broadcast_to(matrices(self.positions_m, self.quaternions), (len(times_us), 4, 4)).copy()
        after = np.searchsorted(self.times_us, times_us, side="left").clip(1, len(self) - 1)
        before = after - 1
        step_us = self.times_us[after] - self.times_us[before]
        share = (times_us - self.times_us[before]) / step_us
        position_m = (
            self.positions_m[before] * (1 - share)[:, None] + self.positions_m[after] * share[:, None]
        )
        turn = slerp(self.quaternions[before], self.quaternions[after], share)
        return matrices(position_m, turn)

    def gaps(self) -> Int64[ndarray, "G 2"]:
        """Return beginning and end, in microseconds, of all gaps that are not interpolated."""
        wide = np.flatnonzero(np.diff(self.times_us) > LARGEST_GAP_US)
        return np.stack((self.times_us[wide], self.times_us[wide + 1]), axis=1)

    def jumps(self) -> Int64[ndarray, " J"]:
        """Return the times in microseconds at which the frame has moved faster than a vehicle can."""
        step_m = np.linalg.norm(np.diff(self.positions_m, axis=0), axis=1)
        fast = step_m > FASTEST_M_PER_S * np.diff(self.times_us) * 1e-6
        return self.times_us[1:][fast & (step_m > SMALLEST_JUMP_M)]

    def _why_unknown(self, times_us: Real[ndarray, " Q"]) -> str:
        """Return why a pose is not known, as a sentence."""
        some = f"The pose at {int(times_us[0])} us is not known ({len(times_us)} such times)"
        if not len(self):
            return f"{some}: there are no poses."
        return (
            f"{some}: the {len(self)} poses reach from {self.times_us[0]} to {self.times_us[-1]} us, and "
            f"{len(self.gaps())} gaps between them are longer than {LARGEST_GAP_US / 1e6:g} s."
        )


def build_trajectory(
    times_us: Int64[ndarray, " N"], positions_m: Float64[ndarray, "N 3"], quaternions: Float64[ndarray, "N 4"]
) -> Trajectory:
    """Return a trajectory of poses in any order.

    Poses that are not finite, have a quaternion of length zero or repeat a time are left out and counted; the
    first of several poses at one time is kept.
    """
    finite = np.isfinite(positions_m).all(axis=1) & np.isfinite(normalised(quaternions)).all(axis=1)
    kept_us = times_us[finite]
    disorder = int((np.diff(kept_us) < 0).sum())
    unique_us, first = np.unique(kept_us, return_index=True)
    counts = {
        "poses are not finite or have no rotation": int((~finite).sum()),
        "poses were out of order and are sorted": disorder,
        "poses repeat a time": len(kept_us) - len(unique_us),
    }
    faults = tuple(f"{count} {what}." for what, count in counts.items() if count)
    rotations = normalised(quaternions[finite][first])
    return Trajectory(unique_us, positions_m[finite][first], rotations, faults)

"""What single sweeps say of the voxels at several times around a key frame (this project's extension)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from occfeat.data.keyframe import SweepRecord
from occfeat.data.sample.contents import TimesRequest
from occfeat.data.sample.lidar import EMPTY, OCCUPIED, TimedStates
from occfeat.data.sweeps.rays import join, trace
from occfeat.data.sweeps.tracer import Tracer


@dataclass(frozen=True)
class TimesReader(Tracer):
    """Reads the sweeps at some times around a key frame."""

    def read(self, row: int, request: TimesRequest) -> TimedStates:
        """Return the states of a key frame's voxels at some times before and after it.

        A time without a sweep that can be read is absent, and its voxels are unknown.

        Raises:
            KeyFrameError: The key frame cannot be used.
            SettingsError: Its ego pose is not known.
        """
        reach_s = max(map(abs, request.times_s)) + request.tolerance_s
        sweeps = self.index.sweeps_within(row, reach_s, self.view.lidars)
        key_us = self.index.timestamp_us(row)
        states = [
            self._states(choose_nearest(sweeps, key_us + round(time_s * 1e6), request.tolerance_s))
            for time_s in request.times_s
        ]
        unknown = torch.zeros(self.grid.shape, dtype=torch.uint8)
        return TimedStates(
            torch.stack([unknown if one is None else one for one in states]),
            torch.tensor([one is not None for one in states]),
        )

    def _states(self, sweeps: Sequence[SweepRecord]) -> UInt8[Tensor, "X Y Z"] | None:
        """Return what some sweeps say of each voxel; None if none of them can be read."""
        traced = self.trace_readable(sweeps, trace)
        if not traced:
            return None
        seen = join(traced)
        return torch.from_numpy(seen.hit * np.uint8(OCCUPIED) + seen.crossed * np.uint8(EMPTY))


def choose_nearest(
    sweeps: Sequence[SweepRecord], time_us: int, tolerance_s: float
) -> tuple[SweepRecord, ...]:
    """Return the sweep of each LiDAR that is nearest to a time, if it is within the tolerance.

    Args:
        sweeps: Sweeps of a scene in any order.
        time_us: The time.
        tolerance_s: Largest distance in time.
    """
    nearest: dict[str, SweepRecord] = {}
    for sweep in sweeps:
        known = nearest.get(sweep.lidar)
        if known is None or abs(sweep.timestamp_us - time_us) < abs(known.timestamp_us - time_us):
            nearest[sweep.lidar] = sweep
    return tuple(one for one in nearest.values() if abs(one.timestamp_us - time_us) <= tolerance_s * 1e6)

"""The window of a key frame: which sweeps belong to it, and what they say together of its voxels."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.index.index import Index
from occfeat.data.keyframe import KeyFrame, SweepRecord
from occfeat.data.sample.contents import WindowRequest
from occfeat.data.sample.lidar import Window
from occfeat.data.sweeps.accumulate import accumulate
from occfeat.data.sweeps.slices import RaySlices, join_slices, trace_slices
from occfeat.data.sweeps.tracer import Tracer
from occfeat.errors import KeyFrameError

_log = logging.getLogger(__name__)

REACH = 2.0
"""Where one side of a window has no sweep, the nearest within so many windows serves: the next key frame."""

AROUND_M = 7.5
"""A voxel is on the ground if nothing is hit below it within this distance along x and y."""

Round = tuple[SweepRecord, ...]
"""Sweeps of several LiDARs at about the same time, at most one of each."""


@dataclass(frozen=True)
class WindowReader(Tracer):
    """Reads the sweeps around a key frame as a window."""

    def read(self, row: int, request: WindowRequest) -> Window:
        """Return what the sweeps around a key frame say together of its voxels.

        Other sweeps that cannot be read are left out and counted. A window without any is the key frame's own
        sweep alone.

        Raises:
            KeyFrameError: The key frame or its own sweep cannot be read.
            SettingsError: Its ego pose is not known.
        """
        key_frame = self.index.key_frame(row, lidars=self.view.lidars)
        if not key_frame.sweeps:
            raise KeyFrameError(f"Key frame {key_frame.token} has no LiDAR record.")
        key = join_slices([trace_slices(self.read_sweep(one), self.grid) for one in key_frame.sweeps])
        sweeps = self.index.sweeps_within(row, REACH * request.window_s, self.view.lidars)
        rounds = choose_rounds(sweeps, key_frame, request.window_s)
        counts: list[int] = []
        before, after = (self._joined(one, counts) for one in (rounds.before, rounds.after))
        around = (round(AROUND_M / self.grid.cell_m[0]), round(AROUND_M / self.grid.cell_m[1]))
        states = accumulate(key, before, after, request.conflicts, around)
        others = sum(map(len, (*rounds.before, *rounds.after)))
        joined = len(key_frame.sweeps) + sum(counts)
        return Window(torch.from_numpy(states), torch.tensor(joined), torch.tensor(others - sum(counts)))

    def _joined(self, rounds: Iterable[Round], counts: list[int]) -> Iterator[RaySlices]:
        """Yield the voxels of each round that can be read; note the number of sweeps of every round."""
        for one in rounds:
            traced = self.trace_readable(one, trace_slices)
            counts.append(len(traced))
            if traced:
                yield join_slices(traced)


@dataclass(frozen=True)
class Rounds:
    """The other sweeps of a window in the order of time, those of several LiDARs together."""

    before: tuple[Round, ...]
    """Those before the key frame."""
    after: tuple[Round, ...]
    """Those after it."""


def choose_rounds(sweeps: Sequence[SweepRecord], key_frame: KeyFrame, window_s: float) -> Rounds:
    """Return the other sweeps of a window in the order of time, those of several LiDARs together.

    The window of a LiDAR is around its own sweep of the key frame. The n-th sweeps of all LiDARs before the
    key frame make one round, and so do the n-th after it. Where a LiDAR has no sweep on one side of the
    window, its nearest on that side serves.

    Args:
        sweeps: Sweeps of the scene within `REACH` windows, in the order of time.
        key_frame: The key frame with its own sweeps.
        window_s: Seconds before and after the key frame.
    """
    own = {sweep.lidar: sweep for sweep in key_frame.sweeps}
    rounds: dict[int, list[SweepRecord]] = {}
    for lidar in dict.fromkeys(sweep.lidar for sweep in sweeps):
        mine = [one for one in sweeps if one.lidar == lidar and one.token != _token(own.get(lidar))]
        middle_us = own[lidar].timestamp_us if lidar in own else key_frame.timestamp_us
        before = [one for one in reversed(mine) if one.timestamp_us < middle_us]
        after = [one for one in mine if one.timestamp_us >= middle_us]
        for side, found in ((-1, before), (1, after)):
            within = sum(abs(one.timestamp_us - middle_us) <= window_s * 1e6 for one in found)
            for number, one in enumerate(found[: max(within, 1)], start=1):
                rounds.setdefault(side * number, []).append(one)
    in_order = {number: tuple(rounds[number]) for number in sorted(rounds)}
    return Rounds(
        before=tuple(one for number, one in in_order.items() if number < 0),
        after=tuple(one for number, one in in_order.items() if number > 0),
    )


def _token(sweep: SweepRecord | None) -> str | None:
    """Return the token of a sweep, if there is one."""
    return None if sweep is None else sweep.token


def warn_of_lonely(index: Index, rows: Int64[ndarray, " n"], window_s: float) -> None:
    """Say once how many key frames have no other sweep in their window."""
    if lonely := count_lonely(index, rows, window_s):
        text = "%d of %d key frames have no other LiDAR sweep within %g s: theirs stands alone."
        _log.warning(text, lonely, len(rows), window_s)


def count_lonely(index: Index, rows: Int64[ndarray, " n"], window_s: float) -> int:
    """Return the number of key frames that have only their own sweeps within `REACH` windows."""
    sweeps = index.column("sweeps")
    offsets, sweep_us = sweeps.offsets.to_numpy(), sweeps.values.field("timestamp_us").to_numpy()
    is_key = sweeps.values.field("is_key").to_numpy(zero_copy_only=False)
    keys_before = np.concatenate(([0], np.cumsum(is_key)))
    scene, key_us = index.column("scene").to_numpy(), index.column("timestamp_us").to_numpy()
    reach_us = round(REACH * window_s * 1e6)
    lonely = 0
    for number in np.unique(scene[rows]):
        begin, end = offsets[np.searchsorted(scene, (number, number + 1))]
        here = rows[scene[rows] == number]
        times_us = np.sort(sweep_us[begin:end])
        until = np.searchsorted(times_us, key_us[here] + reach_us, side="right")
        near = until - np.searchsorted(times_us, key_us[here] - reach_us)
        own = keys_before[offsets[here + 1]] - keys_before[offsets[here]]
        lonely += int(np.count_nonzero(near <= own))
    return lonely

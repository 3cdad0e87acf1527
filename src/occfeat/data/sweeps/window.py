"""The window of a key frame: which sweeps belong to it, and what they say together of its voxels."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.augment import Change
from occfeat.data.index.index import Index
from occfeat.data.keyframe import KeyFrame, SweepRecord
from occfeat.data.sample.contents import WindowRequest
from occfeat.data.sample.lidar import Window
from occfeat.data.sweeps.accumulate import accumulate
from occfeat.data.sweeps.points import read_points
from occfeat.data.sweeps.rays import RayVoxels, join, trace
from occfeat.errors import KeyFrameError
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import ViewConfig

_log = logging.getLogger(__name__)

REACH = 2.0
"""Where one side of a window has no sweep, the nearest within so many windows serves: the next key frame."""

Round = tuple[SweepRecord, ...]
"""Sweeps of several LiDARs at about the same time, at most one of each."""


@dataclass
class WindowReader:
    """Reads the sweeps around a key frame, and traces their rays.

    Other sweeps that cannot be read are left out and counted.
    """

    index: Index
    view: ViewConfig
    """LiDARs, and the radius around them that the car itself fills."""
    grid: VoxelGrid
    """The voxels, in the augmented ego frame."""
    change: Change
    """Augmentation of the key frame."""
    joined: int = field(default=0, init=False)
    """Number of files that were read."""
    lost: int = field(default=0, init=False)
    """Number of files that could not be read."""

    def read(self, row: int, request: WindowRequest) -> Window:
        """Return what the sweeps around a key frame say together of its voxels.

        A window without other sweeps is the key frame's own sweep alone.

        Raises:
            KeyFrameError: The key frame or its own sweep cannot be read.
            SettingsError: Its ego pose is not known.
        """
        key_frame = self.index.key_frame(row, lidars=self.view.lidars)
        if not key_frame.sweeps:
            raise KeyFrameError(f"Key frame {key_frame.token} has no LiDAR record.")
        key = join([self._trace(sweep) for sweep in key_frame.sweeps])
        reach_s = REACH * request.window_s
        sweeps = self.index.sweeps_within(row, reach_s, self.view.lidars)
        others = self._readable(choose_rounds(sweeps, key_frame, request.window_s))
        states = torch.from_numpy(accumulate(key, others, request.conflicts))
        return Window(states, torch.tensor(self.joined), torch.tensor(self.lost))

    def _readable(self, rounds: Sequence[Round]) -> Iterator[RayVoxels]:
        """Yield the voxels of each round of which a sweep can be read."""
        for sweeps in rounds:
            traced = []
            for sweep in sweeps:
                try:
                    traced.append(self._trace(sweep))
                except KeyFrameError as error:
                    _log.debug("Left out of a window of sweeps: %s", error)
                    self.lost += 1
            if traced:
                yield join(traced)

    def _trace(self, sweep: SweepRecord) -> RayVoxels:
        """Read one sweep and trace its rays."""
        points = read_points(self.index.source, [sweep], self.view.ego_radius_m, self.change.beams)
        self.joined += 1
        return trace(points.transform(self.change.new_ego_from_ego.float()), self.grid)


def choose_rounds(sweeps: Sequence[SweepRecord], key_frame: KeyFrame, window_s: float) -> list[Round]:
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
    return [tuple(rounds[number]) for number in sorted(rounds)]


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

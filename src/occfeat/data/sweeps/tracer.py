"""Sweeps of a key frame, read one by one for their rays to be traced."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from occfeat.data.augment import Change
from occfeat.data.index.index import Index
from occfeat.data.keyframe import SweepRecord
from occfeat.data.sample.lidar import Points
from occfeat.data.sweeps.points import read_points
from occfeat.errors import KeyFrameError
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import ViewConfig

_log = logging.getLogger(__name__)
Traced = TypeVar("Traced")
"""What a sweep hits and crosses."""


@dataclass(frozen=True)
class Tracer:
    """Reads sweeps around a key frame in its augmented ego frame."""

    index: Index
    view: ViewConfig
    """LiDARs, and the radius around them that the car itself fills."""
    grid: VoxelGrid
    """The voxels, in the augmented ego frame."""
    change: Change
    """Augmentation of the key frame."""

    def read_sweep(self, sweep: SweepRecord) -> Points:
        """Read the returns of one sweep.

        Raises:
            KeyFrameError: It cannot be read.
        """
        points = read_points(self.index.source, [sweep], self.view.ego_radius_m, self.change.beams)
        return points.transform(self.change.new_ego_from_ego.float())

    def trace_readable(
        self, sweeps: Sequence[SweepRecord], trace: Callable[[Points, VoxelGrid], Traced]
    ) -> list[Traced]:
        """Read some sweeps and trace their rays; those that cannot be read are left out."""
        traced = []
        for sweep in sweeps:
            try:
                traced.append(trace(self.read_sweep(sweep), self.grid))
            except KeyFrameError as error:
                _log.debug("Left out of the sweeps around a key frame: %s", error)
        return traced

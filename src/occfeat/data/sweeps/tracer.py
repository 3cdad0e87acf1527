"""Sweeps of a key frame, read one by one as the voxels that their rays hit and cross."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from occfeat.data.augment import Change
from occfeat.data.index.index import Index
from occfeat.data.keyframe import SweepRecord
from occfeat.data.sweeps.points import read_points
from occfeat.data.sweeps.rays import RayVoxels, trace
from occfeat.errors import KeyFrameError
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import ViewConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tracer:
    """Reads sweeps around a key frame, and traces their rays."""

    index: Index
    view: ViewConfig
    """LiDARs, and the radius around them that the car itself fills."""
    grid: VoxelGrid
    """The voxels, in the augmented ego frame."""
    change: Change
    """Augmentation of the key frame."""

    def trace(self, sweep: SweepRecord) -> RayVoxels:
        """Read one sweep and trace its rays.

        Raises:
            KeyFrameError: It cannot be read.
        """
        points = read_points(self.index.source, [sweep], self.view.ego_radius_m, self.change.beams)
        return trace(points.transform(self.change.new_ego_from_ego.float()), self.grid)

    def trace_readable(self, sweeps: Sequence[SweepRecord]) -> list[RayVoxels]:
        """Read some sweeps and trace their rays; those that cannot be read are left out."""
        traced = []
        for sweep in sweeps:
            try:
                traced.append(self.trace(sweep))
            except KeyFrameError as error:
                _log.debug("Left out of the sweeps around a key frame: %s", error)
        return traced

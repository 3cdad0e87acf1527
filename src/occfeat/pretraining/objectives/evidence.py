"""What the targets of a batch are made of: LiDAR points, and what the teacher sees.

Axes: `B` key frames, `N` cameras, `X Y Z` voxels, `F` teacher channels, `h w` teacher feature map.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from occfeat.data.sample import Batch, Cameras, Points, TeacherMaps
from occfeat.geometry.grid import VoxelGrid
from occfeat.teacher.network import Teacher


@dataclass(frozen=True)
class Evidence:
    """A batch as those see it who make targets; what several of them want is computed once.

    Properties raise a ValueError if the batch does not carry what they are made of.
    """

    batch: Batch
    grid: VoxelGrid
    teacher: Teacher | None = None
    """Runs on the teacher images of the batch; None if the batch carries what it saw, or nobody asks."""

    @property
    def points(self) -> Points:
        """LiDAR returns of all key frames, in the (possibly augmented) ego frame, in metres."""
        if self.batch.points is None:
            raise ValueError("expected a batch with LiDAR points, got one without")
        return self.batch.points

    @cached_property
    def occupied(self) -> Bool[Tensor, "B X Y Z"]:
        """Whether each voxel holds a LiDAR return."""
        return occupancy_target(self.points, len(self.batch), self.grid)

    @property
    def teacher_cameras(self) -> Cameras:
        """Calibration of the images the teacher sees or saw."""
        if self.batch.teacher is None:
            raise ValueError("expected a batch with teacher images or features, got one without")
        return self.batch.teacher.cameras

    @cached_property
    def teacher_maps(self) -> Float[Tensor, "BN F h w"]:
        """Features of all images, the cameras of one key frame after the other."""
        given = self.batch.teacher
        if isinstance(given, TeacherMaps):
            return given.maps.decode().flatten(0, 1)
        if self.teacher is None or given is None:
            raise ValueError("expected a teacher and a batch with its images, or a batch with what it saw")
        return self.teacher(given.images.flatten(0, 1))


def occupancy_target(points: Points, key_frames: int, grid: VoxelGrid) -> Bool[Tensor, "B X Y Z"]:
    """Mark the voxels that hold at least one LiDAR return; all others count as empty (paper section 3)."""
    cell, inside = grid.cell_index(points.points_ego)
    occupied = torch.zeros(key_frames, *grid.shape, dtype=torch.bool, device=inside.device)
    occupied[(points.key_frame[inside], *cell[inside].unbind(1))] = True
    return occupied

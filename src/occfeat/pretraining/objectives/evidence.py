"""The evidence from which targets are made: LiDAR points and teacher features.

Axes: `B` key frames, `N` cameras, `V` views: the cameras of a key frame, or of several, `X Y Z` voxels, `F`
teacher channels, `h w` teacher feature map.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.lidar import Points, TimedStates, Window
from occfeat.data.sample.sample import Batch
from occfeat.data.sample.teacher import TeacherMaps, TeacherViews
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.encoders.present import encode_present
from occfeat.models.lifting.projection import seen_voxels
from occfeat.pretraining.objectives.position import UsualMaps
from occfeat.teacher.network import Teacher


@dataclass(frozen=True)
class Evidence:
    """The evidence of a batch; shared intermediate results are computed once.

    Properties raise a ValueError if the batch does not carry the parts they need.
    """

    batch: Batch
    grid: VoxelGrid
    teacher: Teacher | None = None
    """The teacher; None if the batch carries its features, or if no objective needs it."""
    usual_maps: UsualMaps | None = None
    """What is subtracted from the teacher's feature maps; None for nothing."""

    @property
    def points(self) -> Points:
        """LiDAR returns of all key frames, in the (possibly augmented) ego frame, in metres."""
        if self.batch.points is None:
            raise ValueError("expected a batch with LiDAR points, got one without")
        return self.batch.points

    @property
    def window(self) -> Window:
        """What the sweeps around each key frame say together of its voxels."""
        if self.batch.window is None:
            raise ValueError("expected a batch with a window of sweeps, got one without")
        return self.batch.window

    @cached_property
    def occupied(self) -> Bool[Tensor, "B X Y Z"]:
        """Whether each voxel contains a LiDAR return."""
        return occupancy_target(self.points, len(self.batch), self.grid)

    @cached_property
    def seen(self) -> Bool[Tensor, "B X Y Z"]:
        """Whether each voxel lies in one of the student's images, which augmentation may have cropped."""
        return seen_voxels(self.batch.cameras, self.grid)

    @property
    def timed_states(self) -> TimedStates:
        """What the sweeps at several times say of the voxels."""
        if self.batch.times is None:
            raise ValueError("expected a batch with states at several times, got one without")
        return self.batch.times

    @property
    def driven(self) -> Bool[Tensor, "B X Y"]:
        """Whether the car covers each cell at some time around the key frame."""
        if self.batch.path is None:
            raise ValueError("expected a batch with the path of the car, got one without")
        return self.batch.path.driven

    @property
    def teacher_cameras(self) -> Cameras:
        """Calibration of the teacher's images."""
        if self.batch.teacher is None:
            raise ValueError("expected a batch with teacher images or features, got one without")
        return self.batch.teacher.cameras

    @cached_property
    def teacher_maps(self) -> Float[Tensor, "BV F h w"]:
        """Teacher features of all images, ordered by key frame and camera, without what is usual."""
        given = self.batch.teacher
        if isinstance(given, TeacherMaps):
            return self.without_usual(given.maps.decode()).flatten(0, 1)
        if self.teacher is None or given is None:
            raise ValueError("expected a teacher and a batch with images, or a batch with features")
        maps = encode_present(self.teacher, given.images, given.cameras.on_host().present)
        return self.without_usual(maps).flatten(0, 1)

    def without_usual(self, maps: Float[Tensor, "B V F h w"]) -> Float[Tensor, "B V F h w"]:
        """Subtract what is usual from feature maps.

        Raises:
            SettingsError: It was found for another rig, image size or data set.
        """
        if self.usual_maps is None:
            return maps
        height, width = maps.shape[3:]
        self.usual_maps.require(self.batch.images.shape[1], (height, width))
        return maps - self.usual_maps.of(self.data_sets, self._camera_of_views())

    @property
    def data_sets(self) -> tuple[str, ...]:
        """Name of the data set of each key frame; that of a single one is empty."""
        return self.batch.data_sets or ("",) * len(self.batch)

    def _camera_of_views(self) -> Int64[Tensor, "B V"]:
        """Return which camera of its rig each view of the teacher is."""
        if isinstance(self.batch.teacher, TeacherViews):
            return self.batch.teacher.camera
        present = self.teacher_cameras.present
        return torch.arange(present.shape[1], device=present.device).expand(present.shape)

    def own_maps(self) -> tuple[Float[Tensor, "B N F h w"], Bool[Tensor, "B N"]]:
        """Return the feature maps of the rig's cameras at the time of the key frame, and which are there."""
        present, cameras = self.teacher_cameras.present, self.batch.images.shape[1]
        maps = self.teacher_maps.view(*present.shape, *self.teacher_maps.shape[1:])
        if isinstance(self.batch.teacher, TeacherViews):
            present = present & self.batch.teacher.own
        return maps[:, :cameras], present[:, :cameras]


def occupancy_target(points: Points, key_frames: int, grid: VoxelGrid) -> Bool[Tensor, "B X Y Z"]:
    """Mark the voxels that contain at least one LiDAR return; all others are empty (paper section 3)."""
    cell, inside = grid.cell_index(points.points_ego)
    x, y, z = cell.unbind(1)
    flat = ((points.key_frame * grid.shape[0] + x) * grid.shape[1] + y) * grid.shape[2] + z
    count = key_frames * grid.shape[0] * grid.shape[1] * grid.shape[2]
    occupied = torch.zeros(count + 1, dtype=torch.bool, device=inside.device)
    occupied.index_fill_(0, torch.where(inside, flat, count), True)  # the last one is outside the grid
    return occupied[:-1].view(key_frames, *grid.shape)

"""What LiDARs and poses say: returns, states of voxels, the way of the car.

Axes: `*B` is empty in a sample and one axis in a batch, `P` returns, `T` times, `X Y Z` voxels.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from occfeat.data.sample.tensors import Tensors
from occfeat.geometry.frames import transform_points


@dataclass(frozen=True)
class Points(Tensors):
    """LiDAR returns of one key frame or of a batch, in the (possibly augmented) ego frame, in metres."""

    points_ego: Float[Tensor, "P 3"]
    """Position of each return."""
    origins_ego: Float[Tensor, "P 3"]
    """Origin of each return's ray: the position of the sensor at the time of its sweep."""
    key_frame: Int64[Tensor, " P"]
    """Index in the batch of each return's key frame; 0 in a sample."""

    @staticmethod
    def of_one_key_frame(points_ego: Float[Tensor, "P 3"], origins_ego: Float[Tensor, "P 3"]) -> "Points":
        """Return points that all belong to key frame 0."""
        key_frame = torch.zeros(len(points_ego), dtype=torch.int64, device=points_ego.device)
        return Points(points_ego, origins_ego, key_frame)

    def of_key_frame(self, index: int) -> "Points":
        """Return the points of one key frame of a batch, as in its sample."""
        mine = self.key_frame == index
        return Points.of_one_key_frame(self.points_ego[mine], self.origins_ego[mine])

    def transform(self, new_ego_from_ego: Float[Tensor, "4 4"]) -> "Points":
        """Return the same points in another ego frame."""
        if torch.equal(new_ego_from_ego, torch.eye(4).to(new_ego_from_ego)):
            return self
        return replace(
            self,
            points_ego=transform_points(new_ego_from_ego, self.points_ego),
            origins_ego=transform_points(new_ego_from_ego, self.origins_ego),
        )

    def __len__(self) -> int:
        return len(self.points_ego)


EMPTY, OCCUPIED, IN_CONFLICT = 1, 2, 4
"""Bits of the state of a voxel; without the first two, it is unknown."""


@dataclass(frozen=True)
class _VoxelStates(Tensors):
    """Base class of values that say of voxels whether they are occupied, empty or unknown."""

    states: UInt8[Tensor, "*B X Y Z"]
    """`EMPTY`, `OCCUPIED` or neither, and maybe `IN_CONFLICT`."""

    @property
    def occupied(self) -> Bool[Tensor, "*B X Y Z"]:
        """Whether each voxel is occupied."""
        return self.states & OCCUPIED != 0

    @property
    def known(self) -> Bool[Tensor, "*B X Y Z"]:
        """Whether each voxel is occupied or empty."""
        return self.states & (OCCUPIED | EMPTY) != 0


@dataclass(frozen=True)
class Window(_VoxelStates):
    """What the sweeps around a key frame say together of its voxels, in the (augmented) ego frame."""

    sweeps: Int64[Tensor, "*B"]
    """Number of LiDAR files that were joined, the key frame's own among them."""
    lost: Int64[Tensor, "*B"]
    """Number of other LiDAR files that could not be read, and were left out."""

    @property
    def in_conflict(self) -> Bool[Tensor, "*B X Y Z"]:
        """Whether something moved through each voxel: some rays hit it, and others passed below the hits."""
        return self.states & IN_CONFLICT != 0

    def of_key_frames(self, chosen: Int64[Tensor, " b"]) -> "Window":
        """Return the windows of some key frames of a batch."""
        return Window(self.states[chosen], self.sweeps[chosen], self.lost[chosen])


@dataclass(frozen=True)
class TimedStates(_VoxelStates):
    """What sweeps at `T` times say of the voxels, in the (possibly augmented) ego frame of the key frame.

    The last axis of `*B` is that of the times. At a time without a sweep all voxels are unknown.
    """

    present: Bool[Tensor, "*B"]
    """Whether there is a sweep at each time."""


@dataclass(frozen=True)
class PathCells(Tensors):
    """The way of the car on the ground, in the (possibly augmented) ego frame."""

    driven: Bool[Tensor, "*B X Y"]
    """Cells whose centre the car covers at some time."""

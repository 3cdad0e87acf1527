"""The one contract between data and models: `Cameras`, `Points`, `Labels`, `Sample` and `Batch`.

Axes: `B` key frames of a batch, `N` cameras of the rig, `H W` student image, `h w` teacher image or its
patches, `F` teacher channels, `P` LiDAR points, `K` classes, `X Y` BEV cells. `*B` is empty in a `Sample` and
one axis in a `Batch`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float32, Int64, Shaped, UInt8
from torch import Tensor

from occfeat.geometry.frames import transform_points

# Not typing.Self, which the run-time shape checks of the tests cannot read.
T = TypeVar("T", bound="_Tensors")


class _Tensors:
    """Moves every tensor of a frozen dataclass, and of the dataclasses inside it, at once."""

    def to(self: T, device: torch.device | str, non_blocking: bool = False) -> T:
        """The same value on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: T) -> T:
        """The same value in page-locked memory, for fast copies to a GPU."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self: T, change: Callable[[Tensor], Tensor]) -> T:
        changed: dict[str, Tensor | _Tensors] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = change(value)
            elif isinstance(value, _Tensors):
                changed[field.name] = value._each(change)
        return replace(self, **changed)  # type: ignore[type-var]


@dataclass(frozen=True)
class Cameras(_Tensors):
    """Calibration of all cameras of a rig, for the image tensors they come with."""

    intrinsics: Float[Tensor, "*B N 3 3"]
    """Pixels of the image tensor as delivered: resize, crop, flip and rotation are folded in."""
    ego_from_camera: Float[Tensor, "*B N 4 4"]
    """Camera frame to ego frame at the LiDAR's time, ego motion in between included."""
    present: Bool[Tensor, "*B N"]
    """False for a camera this key frame lacks: its image is black and it sees nothing."""
    image_size: tuple[int, int]
    """(height, width) in pixels of the image tensors."""

    def of_key_frame(self, index: int) -> "Cameras":
        """The calibration of one key frame of a batch."""
        return Cameras(
            self.intrinsics[index], self.ego_from_camera[index], self.present[index], self.image_size
        )


@dataclass(frozen=True)
class Points(_Tensors):
    """LiDAR returns of one key frame or of a batch, in the (possibly augmented) ego frame, in metres."""

    points_ego: Float[Tensor, "P 3"]
    """Position of each return."""
    origins_ego: Float[Tensor, "P 3"]
    """Where the ray of each return began: the position of the sensor at the time of its sweep."""
    key_frame: Int64[Tensor, " P"]
    """Position in the batch of the key frame that each return belongs to; 0 in a sample."""

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
        return replace(
            self,
            points_ego=transform_points(new_ego_from_ego, self.points_ego),
            origins_ego=transform_points(new_ego_from_ego, self.origins_ego),
        )

    def __len__(self) -> int:
        return len(self.points_ego)


@dataclass(frozen=True)
class Labels(_Tensors):
    """What each BEV cell holds, one binary mask per class."""

    classes: tuple[str, ...]
    """Name of each class, such as `vehicle` or `walkway`."""
    target: Bool[Tensor, "*B K X Y"]
    """Cells covered by an annotated object of the class, whatever its visibility, or by the map layer."""
    low_visibility: Bool[Tensor, "*B K X Y"]
    """Cells covered by an object of nuScenes visibility 1 (0-40 %): ignored by `/visible` protocols.
    Map layers have none."""


@dataclass(frozen=True)
class FeatureMaps(_Tensors):
    """What the teacher saw, as a cache stores it: the features of a patch are `values * scale`."""

    values: Shaped[Tensor, "*B N h w F"]
    """Integers of eight bits or floats of sixteen."""
    scales: Float32[Tensor, "*B N h w"]

    def decode(self) -> Float32[Tensor, "*B N F h w"]:
        """Features as the teacher gives them."""
        return (self.values.float() * self.scales[..., None]).movedim(-1, -3)


@runtime_checkable
class StoredFeatures(Protocol):
    """Where a data set finds what the teacher saw, such as a teacher cache."""

    def read(self, row: int) -> FeatureMaps:
        """Return what it saw in a key frame (`N h w F`), or raise a `KeyFrameError`."""


@dataclass(frozen=True)
class Sample(_Tensors):
    """One key frame. What a stage does not need is None."""

    token: str
    images: UInt8[Tensor, "N 3 H W"]
    """RGB images of the student, augmented."""
    cameras: Cameras
    teacher_images: UInt8[Tensor, "N 3 h w"] | None = None
    """The same images for the teacher, never augmented. None also if what it sees in them is cached."""
    teacher_cameras: Cameras | None = None
    """Calibration of the images the teacher sees or saw."""
    teacher_maps: FeatureMaps | None = None
    """What the teacher saw, from a cache."""
    points: Points | None = None
    labels: Labels | None = None


@dataclass(frozen=True)
class Batch(_Tensors):
    """Several key frames. What a stage does not need is None."""

    tokens: tuple[str, ...]
    images: UInt8[Tensor, "B N 3 H W"]
    cameras: Cameras
    teacher_images: UInt8[Tensor, "B N 3 h w"] | None = None
    teacher_cameras: Cameras | None = None
    teacher_maps: FeatureMaps | None = None
    points: Points | None = None
    """LiDAR returns of all key frames, one key frame after the other."""
    labels: Labels | None = None

    def __len__(self) -> int:
        return len(self.tokens)


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack key frames that were read with the same settings."""
    first = samples[0]
    clouds = [sample.points for sample in samples if sample.points is not None]
    if clouds and len(clouds) < len(samples):
        raise ValueError("some samples have LiDAR points and others have none: read them alike")
    return Batch(
        tokens=tuple(sample.token for sample in samples),
        images=torch.stack([sample.images for sample in samples]),
        cameras=_stack_cameras([sample.cameras for sample in samples]),
        teacher_images=(
            None
            if first.teacher_images is None
            else torch.stack([s.teacher_images for s in samples if s.teacher_images is not None])
        ),
        teacher_cameras=(
            None
            if first.teacher_cameras is None
            else _stack_cameras([s.teacher_cameras for s in samples if s.teacher_cameras is not None])
        ),
        teacher_maps=(
            None
            if first.teacher_maps is None
            else _stack_maps([s.teacher_maps for s in samples if s.teacher_maps is not None])
        ),
        points=_join_points(clouds) if clouds else None,
        labels=(
            None
            if first.labels is None
            else _stack_labels([s.labels for s in samples if s.labels is not None])
        ),
    )


def _stack_cameras(cameras: Sequence[Cameras]) -> Cameras:
    return Cameras(
        intrinsics=torch.stack([rig.intrinsics for rig in cameras]),
        ego_from_camera=torch.stack([rig.ego_from_camera for rig in cameras]),
        present=torch.stack([rig.present for rig in cameras]),
        image_size=cameras[0].image_size,
    )


def _join_points(clouds: Sequence[Points]) -> Points:
    """Return the points of several samples, each with the position of its key frame."""
    return Points(
        points_ego=torch.cat([cloud.points_ego for cloud in clouds]),
        origins_ego=torch.cat([cloud.origins_ego for cloud in clouds]),
        key_frame=torch.repeat_interleave(torch.tensor([len(cloud) for cloud in clouds])),
    )


def _stack_maps(maps: Sequence[FeatureMaps]) -> FeatureMaps:
    return FeatureMaps(
        values=torch.stack([one.values for one in maps]),
        scales=torch.stack([one.scales for one in maps]),
    )


def _stack_labels(labels: Sequence[Labels]) -> Labels:
    return Labels(
        classes=labels[0].classes,
        target=torch.stack([one.target for one in labels]),
        low_visibility=torch.stack([one.low_visibility for one in labels]),
    )

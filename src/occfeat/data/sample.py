"""The interface between data and models: `Sample`, `Batch` and their parts, selected by `Contents`.

Axes: `B` key frames of a batch, `N` cameras of the rig, `H W` student image, `h w` teacher image or its
patches, `F` teacher channels, `P` LiDAR points, `K` classes, `X Y` BEV cells. `*B` is empty in a `Sample` and
one axis in a `Batch`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float32, Int64, Shaped, UInt8
from torch import Tensor

from occfeat.geometry.frames import transform_points
from occfeat.geometry.lens import PINHOLE
from occfeat.settings.sections import Conflicts

# Not typing.Self, which the run-time shape checks of the tests do not support.
T = TypeVar("T", bound="_Tensors")
Part = TypeVar("Part")


class _Tensors:
    """Base class of frozen dataclasses of tensors, which can be moved together."""

    def to(self: T, device: torch.device | str, non_blocking: bool = False) -> T:
        """Return the same value on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: T) -> T:
        """Return the same value in pinned memory, for fast copies to a GPU."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self: T, change: Callable[[Tensor], Tensor]) -> T:
        """Return the same value with a function applied to every tensor, including nested ones."""
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
    """Calibration of all cameras of a rig, for their image tensors. `L`: numbers of a lens."""

    intrinsics: Float[Tensor, "*B N 3 3"]
    """From normalised coordinates to pixels of the image tensors, after resize, crop, flip and rotation."""
    ego_from_camera: Float[Tensor, "*B N 4 4"]
    """Camera frame to ego frame at the LiDAR's time, including the ego motion in between."""
    present: Bool[Tensor, "*B N"]
    """False for a camera that is missing in this key frame; its image is black."""
    image_size: tuple[int, int]
    """(height, width) in pixels of the image tensors."""
    lenses: Float[Tensor, "*B N L"] | None = None
    """`Lens.numbers` of each camera, which act on normalised coordinates. None: all are pinholes."""

    def with_absent(self, count: int) -> "Cameras":
        """Return the rig of one key frame with absent cameras behind its own, `count` in all."""
        more = count - len(self.present)
        absent = Cameras(
            torch.eye(3).expand(more, 3, 3),
            torch.eye(4).expand(more, 4, 4),
            torch.zeros(more, dtype=torch.bool),
            self.image_size,
        )
        lenses = absent.with_lenses().lenses
        return replace(
            self,
            intrinsics=torch.cat((self.intrinsics, absent.intrinsics)),
            ego_from_camera=torch.cat((self.ego_from_camera, absent.ego_from_camera)),
            present=torch.cat((self.present, absent.present)),
            lenses=None if self.lenses is None or lenses is None else torch.cat((self.lenses, lenses)),
        )

    def of_key_frame(self, index: int) -> "Cameras":
        """Return the calibration of one key frame of a batch."""
        return Cameras(
            self.intrinsics[index],
            self.ego_from_camera[index],
            self.present[index],
            self.image_size,
            None if self.lenses is None else self.lenses[index],
        )

    def without_needless_lenses(self) -> "Cameras":
        """Return the same cameras, on the CPU, without lenses if all are pinholes."""
        if self.lenses is None or bool((self.lenses != self.lenses.new_tensor(PINHOLE.numbers())).any()):
            return self
        return replace(self, lenses=None)

    def with_lenses(self) -> "Cameras":
        """Return the same cameras with a lens for each, also for pinholes."""
        if self.lenses is not None:
            return self
        pinholes = self.intrinsics.new_tensor(PINHOLE.numbers()).expand(*self.present.shape, -1)
        return replace(self, lenses=pinholes)


@dataclass(frozen=True)
class Points(_Tensors):
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
        return replace(
            self,
            points_ego=transform_points(new_ego_from_ego, self.points_ego),
            origins_ego=transform_points(new_ego_from_ego, self.origins_ego),
        )

    def __len__(self) -> int:
        return len(self.points_ego)


@dataclass(frozen=True)
class Labels(_Tensors):
    """BEV labels: one binary mask per class."""

    classes: tuple[str, ...]
    """Name of each class, such as `vehicle` or `walkway`."""
    target: Bool[Tensor, "*B K X Y"]
    """Cells covered by an annotated object of the class, of any visibility, or by the map layer."""
    low_visibility: Bool[Tensor, "*B K X Y"]
    """Cells covered by an object of nuScenes visibility 1 (0-40 %), which `/visible` protocols ignore. Empty
    for map layers."""

    def of_key_frames(self, chosen: Int64[Tensor, " b"]) -> "Labels":
        """Return the labels of some key frames of a batch."""
        return replace(self, target=self.target[chosen], low_visibility=self.low_visibility[chosen])


@dataclass(frozen=True)
class FeatureMaps(_Tensors):
    """Stored teacher features: the features of a patch are `values * scale`."""

    values: Shaped[Tensor, "*B N h w F"]
    """int8 or float16."""
    scales: Float32[Tensor, "*B N h w"]
    """One factor per patch."""

    def decode(self) -> Float32[Tensor, "*B N F h w"]:
        """Return the decoded features."""
        return (self.values.float() * self.scales[..., None]).movedim(-1, -3)


EMPTY, OCCUPIED, IN_CONFLICT = 1, 2, 4
"""Bits of the state of a voxel; without the first two, it is unknown."""


@dataclass(frozen=True)
class WindowRequest:
    """Requests what the sweeps around a key frame say together of its voxels."""

    window_s: float
    """Seconds before and after the key frame."""
    conflicts: Conflicts = "key-sweep"
    """Who decides where rays conflict."""


@dataclass(frozen=True)
class Window(_Tensors):
    """What the sweeps around a key frame say together of its voxels, in the (augmented) ego frame."""

    states: UInt8[Tensor, "*B X Y Z"]
    """`EMPTY`, `OCCUPIED` or neither, plus `IN_CONFLICT`."""
    sweeps: Int64[Tensor, "*B"]
    """Number of LiDAR files that were joined, the key frame's own among them."""
    lost: Int64[Tensor, "*B"]
    """Number of other LiDAR files that could not be read, and were left out."""

    @property
    def occupied(self) -> Bool[Tensor, "*B X Y Z"]:
        """Whether each voxel is occupied."""
        return self.states & OCCUPIED != 0

    @property
    def known(self) -> Bool[Tensor, "*B X Y Z"]:
        """Whether each voxel is occupied or empty."""
        return self.states & (OCCUPIED | EMPTY) != 0

    @property
    def in_conflict(self) -> Bool[Tensor, "*B X Y Z"]:
        """Whether something moved through each voxel: some rays hit it, and others crossed it."""
        return self.states & IN_CONFLICT != 0

    def of_key_frames(self, chosen: Int64[Tensor, " b"]) -> "Window":
        """Return the windows of some key frames of a batch."""
        return Window(self.states[chosen], self.sweeps[chosen], self.lost[chosen])


@runtime_checkable
class StoredFeatures(Protocol):
    """A store of teacher features, such as a teacher cache."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the teacher's images."""

    def read(self, row: int) -> FeatureMaps:
        """Return the features of the key frame of a row (`N h w F`), or raise a `KeyFrameError`."""


@dataclass(frozen=True)
class ImagesForTeacher:
    """Requests images for the teacher."""

    image_size: tuple[int, int]
    """(height, width) in pixels."""


@dataclass(frozen=True)
class PathRequest:
    """Requests the cells that the car covers around the time of a key frame."""

    window_s: float
    """Largest distance in time from the key frame."""
    car_lower_m: tuple[float, float]
    """Back right corner of the car in its ego frame."""
    car_upper_m: tuple[float, float]
    """Front left corner of the car in its ego frame."""


@dataclass(frozen=True)
class Contents:
    """Contents of a sample besides the student's images and cameras."""

    points: bool = False
    """LiDAR returns."""
    classes: tuple[str, ...] = ()
    """Classes of the BEV labels. Empty: no labels."""
    teacher: ImagesForTeacher | StoredFeatures | None = None
    """Images for the teacher, or a store of its features. None: no teacher."""
    path: PathRequest | None = None
    """Cells that the car covers. None: not needed."""
    window: WindowRequest | None = None
    """States of the voxels from the sweeps around the key frame. None: not needed."""


@dataclass(frozen=True)
class PathCells(_Tensors):
    """The way of the car on the ground, in the (possibly augmented) ego frame."""

    driven: Bool[Tensor, "*B X Y"]
    """Cells whose centre the car covers at some time."""


@dataclass(frozen=True)
class TeacherImages(_Tensors):
    """The teacher's images."""

    images: UInt8[Tensor, "*B N 3 h w"]
    """The student's RGB images without augmentation, at the teacher's size."""
    cameras: Cameras
    """Calibration of these images, in the (possibly augmented) ego frame."""

    def with_absent(self, count: int) -> "TeacherImages":
        """Return the images of one key frame with those of absent cameras, `count` in all."""
        return TeacherImages(_with_zeros(self.images, count), self.cameras.with_absent(count))


@dataclass(frozen=True)
class TeacherMaps(_Tensors):
    """The teacher's features, from a store."""

    maps: FeatureMaps
    cameras: Cameras
    """Calibration of the teacher's images, in the (possibly augmented) ego frame."""

    def with_absent(self, count: int) -> "TeacherMaps":
        """Return the features of one key frame with those of absent cameras, `count` in all."""
        maps = FeatureMaps(_with_zeros(self.maps.values, count), _with_zeros(self.maps.scales, count))
        return TeacherMaps(maps, self.cameras.with_absent(count))


@dataclass(frozen=True)
class Sample(_Tensors):
    """One key frame. Parts that were not requested are None."""

    token: str
    """Token of the key frame."""
    images: UInt8[Tensor, "N 3 H W"]
    """RGB images of the student, augmented."""
    cameras: Cameras
    """Calibration of these images."""
    teacher: TeacherImages | TeacherMaps | None = None
    """The teacher's images or its stored features."""
    points: Points | None = None
    """LiDAR returns."""
    labels: Labels | None = None
    """BEV labels."""
    path: PathCells | None = None
    """Cells that the car covers."""
    window: Window | None = None
    """States of the voxels from the sweeps around the key frame."""
    data_set: str = ""
    """Name of its data set among several; empty for a single one."""


@dataclass(frozen=True)
class Batch(_Tensors):
    """Several key frames. Parts that were not requested are None."""

    tokens: tuple[str, ...]
    """Tokens of the key frames."""
    images: UInt8[Tensor, "B N 3 H W"]
    """RGB images of the student, augmented."""
    cameras: Cameras
    """Calibration of these images."""
    teacher: TeacherImages | TeacherMaps | None = None
    """The teacher's images or its stored features."""
    points: Points | None = None
    """LiDAR returns of all key frames, concatenated."""
    labels: Labels | None = None
    """BEV labels."""
    path: PathCells | None = None
    """Cells that the car covers."""
    window: Window | None = None
    """States of the voxels from the sweeps around each key frame."""
    data_sets: tuple[str, ...] = ()
    """Name of the data set of each key frame, among several; empty for a single one."""

    def __len__(self) -> int:
        return len(self.tokens)

    def by_data_set(self) -> dict[str, Int64[Tensor, " _"]]:
        """Return the key frames of each data set, by its name; {} for a single data set."""
        names = dict.fromkeys(self.data_sets)
        return {
            name: torch.tensor(
                [number for number, of in enumerate(self.data_sets) if of == name], device=self.images.device
            )
            for name in names
        }


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples that were read with the same `Contents`; the `collate_fn` of a `DataLoader`.

    Rigs may differ. Those with fewer cameras get absent ones with black images.

    Raises:
        ValueError: Only some of the samples have a part, such as LiDAR points or labels.
    """
    cameras = max(len(sample.images) for sample in samples)
    samples = [_with_absent(sample, cameras) for sample in samples]
    teacher: list[TeacherImages | TeacherMaps] = _all_or_none(
        [sample.teacher for sample in samples], "a part for the teacher"
    )
    points = _all_or_none([sample.points for sample in samples], "LiDAR points")
    labels = _all_or_none([sample.labels for sample in samples], "labels")
    path = _all_or_none([sample.path for sample in samples], "the path of the car")
    windows = _all_or_none([sample.window for sample in samples], "a window of sweeps")
    return Batch(
        tokens=tuple(sample.token for sample in samples),
        images=torch.stack([sample.images for sample in samples]),
        cameras=_stack([sample.cameras for sample in samples]),
        teacher=_stack(teacher) if teacher else None,
        points=_join_points(points) if points else None,
        labels=_stack(labels) if labels else None,
        path=_stack(path) if path else None,
        window=_stack(windows) if windows else None,
        data_sets=tuple(sample.data_set for sample in samples if sample.data_set),
    )


def _with_absent(sample: Sample, count: int) -> Sample:
    """Return a sample with absent cameras behind its own, `count` in all."""
    if len(sample.images) == count:
        return sample
    return replace(
        sample,
        images=_with_zeros(sample.images, count),
        cameras=sample.cameras.with_absent(count),
        teacher=None if sample.teacher is None else sample.teacher.with_absent(count),
    )


def _with_zeros(tensor: Shaped[Tensor, "n *shape"], count: int) -> Shaped[Tensor, "m *shape"]:
    """Return a tensor with zeros behind its entries, `count` in all."""
    return torch.cat((tensor, tensor.new_zeros(count - len(tensor), *tensor.shape[1:])))


def _all_or_none(parts: Sequence[Part | None], what: str) -> list[Part]:
    """Return one part of all samples, or an empty list if none has it."""
    found = [part for part in parts if part is not None]
    if found and len(found) < len(parts):
        raise ValueError(f"expected {what} in all samples or none: read them with the same `Contents`")
    return found


def _stack(parts: Sequence[T]) -> T:
    """Stack the tensors of several values; other fields are those of the first.

    Cameras with and without lenses are stacked as cameras with lenses.
    """
    if any(isinstance(part, Cameras) and part.lenses is not None for part in parts):
        parts = [cast(T, part.with_lenses()) if isinstance(part, Cameras) else part for part in parts]
    first, stacked = parts[0], dict[str, Tensor | _Tensors]()
    for field in fields(first):  # type: ignore[arg-type]
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], Tensor):
            stacked[field.name] = torch.stack(values)
        elif isinstance(values[0], _Tensors):
            stacked[field.name] = _stack(values)
    return replace(first, **stacked)  # type: ignore[type-var]


def _join_points(clouds: Sequence[Points]) -> Points:
    """Concatenate the points of several samples, with the index of each key frame."""
    return Points(
        points_ego=torch.cat([cloud.points_ego for cloud in clouds]),
        origins_ego=torch.cat([cloud.origins_ego for cloud in clouds]),
        key_frame=torch.repeat_interleave(torch.tensor([len(cloud) for cloud in clouds])),
    )

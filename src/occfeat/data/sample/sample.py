"""The interface between data and models: `Sample` and `Batch`, whose contents are selected by `Contents`.

Axes: `B` key frames of a batch, `N` cameras of the rig, `H W` student image, `h w` teacher image or its
patches, `F` teacher channels, `P` LiDAR points, `K` classes, `X Y` BEV cells. `*B` is empty in a `Sample` and
one axis in a `Batch`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar, cast

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.lidar import PathCells, Points, TimedStates, Window
from occfeat.data.sample.teacher import TeacherImages, TeacherMaps
from occfeat.data.sample.tensors import T, Tensors, with_zeros
from occfeat.machine.waiting import upload

Part = TypeVar("Part")


@dataclass(frozen=True)
class Labels(Tensors):
    """BEV labels: one binary mask per class."""

    classes: tuple[str, ...]
    """Name of each class, such as `vehicle` or `walkway`."""
    target: Bool[Tensor, "*B K X Y"]
    """Cells covered by an annotated object of the class, of any visibility, or by the map layer."""
    low_visibility: Bool[Tensor, "*B K X Y"]
    """Cells covered by an object of nuScenes visibility 1 (0-40 %), which `/visible` protocols ignore. Empty
    for map layers."""
    not_moving: Bool[Tensor, "*B K X Y"] | None = None
    """Cells covered by an object that is not known to move, which the protocol `/moving` ignores. None: not
    requested."""
    not_still: Bool[Tensor, "*B K X Y"] | None = None
    """Cells covered by an object that is not known to stand still, which `/still` ignores. None: not
    requested."""

    def of_key_frames(self, chosen: Int64[Tensor, " b"]) -> "Labels":
        """Return the labels of some key frames of a batch."""
        return self._each(lambda cells: cells[chosen])


@dataclass(frozen=True)
class Sample(Tensors):
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
    window: Window | None = None
    """States of the voxels from the sweeps around the key frame."""
    times: TimedStates | None = None
    """States of the voxels at several times."""
    path: PathCells | None = None
    """Cells that the car covers."""
    data_set: str = ""
    """Name of its data set among several; empty for a single one."""
    lost_images: tuple[str, ...] = ()
    """What is wrong with each image that cannot be read; its camera counts as absent."""


@dataclass(frozen=True)
class Batch(Tensors):
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
    window: Window | None = None
    """States of the voxels from the sweeps around each key frame."""
    times: TimedStates | None = None
    """States of the voxels at several times."""
    path: PathCells | None = None
    """Cells that the car covers."""
    data_sets: tuple[str, ...] = ()
    """Name of the data set of each key frame, among several; empty for a single one."""

    def __len__(self) -> int:
        return len(self.tokens)

    def by_data_set(self) -> dict[str, Int64[Tensor, " _"]]:
        """Return the key frames of each data set, by its name; {} for a single data set."""
        names = dict.fromkeys(self.data_sets)
        return {
            name: upload(
                torch.tensor([number for number, of in enumerate(self.data_sets) if of == name]),
                self.images.device,
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
    views = max((len(part.cameras.present) for part in teacher), default=0)
    points = _all_or_none([sample.points for sample in samples], "LiDAR points")
    return Batch(
        tokens=tuple(sample.token for sample in samples),
        images=torch.stack([sample.images for sample in samples]),
        cameras=_stack([sample.cameras for sample in samples]),
        teacher=_stack([part.with_absent(views) for part in teacher]) if teacher else None,
        points=_join_points(points) if points else None,
        labels=_stack_parts([sample.labels for sample in samples], "labels"),
        window=_stack_parts([sample.window for sample in samples], "a window of sweeps"),
        times=_stack_parts([sample.times for sample in samples], "states at several times"),
        path=_stack_parts([sample.path for sample in samples], "the path of the car"),
        data_sets=tuple(sample.data_set for sample in samples if sample.data_set),
    )


def _with_absent(sample: Sample, count: int) -> Sample:
    """Return a sample with absent cameras behind its own, `count` in all."""
    if len(sample.images) == count:
        return sample
    return replace(
        sample,
        images=with_zeros(sample.images, count),
        cameras=sample.cameras.with_absent(count),
        teacher=None if sample.teacher is None else sample.teacher.with_absent(count),
    )


def _all_or_none(parts: Sequence[Part | None], what: str) -> list[Part]:
    """Return one part of all samples, or an empty list if none has it."""
    found = [part for part in parts if part is not None]
    if found and len(found) < len(parts):
        raise ValueError(f"expected {what} in all samples or none: read them with the same `Contents`")
    return found


def _stack_parts(parts: Sequence[T | None], what: str) -> T | None:
    """Stack one part of all samples; None if none has it."""
    found = _all_or_none(parts, what)
    return _stack(found) if found else None


def _stack(parts: Sequence[T]) -> T:
    """Stack the tensors of several values; other fields are those of the first.

    Cameras with and without lenses are stacked as cameras with lenses.
    """
    if any(isinstance(part, Cameras) and part.lenses is not None for part in parts):
        parts = [cast(T, part.with_lenses()) if isinstance(part, Cameras) else part for part in parts]
    first, stacked = parts[0], dict[str, Tensor | Tensors]()
    for field in fields(first):  # type: ignore[arg-type]
        values = [getattr(part, field.name) for part in parts]
        if isinstance(values[0], Tensor):
            stacked[field.name] = torch.stack(values)
        elif isinstance(values[0], Tensors):
            stacked[field.name] = _stack(values)
    return replace(first, **stacked)  # type: ignore[type-var]


def _join_points(clouds: Sequence[Points]) -> Points:
    """Concatenate the points of several samples, with the index of each key frame."""
    return Points(
        points_ego=torch.cat([cloud.points_ego for cloud in clouds]),
        origins_ego=torch.cat([cloud.origins_ego for cloud in clouds]),
        key_frame=torch.repeat_interleave(torch.tensor([len(cloud) for cloud in clouds])),
    )

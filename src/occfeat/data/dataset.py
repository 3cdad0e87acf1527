"""Key frames as samples, for torch's DataLoader.

Axes: `N` cameras, `H W` student image, `h w` teacher image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from occfeat.data.augment import (
    Change,
    ImageChange,
    change_image,
    draw_change,
    new_from_old_px,
    zoomed_size,
)
from occfeat.data.images import read_image
from occfeat.data.index.index import Index
from occfeat.data.keyframe import CameraRecord, KeyFrame
from occfeat.data.labels import draw_labels
from occfeat.data.maps.maps import find_ground
from occfeat.data.paths import resolve
from occfeat.data.points import read_points
from occfeat.data.sample import Batch, Cameras, Labels, Points, Sample, StoredFeatures, collate
from occfeat.errors import KeyFrameError, SettingsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import AugmentConfig, ViewConfig

ImageReader = Callable[[], UInt8[Tensor, "3 _ _"]]
"""Gives the image as it is on disk, decoded when it is first asked for; may raise a `KeyFrameError`."""

ImageEffect = Callable[[ImageReader, CameraRecord, str, int], UInt8[Tensor, "3 _ _"]]
"""Gives an image as if it had been recorded so: of the same size, before it is scaled or augmented.

Takes the reader of the image on disk, which it need not call, its camera, the token of the key frame and the
epoch; may raise a `KeyFrameError`.
"""


@dataclass(frozen=True)
class Draw:
    """One key frame in one epoch: what a sampler asks the data set for."""

    row: int
    """Row of the index."""
    epoch: int
    """Counts into the augmentation."""


@dataclass(frozen=True)
class BrokenKeyFrame:
    """A key frame that could not be read: a value, so that a loading process does not die of it."""

    token: str
    message: str
    """Which file and what is wrong with it."""


@dataclass(frozen=True)
class Loaded:
    """A batch, less the key frames that could not be read."""

    batch: Batch | None
    """None if none could be read."""
    broken: tuple[BrokenKeyFrame, ...]

    def pin_memory(self) -> "Loaded":
        """The same in page-locked memory; called by torch's DataLoader."""
        return Loaded(None if self.batch is None else self.batch.pin_memory(), self.broken)


class KeyFrames(Dataset[Sample | BrokenKeyFrame]):
    """Reads, augments and labels key frames. Nothing is kept between samples but maps, once per process."""

    def __init__(
        self,
        index: Index,
        view: ViewConfig,
        *,
        grid: VoxelGrid,
        augment: AugmentConfig | None,
        seed: int = 0,
        effect: ImageEffect | None = None,
        teacher_size: tuple[int, int] | None = None,
        teacher_cache: StoredFeatures | None = None,
        points: bool = False,
        classes: tuple[str, ...] = (),
    ) -> None:
        """Choose what samples hold.

        Args:
            index: The set.
            view: Cameras, image size and LiDAR sweeps.
            grid: Cells of the labels.
            augment: Random changes. None: none, as for evaluation.
            seed: Of the random changes.
            effect: Done to the student's images first, such as a corruption. The teacher's stay clean.
            teacher_size: (height, width) of the teacher's images. None: there is no teacher.
            teacher_cache: Where to read what it saw in them, instead of giving the images.
            points: Read the LiDAR.
            classes: Draw labels of these classes.

        Raises:
            SettingsError: The set has no camera of a name that is asked for.
        """
        self.index, self.view, self.grid, self.augment, self.seed = index, view, grid, augment, seed
        self.effect = effect
        self.teacher_size, self.teacher_cache = teacher_size, teacher_cache
        self.points, self.classes = points, classes
        self.channels = view.cameras or index.channels
        if unknown := [channel for channel in self.channels if channel not in index.channels]:
            hint = f"Its cameras: {', '.join(index.channels) or 'none'}."
            raise SettingsError(f"The set has no camera {', '.join(unknown)}.", hint=hint)

    def __len__(self) -> int:
        return len(self.index)

    def sample(self, row: int) -> Sample:
        """One key frame, as in the first epoch.

        Raises:
            KeyFrameError: It cannot be read.
        """
        sample = self[Draw(row, 0)]
        if not isinstance(sample, Sample):
            hint = "Restore its files; `occfeat check` lists all that is broken."
            raise KeyFrameError(sample.message, hint=hint)
        return sample

    def __getitem__(self, draw: Draw) -> Sample | BrokenKeyFrame:
        try:
            key_frame = self.index.key_frame(draw.row, sweeps=self.view.sweeps)
            change = draw_change(
                self.augment, len(self.channels), seed=self.seed, epoch=draw.epoch, row=draw.row
            )
            return self._sample(draw, key_frame, change)
        except KeyFrameError as error:
            token = self.index.token(draw.row)
            message = str(error) if token in str(error) else f"Key frame {token}: {error}"
            return BrokenKeyFrame(token, message)

    def _sample(self, draw: Draw, key_frame: KeyFrame, change: Change) -> Sample:
        records = {record.channel: record for record in key_frame.cameras}
        rig = [records.get(channel) for channel in self.channels]
        size, plain, stored = self.view.image_size, (ImageChange(),) * len(rig), self.teacher_cache
        files = [
            None if record is None else cache(partial(self._image, record, image_change))
            for record, image_change in zip(rig, change.images, strict=True)
        ]
        images = _images(self._affected(files, rig, key_frame.token, draw.epoch), change.images, size)
        teacher_images = teacher_cameras = None
        if self.teacher_size is not None:
            teacher_cameras = self._cameras(rig, plain, self.teacher_size, change)
            teacher_images = _images(files, plain, self.teacher_size) if stored is None else None
        return Sample(
            token=key_frame.token,
            images=images,
            cameras=self._cameras(rig, change.images, size, change),
            teacher_images=teacher_images,
            teacher_cameras=teacher_cameras,
            teacher_maps=None if stored is None else stored.read(draw.row),
            points=self._points(key_frame, change) if self.points else None,
            labels=self._labels(key_frame, change) if self.classes else None,
        )

    def _labels(self, key_frame: KeyFrame, change: Change) -> Labels:
        source = self.index.source
        ground = find_ground(source, key_frame, self.classes)
        return draw_labels(
            key_frame.boxes, source.taxonomy, change.new_ego_from_ego, self.grid.bev, self.classes, ground
        )

    def _image(self, record: CameraRecord, change: ImageChange) -> UInt8[Tensor, "3 height width"]:
        """The image, at half scale if all that sees it sees it smaller still; effects see whole images."""
        path = resolve(self.index.root, record.path)
        if self.effect is not None:
            return read_image(path, record.size)
        sizes = [zoomed_size(change, self.view.image_size)]
        if self.teacher_size is not None and self.teacher_cache is None:
            sizes.append(self.teacher_size)
        return read_image(path, record.size, (max(h for h, _ in sizes), max(w for _, w in sizes)))

    def _affected(
        self, files: Sequence[ImageReader | None], rig: list[CameraRecord | None], token: str, epoch: int
    ) -> Sequence[ImageReader | None]:
        """Readers of the images as the student's cameras recorded them."""
        if self.effect is None:
            return files
        return [
            None if file is None or record is None else partial(self.effect, file, record, token, epoch)
            for file, record in zip(files, rig, strict=True)
        ]

    def _cameras(
        self,
        rig: list[CameraRecord | None],
        changes: tuple[ImageChange, ...],
        size: tuple[int, int],
        change: Change,
    ) -> Cameras:
        """The calibration that fits images of one size."""
        intrinsics = torch.eye(3, dtype=torch.float64).repeat(len(rig), 1, 1)
        ego_from_camera = torch.eye(4, dtype=torch.float64).repeat(len(rig), 1, 1)
        for i, record in enumerate(rig):
            if record is not None:
                intrinsics[i] = new_from_old_px(changes[i], record.size, size) @ record.intrinsics
                ego_from_camera[i] = change.new_ego_from_ego @ self._ego_from_camera(record)
        present = torch.tensor([record is not None for record in rig])
        return Cameras(intrinsics.float(), ego_from_camera.float(), present, size)

    def _ego_from_camera(self, record: CameraRecord) -> Float[Tensor, "4 4"]:
        if self.view.compensate_ego_motion:
            return record.lidar_ego_from_camera
        return record.camera_ego_from_camera

    def _points(self, key_frame: KeyFrame, change: Change) -> Points:
        """Read the LiDAR of a key frame, in the augmented ego frame."""
        if not key_frame.sweeps:
            raise KeyFrameError(f"Key frame {key_frame.token} has no LiDAR record.")
        points = read_points(self.index.source, key_frame.sweeps, self.view.ego_radius_m)
        return points.transform(change.new_ego_from_ego.float())


def _images(
    files: Sequence[ImageReader | None], changes: tuple[ImageChange, ...], size: tuple[int, int]
) -> UInt8[Tensor, "N 3 H W"]:
    """Images of one size; black where there is no file."""
    images = torch.zeros(len(files), 3, *size, dtype=torch.uint8)
    for i, file in enumerate(files):
        if file is not None:
            images[i] = change_image(file(), changes[i], size)
    return images


def collate_key_frames(read: list[Sample | BrokenKeyFrame]) -> Loaded:
    """Stack the samples and set the broken key frames aside."""
    samples = [one for one in read if isinstance(one, Sample)]
    broken = tuple(one for one in read if isinstance(one, BrokenKeyFrame))
    return Loaded(collate(samples) if samples else None, broken)

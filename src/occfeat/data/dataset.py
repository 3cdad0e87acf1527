"""Key frames as samples: a map-style data set.

Axes: `N` cameras, `H W` student image, `h w` teacher image.
"""

import logging
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor
from torch.utils.data import Dataset

from occfeat.data.augment import (
    Change,
    ImageChange,
    draw_change,
    new_from_old_px,
    write_changed,
    zoomed_size,
)
from occfeat.data.images import read_image
from occfeat.data.index.index import Index
from occfeat.data.keyframe import CameraRecord, KeyFrame
from occfeat.data.labels import draw_labels
from occfeat.data.maps.maps import find_ground
from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.contents import Contents, ImagesForTeacher, StoredFeatures, ViewsRequest
from occfeat.data.sample.lidar import PathCells, Points, TimedStates, Window
from occfeat.data.sample.sample import Labels, Sample
from occfeat.data.sample.teacher import TeacherImages, TeacherMaps, TeacherViews
from occfeat.data.source.paths import resolve
from occfeat.data.stored.images import ImageCache
from occfeat.data.sweeps.path import driven_cells
from occfeat.data.sweeps.points import read_points
from occfeat.data.sweeps.times import TimesReader
from occfeat.data.sweeps.views import farthest_depth, join_views
from occfeat.data.sweeps.window import WindowReader
from occfeat.errors import KeyFrameError, LostImageError, SettingsError
from occfeat.geometry.distortion import stack_lenses
from occfeat.geometry.frames import invert
from occfeat.geometry.grid import VoxelGrid
from occfeat.geometry.lens import PINHOLE
from occfeat.settings.sections import AugmentConfig, ViewConfig

_log = logging.getLogger(__name__)

ImageReader = Callable[[], UInt8[Tensor, "3 _ _"]]
"""Returns the image on disk, decoded on first use. Can raise a `LostImageError`."""

ImageEffect = Callable[[ImageReader, CameraRecord, str, int], UInt8[Tensor, "3 _ _"]]
"""Returns a changed image of the same size, before it is resized or augmented.

Its arguments are the reader of the image on disk, which it need not call, the camera, the token of the key
frame and the epoch. Can raise a `KeyFrameError`; the reader's own leaves out the camera alone.
"""


@dataclass(frozen=True)
class Draw:
    """One key frame in one epoch, as drawn by the training order."""

    row: int
    """Row of the index."""
    epoch: int
    """Epoch, which selects the random changes."""


@dataclass(frozen=True)
class BrokenKeyFrame:
    """A key frame that cannot be read, as a value that does not stop a loader process."""

    token: str
    """Token of the key frame."""
    message: str
    """The file and its problem."""


class KeyFrames(Dataset[Sample]):
    """A map-style data set of key frames: `key_frames[3]` is the fourth of its split.

    Use it in a `torch.utils.data.DataLoader` with `collate`. A camera whose image or calibration cannot be
    used is absent from its sample, which says so in `lost_images`. A key frame without any image, or with
    other files that cannot be read, raises a `KeyFrameError`, also from loader processes: leave it out of
    `rows`, or repair its files (`occfeat check` lists them). Only maps are cached between samples, once per
    process.
    """

    def __init__(
        self,
        index: Index,
        view: ViewConfig,
        contents: Contents,
        *,
        grid: VoxelGrid,
        rows: str | Int64[ndarray, " n"] = "all",
        augment: AugmentConfig | None = None,
        seed: int = 0,
        effect: ImageEffect | None = None,
        stored: ImageCache | None = None,
    ) -> None:
        """Choose key frames and the contents of their samples.

        Args:
            index: The index of the data folder.
            view: Cameras, image size and LiDAR sweeps.
            contents: Contents of a sample.
            grid: Cells of the labels and of windows of sweeps.
            rows: Name of a split, or rows of the index in order.
            augment: Random changes. None: no augmentation, as for evaluation.
            seed: Seed of the random changes.
            effect: A change of the student's images before augmentation, such as a corruption. The teacher's
            images stay clean.
            stored: Cache of the student's images, read in place of their files. Cannot be combined with
            `effect`.

        Raises:
            SettingsError: A camera, a LiDAR or the split does not exist, or several sweeps are to be joined
            although poses are not known.
        """
        self.index, self.view, self.contents, self.grid = index, view, contents, grid
        self.rows = index.rows(rows) if isinstance(rows, str) else rows
        self.augment, self.seed, self.effect, self.epoch = augment, seed, effect, 0
        self.stored = stored
        self.channels = view.cameras or index.default_channels
        if unknown := [channel for channel in self.channels if channel not in index.channels]:
            hint = f"Cameras of the data set: {', '.join(index.channels) or 'none'}."
            raise SettingsError(f"The data set has no camera {', '.join(unknown)}.", hint=hint)
        if contents.points:
            index.require_lidars(view.lidars)
            if view.sweeps > 1:
                index.require_poses(self.rows, setting=f"view.sweeps={view.sweeps}")
        self._require_times()

    def _require_times(self) -> None:
        """Refuse contents from other times than a key frame's own if poses are not known."""
        contents = self.contents
        window_s = 0.0 if contents.window is None else contents.window.window_s
        for wanted, setting in (
            (contents.window is not None, f"loss.window_s={window_s:g}"),
            (contents.times is not None, "loss.times"),
            (contents.path is not None, "loss.path"),
            (isinstance(contents.teacher, ViewsRequest), "loss.features_window_s"),
        ):
            if wanted:
                self.index.require_lidars(self.view.lidars)
                self.index.require_poses(self.rows, setting=setting)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Sample:
        return self.sample(int(self.rows[position]), self.epoch)

    def of_epoch(self, epoch: int) -> "KeyFrames":
        """Return the same key frames with the random changes of another epoch, counted from 0."""
        other = copy(self)
        other.epoch = epoch
        return other

    def sample(self, row: int, epoch: int = 0) -> Sample:
        """Read the key frame of a row of the index.

        Args:
            row: Any row of the index, even outside this data set.
            epoch: Selects the random changes.

        Raises:
            KeyFrameError: It cannot be read.
        """
        read = self.read(Draw(row, epoch))
        if not isinstance(read, Sample):
            hint = "Restore its files; `occfeat check` lists all broken ones."
            raise KeyFrameError(read.message, hint=hint)
        for message in read.lost_images:
            _log.warning("A camera is left out of key frame %s: %s", read.token, message)
        return read

    def read(self, draw: Draw) -> Sample | BrokenKeyFrame:
        """Read a key frame in an epoch, or return why it cannot be read."""
        try:
            key_frame = self.index.key_frame(draw.row, sweeps=self.view.sweeps, lidars=self.view.lidars)
            change = draw_change(
                self.augment, len(self.channels), seed=self.seed, epoch=draw.epoch, row=draw.row
            )
            return self._sample(draw, key_frame, change)
        except KeyFrameError as error:
            token = self.index.token(draw.row)
            message = str(error) if token in str(error) else f"Key frame {token}: {error}"
            return BrokenKeyFrame(token, message)

    def _sample(self, draw: Draw, key_frame: KeyFrame, change: Change) -> Sample:
        """Read everything that `Contents` asks for."""
        rig = self._rig(key_frame)
        files = [
            None if record is None else cache(partial(self._image, record, image_change))
            for record, image_change in zip(rig, change.images, strict=True)
        ]
        if self.stored is None:
            seen = self._affected(files, rig, key_frame.token, draw.epoch)
        else:
            seen = _packed(self.stored, draw.row, rig)
        images, lost = _images(seen, change.images, self.view.image_size)
        rig = [None if camera in lost else record for camera, record in enumerate(rig)]
        faulty = [
            key_frame.faulty_cameras[name] for name in self.channels if name in key_frame.faulty_cameras
        ]
        messages = (*faulty, *lost.values())
        if messages and not any(rig):
            raise KeyFrameError(f"No image can be used: {messages[0]}")
        return Sample(
            token=key_frame.token,
            images=images,
            lost_images=messages,
            cameras=self._cameras(rig, change.images, self.view.image_size, change),
            teacher=self._teacher(draw.row, key_frame, files, rig, change),
            points=self._points(key_frame, change) if self.contents.points else None,
            labels=self._labels(key_frame, change) if self.contents.classes else None,
            window=self._window(draw.row, change),
            times=self._times(draw.row, change),
            path=self._path(draw.row, change),
        )

    def _rig(self, key_frame: KeyFrame) -> list[CameraRecord | None]:
        """Return the camera of each channel; None where a key frame has none."""
        records = {record.channel: record for record in key_frame.cameras}
        return [records.get(channel) for channel in self.channels]

    def _teacher(
        self,
        row: int,
        key_frame: KeyFrame,
        files: Sequence[ImageReader | None],
        rig: list[CameraRecord | None],
        change: Change,
    ) -> TeacherImages | TeacherMaps | None:
        """Read the teacher's images, or its stored features."""
        wanted = self.contents.teacher
        if wanted is None:
            return None
        if isinstance(wanted, ViewsRequest):
            return self._views(row, key_frame, wanted, change)
        if isinstance(wanted, ImagesForTeacher):
            seen = [None if record is None else file for file, record in zip(files, rig, strict=True)]
            images, _ = _images(seen, _unchanged(rig), wanted.image_size)
            return TeacherImages(images, self._unchanged_cameras(rig, wanted.image_size, change))
        return self._stored(wanted, row, self._rig(key_frame), change)

    def _stored(
        self, store: StoredFeatures, row: int, rig: list[CameraRecord | None], change: Change
    ) -> TeacherMaps:
        """Read the teacher's stored features; a camera whose image it could not read is absent."""
        maps = store.read(row)
        known = (maps.scales > 0).flatten(1).any(1).tolist()
        seen = [record if stored else None for record, stored in zip(rig, known, strict=True)]
        return TeacherMaps(maps, self._unchanged_cameras(seen, store.image_size, change))

    def _views(self, row: int, key_frame: KeyFrame, wanted: ViewsRequest, change: Change) -> TeacherViews:
        """Read the teacher's stored features of a key frame and of those around it that can be read."""
        ego_from_global = invert(key_frame.global_from_ego)
        views = [self._view(row, wanted, change, ego_from_global, own=True)]
        for other in self.index.rows_within(row, wanted.window_s)[1:]:
            try:
                views.append(self._view(other, wanted, change, ego_from_global, own=False))
            except KeyFrameError as error:
                _log.debug("Left out of the teacher's views of a key frame: %s", error)
        return join_views(views)

    def _view(
        self,
        row: int,
        wanted: ViewsRequest,
        change: Change,
        ego_from_global: Float[Tensor, "4 4"],
        *,
        own: bool,
    ) -> TeacherViews:
        """Read what the teacher sees from a key frame, in the augmented ego frame of that or another one."""
        key_frame = self.index.key_frame(row, lidars=self.view.lidars)
        ego_from_other = ego_from_global @ key_frame.global_from_ego
        moved = replace(change, new_ego_from_ego=change.new_ego_from_ego @ ego_from_other)
        stored = self._stored(wanted.store, row, self._rig(key_frame), moved)
        points_ego = self._points(key_frame, moved).points_ego
        count = len(stored.cameras.present)
        whose, camera = torch.full((count,), own), torch.arange(count)
        farthest_m = farthest_depth(points_ego, stored.cameras)
        return TeacherViews(stored.maps, stored.cameras, whose, camera, farthest_m)

    def _times(self, row: int, change: Change) -> TimedStates | None:
        """Read the sweeps at several times, in the augmented ego frame."""
        if self.contents.times is None:
            return None
        return TimesReader(self.index, self.view, self.grid, change).read(row, self.contents.times)

    def _path(self, row: int, change: Change) -> PathCells | None:
        """Find the cells that the car covers, in the augmented ego frame."""
        wanted = self.contents.path
        if wanted is None:
            return None
        path = self.index.path(row, wanted.window_s)
        return PathCells(driven_cells(path, wanted, change.new_ego_from_ego, self.grid.bev))

    def _labels(self, key_frame: KeyFrame, change: Change) -> Labels:
        """Draw the labels of a key frame in the augmented ego frame."""
        source, classes = self.index.source, self.contents.classes
        ground = find_ground(source, key_frame, classes)
        return draw_labels(
            key_frame.boxes,
            self.index.taxonomy,
            change.new_ego_from_ego,
            self.grid.bev,
            classes,
            ground,
            motion=self.contents.motion,
        )

    def _image(self, record: CameraRecord, change: ImageChange) -> UInt8[Tensor, "3 height width"]:
        """Decode an image, at half scale if all its uses are smaller. Effects get the full image."""
        sizes = [zoomed_size(change, self.view.image_size)]
        if isinstance(self.contents.teacher, ImagesForTeacher):
            sizes.append(self.contents.teacher.image_size)
        needed = None if self.effect else (max(h for h, _ in sizes), max(w for _, w in sizes))
        try:
            return read_image(resolve(self.index.root, record.path), record.size, needed)
        except KeyFrameError as error:
            raise LostImageError(error.message, hint=error.hint) from error

    def _affected(
        self, files: Sequence[ImageReader | None], rig: list[CameraRecord | None], token: str, epoch: int
    ) -> Sequence[ImageReader | None]:
        """Return readers of the student's images, with the effect applied."""
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
        """Return the calibration for images of one size."""
        present = torch.tensor([record is not None for record in rig])
        if known := [(one, record) for one, record in zip(changes, rig, strict=True) if record is not None]:
            moves = torch.stack([new_from_old_px(one, record.size, size) for one, record in known])
            mounts = torch.stack([self._ego_from_camera(record) for _, record in known])
            intrinsics = (moves @ torch.stack([one.intrinsics for _, one in known])).float()
            ego_from_camera = (change.new_ego_from_ego @ mounts).float()
        else:
            intrinsics, ego_from_camera = torch.empty(0, 3, 3), torch.empty(0, 4, 4)
        intrinsics, ego_from_camera = (_among(present, one) for one in (intrinsics, ego_from_camera))
        return Cameras(intrinsics, ego_from_camera, present, size, _lenses(rig))

    def _unchanged_cameras(
        self, rig: list[CameraRecord | None], size: tuple[int, int], change: Change
    ) -> Cameras:
        """Return the calibration for images of one size that are not augmented."""
        return self._cameras(rig, _unchanged(rig), size, change)

    def _ego_from_camera(self, record: CameraRecord) -> Float[Tensor, "4 4"]:
        """Return the pose of a camera, with or without the ego motion up to the LiDAR's time."""
        if self.view.compensate_ego_motion:
            return record.lidar_ego_from_camera
        return record.camera_ego_from_camera

    def _points(self, key_frame: KeyFrame, change: Change) -> Points:
        """Read the LiDAR of a key frame, in the augmented ego frame."""
        if not key_frame.sweeps:
            raise KeyFrameError(f"Key frame {key_frame.token} has no LiDAR record.")
        points = read_points(self.index.source, key_frame.sweeps, self.view.ego_radius_m, change.beams)
        return points.transform(change.new_ego_from_ego.float())

    def _window(self, row: int, change: Change) -> Window | None:
        """Read the sweeps around a key frame, in the augmented ego frame."""
        if self.contents.window is None:
            return None
        return WindowReader(self.index, self.view, self.grid, change).read(row, self.contents.window)


def _among(present: Bool[Tensor, " N"], known: Float[Tensor, "n k k"]) -> Float[Tensor, "N k k"]:
    """Return the matrices of the cameras that are present, and the identity for the others."""
    if len(known) == len(present):  # the usual case needs no copy
        return known
    matrices = torch.eye(known.shape[-1]).repeat(len(present), 1, 1)
    matrices[present] = known
    return matrices


def _unchanged(rig: list[CameraRecord | None]) -> tuple[ImageChange, ...]:
    """Return no change of the image of each camera."""
    return (ImageChange(),) * len(rig)


def _lenses(rig: list[CameraRecord | None]) -> Float[Tensor, "N L"] | None:
    """Return the lenses of a rig, or None if all are pinholes; a missing camera counts as one."""
    return stack_lenses([PINHOLE if record is None else record.lens for record in rig])


def _packed(store: ImageCache, row: int, rig: list[CameraRecord | None]) -> Sequence[ImageReader | None]:
    """Return readers of the images of a cache, which are then in memory."""
    images, lost = store.read(row), store.lost(row)
    return [
        None if record is None else partial(_same, image, record if is_lost else None)
        for image, is_lost, record in zip(images, lost, rig, strict=True)
    ]


def _same(image: UInt8[Tensor, "3 _ _"], lost: CameraRecord | None) -> UInt8[Tensor, "3 _ _"]:
    """Return an image as it is, unless its file could not be read."""
    if lost is not None:
        raise LostImageError(f"Image {lost.path} could not be read when the image cache was made.")
    return image


def _images(
    files: Sequence[ImageReader | None], changes: tuple[ImageChange, ...], size: tuple[int, int]
) -> tuple[UInt8[Tensor, "N 3 H W"], dict[int, str]]:
    """Read images at one size; a missing camera's image is black.

    Returns:
        The images, and what is wrong with those that cannot be read, by camera.
    """
    images, lost = torch.zeros(len(files), 3, *size, dtype=torch.uint8), dict[int, str]()
    for i, file in enumerate(files):
        try:
            if file is not None:
                write_changed(file(), changes[i], images[i])
        except LostImageError as error:
            lost[i] = error.message
    return images, lost

"""Images and LiDAR sweeps of a segment, frame by frame in order of time."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float32, Int64, Real
from numpy import ndarray

from occfeat.data.formats.nuscenes.writer.values import CameraImage, EgoPose, LidarSweep
from occfeat.data.recordings.waymo.component import Component
from occfeat.data.recordings.waymo.range_image import MAX_PIXELS, Laser, correct_motion, decode_returns
from occfeat.data.recordings.waymo.rows import Rows
from occfeat.data.recordings.waymo.sensors import CAMERAS, LASERS, TOP, channel
from occfeat.errors import DatasetError

T = TypeVar("T")

_FIRST, _SECOND = "range_image_return1", "range_image_return2"
_CAMERA, _LASER = "key.camera_name", "key.laser_name"


class InTime(Generic[T]):
    """Looks values up by increasing times, with one of them in memory.

    Args:
        values: Times and values, in order of time.
    """

    def __init__(self, values: Iterator[tuple[int, T]]) -> None:
        self._values = values
        self._current: tuple[int, T] | None = None

    def at(self, time_us: int) -> T | None:
        """Return the value of a time; None if there is none."""
        while self._current is None or self._current[0] < time_us:
            self._current = next(self._values, None)
            if self._current is None:
                return None
        return self._current[1] if self._current[0] == time_us else None


def read_images(
    component: Component, times_us: Int64[ndarray, " t"]
) -> Iterator[tuple[int, dict[str, CameraImage]]]:
    """Yield the images of frames by channel, each with the vehicle's pose at its own time.

    Raises:
        DatasetError: The component is damaged, or a camera has two images in a frame.
    """
    names = (_CAMERA, "image", "pose.transform", "pose_timestamp")
    for time_us, rows in component.frames(names, _CAMERA, times_us):
        yield time_us, _by_channel(rows, _CAMERA, "CAM", CAMERAS, _image)


def _image(_: str, row: Rows) -> CameraImage:
    """Return an image as it is stored."""
    seconds, pose = row.numbers("pose_timestamp")[0], row.vectors("pose.transform", 16).reshape(4, 4)
    if not 0 <= seconds < 1e12:
        raise DatasetError(f"{row.where}: pose_timestamp: expected seconds since 1970, got {seconds}.")
    return CameraImage(row.one_binary("image"), EgoPose(round(seconds * 1e6), pose))


class SweepReader:
    """Reads the sweeps of a segment.

    Args:
        lidar: The component of range images.
        poses: The component of the poses of their pixels.
        lasers: The LiDARs by channel.
        frames: Pose of each frame to read, by time in microseconds.
    """

    def __init__(
        self,
        lidar: Component,
        poses: Component,
        lasers: Mapping[str, Laser],
        frames: Mapping[int, EgoPose],
    ) -> None:
        self._lidar, self._poses, self._lasers = lidar, poses, lasers
        self._frames = frames
        self._rays: dict[str, tuple[tuple[int, int], Float32[ndarray, "HW 4"]]] = {}

    def sweeps(self) -> Iterator[tuple[int, dict[str, LidarSweep]]]:
        """Yield the sweeps of frames by channel.

        Raises:
            DatasetError: A component is damaged, or has no poses for a frame.
        """
        times_us = np.array(list(self._frames), dtype=np.int64)
        images = [f"{name}.{part}" for name in (_FIRST, _SECOND) for part in ("values", "shape")]
        poses = InTime(self._poses.frames((_LASER, *images[:2]), _LASER, times_us))
        for time_us, rows in self._lidar.frames((_LASER, *images), _LASER, times_us):
            of_pixels = _by_channel(poses.at(time_us) or (), _LASER, "LIDAR", LASERS, lambda _, row: row)
            points = _by_channel(rows, _LASER, "LIDAR", LASERS, partial(self._points, time_us, of_pixels))
            yield time_us, {name: LidarSweep(found) for name, found in points.items() if len(found)}

    def _points(
        self, time_us: int, of_pixels: Mapping[str, Rows], name: str, row: Rows
    ) -> Float32[ndarray, "P 5"]:
        """Return the points of both returns of a LiDAR in its own frame."""
        if name not in self._lasers:
            hint = "Download lidar_calibration again."
            raise DatasetError(
                f"{row.where} has range images of {name}, which has no calibration.", hint=hint
            )
        images = [image for part in (_FIRST, _SECOND) if (image := _range_image(row, part, 4)) is not None]
        if not images:
            return np.zeros((0, 5), dtype=np.float32)
        if images[0].shape != images[-1].shape:
            raise DatasetError(f"{row.where}: the returns of {name} at {time_us} have different shapes.")
        points, pixels = decode_returns(images, self._rays_of(name, images[0].shape))
        if name == TOP:
            poses = _range_image(of_pixels[name], _FIRST, 6) if name in of_pixels else None
            if poses is None or poses.shape[:2] != images[0].shape[:2]:
                what = f"{self._poses.path} lacks poses for the range image of {name} at {time_us}."
                raise DatasetError(what, hint="Download lidar_pose again.")
            own, mounted = poses.reshape(-1, 6).take(pixels, axis=0), self._lasers[name].ego_from_laser
            pose = self._frames[time_us].global_from_ego
            for axis, column in enumerate(correct_motion(points[:, :3], own, mounted, pose).T):
                points[:, axis] = column
        return points

    def _rays_of(self, name: str, shape: tuple[int, ...]) -> Float32[ndarray, "HW 4"]:
        """Return the rays of a range image; those of the last shape of each LiDAR are kept."""
        size = shape[0], shape[1]
        if name not in self._rays or self._rays[name][0] != size:
            self._rays[name] = size, self._lasers[name].rays(*size)
        return self._rays[name][1]


def _range_image(row: Rows, name: str, channels: int) -> Real[ndarray, "H W C"] | None:
    """Return a range image; None for a null.

    Raises:
        DatasetError: Its shape is impossible, or not that of its values.
    """
    values, shape = row.one_list(f"{name}.values"), row.one_list(f"{name}.shape")
    if values is None or shape is None:
        return None
    sizes = [int(size) for size in shape]
    pixels = sizes[0] * sizes[1] if len(sizes) == 3 else 0
    if min(sizes, default=0) < 1 or pixels > MAX_PIXELS or sizes[2:] != [channels]:
        what = f"expected a range image of {channels} channels and up to {MAX_PIXELS:,} pixels"
        raise DatasetError(f"{row.where}: {name}: {what}, got the shape {sizes}.")
    if len(values) != pixels * channels:
        what = f"{name} has {len(values):,} values, but the shape {sizes}"
        raise DatasetError(f"{row.where}: {what}.", hint="Download the file again.")
    return values.reshape(sizes)


def _by_channel(
    rows: Iterable[Rows], key: str, kind: str, known: tuple[str, ...], read: Callable[[str, Rows], T]
) -> dict[str, T]:
    """Return what is read of each row of a frame by channel, in the order of the sensors' numbers."""
    found: dict[str, T] = {}
    for row in rows:
        name = channel(kind, row.texts(key)[0], known)
        if name in found:
            raise DatasetError(f"{row.where}: a frame has two rows of one sensor.")
        found[name] = read(name, row)
    order = [f"{kind}_{name}" for name in known]
    return {name: found[name] for name in order if name in found}

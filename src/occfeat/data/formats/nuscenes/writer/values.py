"""Inputs of the writer: calibrated sensors, ego poses, images, boxes and logs.

Every value is validated on construction. Frames: ego has x forward, y left and z up; camera has x right,
y down and z forward; global is the frame of the map. Lengths are metres, times whole microseconds.
"""

import operator
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Real, UInt8

from occfeat.data.source.paths import is_plain_name, leaves
from occfeat.data.source.tables import FARTHEST_M
from occfeat.errors import DatasetError
from occfeat.geometry.lens import PINHOLE, Lens

RIGID_TOLERANCE = 1e-3
"""Tolerance of R R^T = 1, which float32 poses meet."""


@dataclass(frozen=True, eq=False)
class CalibratedCamera:
    """A camera and its mounting."""

    channel: str
    """Name of the camera and of its folder, such as `CAM_FRONT`."""
    ego_from_camera: Real[np.ndarray, "4 4"]
    """Camera frame to ego frame."""
    intrinsics: Real[np.ndarray, "3 3"]
    """From normalised coordinates to pixels of the stored image; the upper left corner is (0, 0)."""
    lens: Lens = PINHOLE
    """The lens, which acts before the intrinsics."""

    def __post_init__(self) -> None:
        require_plain_name("channel", self.channel)
        require_rigid(f"ego_from_camera of {self.channel}", self.ego_from_camera)
        require_pinhole(f"intrinsics of {self.channel}", self.intrinsics)


@dataclass(frozen=True, eq=False)
class CalibratedRig:
    """The sensors of one vehicle with one calibration."""

    name: str
    """Name of the calibration; rigs of equal names must be equal."""
    cameras: Sequence[CalibratedCamera]
    lidars: Mapping[str, Real[np.ndarray, "4 4"]] = field(default_factory=dict)
    """Transform from the frame of each LiDAR to the ego frame, by channel.

    `LIDAR_TOP`, or else the first by name, is the reference: key frames have its time and pose.
    """

    def __post_init__(self) -> None:
        if not self.cameras and not self.lidars:
            raise DatasetError(f"Rig {self.name!r} has no sensor.", hint="Give it a camera or a LiDAR.")
        counts = Counter([*(camera.channel for camera in self.cameras), *self.lidars])
        if twice := [channel for channel, count in counts.items() if count > 1]:
            raise DatasetError(f"Rig {self.name!r} has two sensors of the same channel.", first=twice)
        for channel, ego_from_lidar in self.lidars.items():
            require_plain_name("channel", channel)
            require_rigid(f"ego_from_lidar of {channel}", ego_from_lidar)


@dataclass(frozen=True, eq=False)
class EgoPose:
    """Pose of the ego vehicle at a time."""

    time_us: int
    """Microseconds since 1970, UTC."""
    global_from_ego: Real[np.ndarray, "4 4"]
    """Ego frame to global frame."""

    def __post_init__(self) -> None:
        try:
            inside = 0 <= operator.index(self.time_us) < 2**63
        except TypeError:
            inside = False
        if not inside or isinstance(self.time_us, bool):
            raise DatasetError(f"Expected a time in whole microseconds since 1970, got {self.time_us!r}.")
        require_rigid(f"global_from_ego at {self.time_us}", self.global_from_ego)


@dataclass(frozen=True, eq=False)
class CameraImage:
    """An image of a key frame."""

    image: UInt8[np.ndarray, "H W 3"] | bytes | str | Path
    """RGB pixels, stored as JPEG; or the content or path of a JPEG or PNG, stored unchanged."""
    pose: EgoPose | None = None
    """Ego pose at the camera's time. None: that of the key frame."""


@dataclass(frozen=True, eq=False)
class LidarSweep:
    """A sweep of a LiDAR."""

    points: Real[np.ndarray, "P C"]
    """Points in the LiDAR's frame: x, y, z in metres, then intensity (0 to 255) and ring if known."""
    pose: EgoPose | None = None
    """Ego pose at the LiDAR's time. None: that of the key frame."""


@dataclass(frozen=True, eq=False)
class AnnotatedBox:
    """The upright box of an object in one key frame, at the key frame's time."""

    category: str
    """Category, such as `vehicle.car`. Training classes are made of nuScenes' names."""
    instance: str
    """Name of the object, the same in all key frames of a scene."""
    center_global_m: Sequence[float | int] | Real[np.ndarray, "3"]
    """Centre of the box in the global frame."""
    size_m: Sequence[float | int] | Real[np.ndarray, "3"]
    """Length, width and height."""
    yaw_global_rad: float
    """Direction of the length in the global frame, counter-clockwise from x."""
    visibility: int = 0
    """Level 1 (up to 40 % of the object is visible), 2 (60 %), 3 (80 %) or 4; 0 if unknown."""
    lidar_points: int | None = None
    """Number of LiDAR points in the box. None: count them."""
    attribute: str | None = None
    """Attribute, such as `vehicle.parked`. None: no attribute."""

    def __post_init__(self) -> None:
        where = f"The box of instance {self.instance!r} ({self.category})"
        if not self.category or not self.instance:
            raise DatasetError(f"{where}: expected a category and an instance, got an empty one.")
        numbers = np.array([*self.center_global_m, *self.size_m, self.yaw_global_rad], dtype=np.float64)
        if numbers.shape != (7,) or not (np.abs(numbers) < FARTHEST_M).all():
            raise DatasetError(f"{where}: expected a finite centre, size and yaw, got {numbers.tolist()}.")
        if not (numbers[3:6] > 0).all():
            raise DatasetError(f"{where}: expected a size above 0 m, got {numbers[3:6].tolist()}.")
        if self.visibility not in range(5):
            raise DatasetError(f"{where}: expected a visibility from 0 to 4, got {self.visibility!r}.")
        if self.lidar_points is not None and self.lidar_points < 0:
            raise DatasetError(f"{where}: expected at least 0 LiDAR points, got {self.lidar_points!r}.")

    def contains(self, points_global: Float64[np.ndarray, "P 3"]) -> Bool[np.ndarray, " P"]:
        """Return a mask of the points, in the global frame, that are inside the box."""
        cosine, sine = np.cos(self.yaw_global_rad), np.sin(self.yaw_global_rad)
        global_from_box = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
        points_box = (points_global - np.asarray(self.center_global_m)) @ global_from_box
        inside: Bool[np.ndarray, " P"] = (np.abs(points_box) <= np.asarray(self.size_m) / 2).all(axis=1)
        return inside


@dataclass(frozen=True)
class RecordingLog:
    """The drive of a scene. Only map layers and nuscenes-devkit's map pictures need it."""

    location: str
    """Name of the map; a map expansion is `maps/expansion/<location>.json`."""
    base_map: str
    """File name of the base map relative to the data folder, such as `maps/town.png`.

    The caller puts the file there: a PNG with ten pixels per metre, white on drivable area. Its lower left
    corner is the origin of the global frame. As in nuScenes, its stem is the token of the map.
    """
    vehicle: str = ""
    """Name of the vehicle."""

    def __post_init__(self) -> None:
        require_plain_name("location", self.location)
        if leaves(self.base_map):
            raise DatasetError(f"Base map {self.base_map!r} leaves the data folder.")


def require_plain_name(what: str, name: str) -> None:
    """Refuse a name that is not a valid file name.

    Raises:
        DatasetError: It is empty, has a slash, a backslash, a colon or a null byte, or is all dots.
    """
    if not is_plain_name(name):
        hint = "Use a name without slashes, backslashes and colons."
        raise DatasetError(f"The {what} {name!r} is not a valid file name.", hint=hint)


def require_rigid(what: str, matrix: Real[np.ndarray, "..."]) -> None:
    """Refuse a matrix that is not a rigid transform, or with an implausible translation.

    Raises:
        DatasetError: It has another shape, is not finite, or does more than rotate and translate.
    """
    if matrix.shape != (4, 4):
        raise DatasetError(f"{what}: expected a matrix of shape (4, 4), got {matrix.shape}.")
    if not (np.abs(matrix) < FARTHEST_M).all():  # false for NaN, too
        raise DatasetError(f"{what} is not finite: {matrix.tolist()}.")
    turn = matrix[:3, :3]
    if (
        np.abs(turn @ turn.T - np.eye(3)).max() > RIGID_TOLERANCE
        or np.linalg.det(turn) < 0
        or np.abs(matrix[3] - (0, 0, 0, 1)).max() > RIGID_TOLERANCE
    ):
        hint = "Give a rotation and a translation in metres, with a last row of 0, 0, 0, 1."
        raise DatasetError(f"{what} is not a rigid transform: {matrix.tolist()}.", hint=hint)


def require_pinhole(what: str, matrix: Real[np.ndarray, "..."]) -> None:
    """Refuse intrinsics that are not those of a pinhole camera.

    Raises:
        DatasetError: They have another shape, are not finite, or are singular.
    """
    if matrix.shape != (3, 3):
        raise DatasetError(f"{what}: expected a matrix of shape (3, 3), got {matrix.shape}.")
    if not np.isfinite(matrix).all():
        raise DatasetError(f"{what} are not finite: {matrix.tolist()}.")
    if (
        matrix[0, 0] <= 0
        or matrix[1, 1] <= 0
        or np.abs(matrix[[1, 2, 2, 2], [0, 0, 1, 2]] - (0, 0, 0, 1)).any()
    ):
        hint = "Give [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] in pixels, with fx and fy above 0."
        raise DatasetError(f"{what} are not those of a pinhole camera: {matrix.tolist()}.", hint=hint)

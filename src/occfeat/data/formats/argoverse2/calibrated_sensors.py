"""The sensors of a log: cameras with intrinsics and poses, and the two LiDARs.

The images are already undistorted, so the distortion in the table of intrinsics is not applied.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from occfeat.data.formats.argoverse2.feather import numbers, read_table
from occfeat.data.formats.argoverse2.folders import INTRINSICS, SENSOR_POSES

RING = (
    "ring_front_center",
    "ring_front_right",
    "ring_side_right",
    "ring_rear_right",
    "ring_rear_left",
    "ring_side_left",
    "ring_front_left",
)
"""Cameras around the car, clockwise from the front."""

STEREO = ("stereo_front_left", "stereo_front_right")
"""Two more cameras that look ahead; they are used only where a user names them."""

UP_LIDAR, DOWN_LIDAR = "up_lidar", "down_lidar"

POSE = ("tx_m", "ty_m", "tz_m", "qw", "qx", "qy", "qz")
"""Columns of a pose."""

POSE_KINDS = dict.fromkeys(POSE, "number")

_PINHOLE = ("fx_px", "fy_px", "cx_px", "cy_px")
_SIZE = ("height_px", "width_px")


@dataclass(frozen=True)
class Camera:
    """A calibrated camera."""

    intrinsics: Float64[ndarray, " 9"]
    """3 x 3 matrix by rows, in pixels."""
    height: int
    width: int
    pose: Float64[ndarray, " 7"]
    """Camera frame to ego frame."""


UNCALIBRATED = Camera(np.full(9, np.nan), 0, 0, np.full(7, np.nan))
"""A camera without a row in both tables, which cannot be used."""


def read_sensor_poses(folder: Path) -> dict[str, Float64[ndarray, " 7"]]:
    """Return the pose of each sensor of a log in the ego frame, by name.

    Raises:
        DatasetError: The table is missing, damaged, or has other columns.
    """
    table = read_table(folder / SENSOR_POSES, {"sensor_name": "text", **POSE_KINDS})
    return dict(zip(table["sensor_name"].to_pylist(), numbers(table, *POSE), strict=True))


def read_cameras(folder: Path) -> dict[str, Camera]:
    """Return the cameras of a log that have both intrinsics and a pose, by name.

    Raises:
        DatasetError: A table is missing, damaged, or has other columns.
    """
    poses = read_sensor_poses(folder)
    kinds = {"sensor_name": "text", **dict.fromkeys((*_PINHOLE, *_SIZE), "number")}
    table = read_table(folder / INTRINSICS, kinds)
    names, pinholes, sizes = (
        table["sensor_name"].to_pylist(),
        numbers(table, *_PINHOLE),
        numbers(table, *_SIZE),
    )
    sizes = np.where((sizes > 0) & (sizes < 2**31), sizes, 0).astype(np.int64)  # 0: unknown
    return {
        name: Camera(np.array((fx, 0, cx, 0, fy, cy, 0, 0, 1)), int(size[0]), int(size[1]), poses[name])
        for name, (fx, fy, cx, cy), size in zip(names, pinholes, sizes, strict=True)
        if name in poses
    }

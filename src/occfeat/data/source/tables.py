"""The neutral tables, which every data source produces and from which an index is built.

A pose is (x, y, z, qw, qx, qy, qz): a translation in metres and a rotation as a quaternion. Lengths are in
metres, times in microseconds. Axes: `n` rows of a table, `k` numbers of a vector.
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from occfeat.data.source.faults import Faults
from occfeat.data.source.place import Place
from occfeat.geometry.lens import PINHOLE, Lens

FARTHEST_M = 1e9
"""Largest plausible coordinate."""

LONGEST_M = 1e3
"""Largest plausible side of a box (this project's choice; a train is 400 m long)."""


def _vectors_of(width: int) -> pa.DataType:
    """Return the type of a column of vectors."""
    return pa.list_(pa.float64(), width)


_SHOT = {"token": pa.string(), "path": pa.string()}
_POSES = {"calibration": _vectors_of(7), "ego_pose": _vectors_of(7)}
CAMERAS = pa.schema(
    {
        "row": pa.int64(),
        **_SHOT,
        "channel": pa.int16(),
        "timestamp_us": pa.int64(),
        "height": pa.int32(),
        "width": pa.int32(),
        "intrinsics": _vectors_of(9),
        **_POSES,
    }
)
"""Images of key frames, in any order.

`row` is the key frame, `channel` an index into `Joined.channels`, `token` a name for messages, and `path` the
file relative to the data folder, with forward slashes. `height` and `width` of the file are in pixels.
`intrinsics` is a 3 x 3 matrix by rows, in pixels of the file, with (0, 0) at the corner of the image.
`calibration` transforms the camera frame (x right, y down, z forward) to the ego frame (x forward, y left, z
up). `ego_pose` transforms the ego frame at the time of the image to the global frame.
"""

LENS = pa.field("lens", pa.int32())
"""Optional column of `CAMERAS`: an index into `Joined.lenses`. Without it all cameras are pinholes."""

SWEEPS = pa.schema({"row": pa.int64(), "is_key": pa.bool_(), **_SHOT, "timestamp_us": pa.int64(), **_POSES})
"""LiDAR sweeps, in any order.

`row` is a key frame of the same scene. `is_key` marks the key frame's own sweep, one per LiDAR. The ego pose
of the key frame is that of its own sweep of the first LiDAR that has one. Other sweeps are joined to the next
key frame by their times. `calibration` transforms the frame of the points that `DataSource.read_sweep`
returns to the ego frame.
"""

LIDAR = pa.field("lidar", pa.int16())
"""Optional column of `SWEEPS`: an index into `Joined.lidars`. Without it there is one LiDAR."""

BOXES = pa.schema(
    {
        "row": pa.int64(),
        "token": pa.string(),
        "category": pa.int16(),
        "visibility": pa.int8(),
        "lidar_points": pa.int32(),
        "size_m": _vectors_of(3),
        "pose": _vectors_of(7),
    }
)
"""Annotated boxes, in any order.

`row` is the key frame, `category` an index into `Joined.categories`. `visibility` is a level of the format, 0
if unknown. `lidar_points` is the number of returns inside. `size_m` is length, width and height. `pose`
transforms the frame of the box (origin at its centre, x forward) to the global frame.
"""

TRACK = pa.field("track", pa.int64())
"""Optional column of `BOXES`: the object that a box is of, the same number for all its boxes in a scene, -1
if unknown. Without it the speeds of objects are not known."""


@dataclass(frozen=True)
class Joined:
    """The key frames of a data source, ordered by scene and then by time."""

    tokens: list[str]
    """Token of each key frame, which must be a valid file name."""
    timestamp_us: Int64[ndarray, " n"]
    scene: Int64[ndarray, " n"]
    """Index into `scenes` of each key frame, never decreasing."""
    scenes: tuple[str, ...]
    """Name of each scene, including those without key frames."""
    places: tuple[Place, ...]
    """Place of each scene."""
    channels: tuple[str, ...]
    """Names of the cameras, clockwise from the front."""
    cameras: pa.Table
    """Columns as in `CAMERAS`, and maybe `LENS`."""
    sweeps: pa.Table
    """Columns as in `SWEEPS`."""
    boxes: pa.Table
    """Columns as in `BOXES`, and maybe `TRACK`."""
    categories: tuple[str, ...]
    """Names of the categories of boxes in the format."""
    hashes: dict[str, str]
    """Hash of each file, from `DataSource.hash_files`."""
    lidars: tuple[str, ...] = ("LIDAR",)
    """Names of the LiDARs. The first is the reference: its time and pose are the key frame's."""
    faults: Faults = field(default_factory=Faults)
    """Faults by key frame."""
    lenses: tuple[Lens, ...] = (PINHOLE,)
    """Lenses of the column `LENS`."""


def fixed_lists(values: Float64[ndarray, "n k"]) -> pa.FixedSizeListArray:
    """Return the rows of a matrix as a column of vectors."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def is_pose(pose: Float64[ndarray, "n 7"]) -> Bool[ndarray, " n"]:
    """Return a mask of the poses that are finite, plausible, and have a non-zero quaternion."""
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.linalg.norm(pose[:, 3:], axis=1)
        near = (np.abs(pose[:, :3]) < FARTHEST_M).all(axis=1)
        usable: ndarray = near & np.isfinite(length) & (length > 1e-6)
    return usable


def is_box_size(size_m: Float64[ndarray, "n 3"]) -> Bool[ndarray, " n"]:
    """Return a mask of the boxes with three plausible sides."""
    plausible: ndarray = np.all((size_m > 0) & (size_m < LONGEST_M), axis=1)  # false for NaN, too
    return plausible

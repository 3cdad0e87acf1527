"""The neutral tables that every data source joins its files to, and from which an index is made.

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

FARTHEST_M = 1e9
"""Coordinates beyond this are taken for nonsense."""


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

`row` is the key frame, `channel` a position in `Joined.channels`, `token` a name for messages, and `path` the
file relative to the data folder, with forward slashes. `height` and `width` of the file are in pixels.
`intrinsics` is a 3 x 3 matrix by rows, in pixels of the file, with (0, 0) at the corner of the image.
`calibration` takes the camera's frame (x right, y down, z forward) to the ego frame (x forward, y left, z
up), and `ego_pose` the ego frame at the time of the image to the global frame.
"""

SWEEPS = pa.schema({"row": pa.int64(), "is_key": pa.bool_(), **_SHOT, "timestamp_us": pa.int64(), **_POSES})
"""LiDAR sweeps, in any order.

`row` is a key frame of the same scene. `is_key` marks the sweep that is the key frame's own, whose ego pose
becomes that of the key frame; the other sweeps may be joined to the key frame that comes next by their times.
`calibration` takes the frame of the points that `DataSource.read_sweep` returns to the ego frame.
"""

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

`row` is the key frame, `category` a position in `Joined.categories`. `visibility` is a level of the format, 0
where it is unknown. `lidar_points` is the number of returns inside. `size_m` is length, width and height.
`pose` takes the frame of the box (origin in its middle, x forward) to the global frame.
"""


@dataclass(frozen=True)
class Joined:
    """All that a data source says of its key frames, which are numbered by scene and then by time."""

    tokens: list[str]
    """Name of each key frame; it must be fit to name a file."""
    timestamp_us: Int64[ndarray, " n"]
    scene: Int64[ndarray, " n"]
    """Position in `scenes` of the scene of each key frame, never decreasing."""
    scenes: tuple[str, ...]
    """Name of each scene, of those without key frames too."""
    places: tuple[Place, ...]
    """Where each scene was recorded."""
    channels: tuple[str, ...]
    """Names of the cameras, front first and then clockwise."""
    cameras: pa.Table
    """Columns as in `CAMERAS`."""
    sweeps: pa.Table
    """Columns as in `SWEEPS`."""
    boxes: pa.Table
    """Columns as in `BOXES`."""
    categories: tuple[str, ...]
    """Names of the categories of boxes, in the words of the format."""
    hashes: dict[str, str]
    """Hash of the content of each file, as `DataSource.hash_files` returns them."""
    faults: Faults = field(default_factory=Faults)
    """What is wrong with which key frame."""


def fixed_lists(values: Float64[ndarray, "n k"]) -> pa.FixedSizeListArray:
    """Return the rows of a matrix as a column of vectors."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def is_pose(pose: Float64[ndarray, "n 7"]) -> Bool[ndarray, " n"]:
    """Return which poses are finite, on this planet, and have a rotation at all."""
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.linalg.norm(pose[:, 3:], axis=1)
        near = (np.abs(pose[:, :3]) < FARTHEST_M).all(axis=1)
        usable: ndarray = near & np.isfinite(length) & (length > 1e-6)
    return usable

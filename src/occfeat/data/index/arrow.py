"""Layout of the index: one Arrow table, a row per key frame, with lists of its cameras, sweeps and boxes.

The lists of a column lie one after the other in memory, in the order of the key frames. So the sweeps before
a key frame are simply the entries before its own, and the index can be read from a memory-mapped file without
making an object per row. Poses are (x, y, z, qw, qx, qy, qz) in global coordinates: metres, quaternion.
"""

import hashlib
from dataclasses import asdict, dataclass

import numpy as np
import orjson
import pyarrow as pa
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from occfeat.data.nuscenes.rig import CAMERA, LIDAR, Rig
from occfeat.data.nuscenes.tables import NEEDED_TABLES, Fault, Faults
from occfeat.data.place import Place

SCHEMA_VERSION = 2
"""Raised with every change of this layout; an index of another version is built again."""


def _vectors_of(width: int) -> pa.DataType:
    return pa.list_(pa.float64(), width)


_SHOT = {"token": pa.string(), "path": pa.string()}
_POSES = {"calibration": _vectors_of(7), "ego_pose": _vectors_of(7)}
_CAMERA = {
    **_SHOT,
    "channel": pa.int16(),
    "timestamp_us": pa.int64(),
    "height": pa.int32(),
    "width": pa.int32(),
    "intrinsics": _vectors_of(9),
    **_POSES,
}
_BOX = {
    "token": pa.string(),
    "category": pa.int16(),
    "visibility": pa.int8(),
    "lidar_points": pa.int32(),
    "size_m": _vectors_of(3),
    "pose": _vectors_of(7),
}
SCHEMA = pa.schema(
    {
        "token": pa.string(),
        "scene": pa.int32(),
        "timestamp_us": pa.int64(),
        "ego_pose": _vectors_of(7),
        "has_lidar": pa.bool_(),
        "cameras": pa.list_(pa.struct(_CAMERA)),
        "sweeps": pa.list_(pa.struct({**_SHOT, "timestamp_us": pa.int64(), **_POSES})),
        "boxes": pa.list_(pa.struct(_BOX)),
        "faults": pa.list_(pa.struct({"kind": pa.string(), "message": pa.string()})),
    }
)
"""Columns of an index, without the metadata."""


@dataclass(frozen=True)
class Joined:
    """Everything that goes into an index, each table with the key-frame `row` it belongs to."""

    tokens: list[str]
    timestamp_us: Int64[ndarray, " n"]
    scene: Int64[ndarray, " n"]
    scenes: tuple[str, ...]
    places: tuple[Place, ...]
    rig: Rig
    shots: pa.Table
    boxes: pa.Table
    categories: tuple[str, ...]
    faults: Faults
    hashes: dict[str, str]


def assemble(joined: Joined) -> pa.Table:
    """Lay the joined tables out as an index."""
    rows, shots, rig = len(joined.tokens), joined.shots, joined.rig
    sensor, is_key = shots["sensor"].to_numpy(), shots["is_key"].to_numpy()
    cameras = shots.filter(pa.array((rig.kind[sensor] == CAMERA) & is_key))
    sweeps = shots.filter(pa.array(rig.kind[sensor] == LIDAR))
    own = _own_sweep(sweeps, rows)
    pose, known = _reference_poses(joined, cameras, sweeps, own)
    for row in np.flatnonzero(~known):
        fault = Fault("no sensor", f"sample.json: record {joined.tokens[row]} has no usable camera or LiDAR")
        joined.faults.add(int(row), fault)
    columns = {
        "token": pa.array(joined.tokens, pa.string()),
        "scene": pa.array(joined.scene.astype(np.int32)),
        "timestamp_us": pa.array(joined.timestamp_us),
        "ego_pose": fixed_lists(pose),
        "has_lidar": pa.array(own >= 0),
        "cameras": _cameras(cameras, joined, rows),
        "sweeps": _sweeps(sweeps, joined, own),
        "boxes": _boxes(joined.boxes, rows),
        "faults": _faults(joined.faults, rows),
    }
    return pa.table(columns, schema=SCHEMA).replace_schema_metadata(
        {"occfeat": orjson.dumps(_metadata(joined))}
    )


def fingerprint(hashes: dict[str, str]) -> str:
    """One name for the content of the tables that every index needs.

    The optional ones do not count: a teacher cache stays valid when they are added.
    """
    needed = sorted((name, hashes[name]) for name in NEEDED_TABLES)
    return hashlib.blake2b(repr(needed).encode(), digest_size=16).hexdigest()


def _metadata(joined: Joined) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "channels": joined.rig.channels,
        "categories": joined.categories,
        "scenes": joined.scenes,
        "places": [asdict(place) for place in joined.places],
        "hashes": joined.hashes,
        "fingerprint": fingerprint(joined.hashes),
        "loose_faults": [
            {"kind": kind, "count": count, "first": joined.faults.loose_first[kind]}
            for kind, count in joined.faults.loose_count.items()
        ],
    }


def _own_sweep(sweeps: pa.Table, rows: int) -> Int64[ndarray, " rows"]:
    """Number of each key frame's own sweep; -1 where there is none, the first where there are several."""
    own = np.full(rows, -1, dtype=np.int64)
    keys = np.flatnonzero(sweeps["is_key"].to_numpy())[::-1]
    own[sweeps["row"].to_numpy()[keys]] = keys
    return own


def _reference_poses(
    joined: Joined, cameras: pa.Table, sweeps: pa.Table, own: Int64[ndarray, " rows"]
) -> tuple[Float64[ndarray, "rows 7"], Bool[ndarray, " rows"]]:
    """Ego pose at the LiDAR's time, without a LiDAR record at the nearest camera's; and which are known."""
    pose = np.tile((0.0, 0, 0, 1, 0, 0, 0), (len(own), 1))
    row = cameras["row"].to_numpy()
    apart_us = np.abs(cameras["timestamp_us"].to_numpy() - joined.timestamp_us[row])
    farthest_first = np.argsort(-apart_us, kind="stable")  # of several values, the last one written stays
    pose[row[farthest_first]] = _matrix(cameras["pose"])[farthest_first]
    has_lidar = own >= 0
    pose[has_lidar] = _matrix(sweeps["pose"])[own[has_lidar]]
    known = has_lidar.copy()
    known[row] = True
    return pose, known


def _cameras(cameras: pa.Table, joined: Joined, rows: int) -> pa.ListArray:
    row, sensor = cameras["row"].to_numpy(), cameras["sensor"].to_numpy()
    channel = joined.rig.camera[sensor]
    order = np.lexsort((cameras["timestamp_us"].to_numpy(), channel, row))
    again = np.zeros(len(order), dtype=bool)
    again[1:] = (np.diff(row[order]) == 0) & (np.diff(channel[order]) == 0)
    for i in order[again]:
        token, name = cameras["token"][int(i)].as_py(), joined.rig.channels[channel[i]]
        what = f"sample_data.json: record {token} is one more of {name} for the same key frame"
        joined.faults.add(int(row[i]), Fault("duplicate record", what))
    order = order[~again]
    cameras, sensor = cameras.take(pa.array(order)), sensor[order]
    columns = {
        "token": _whole(cameras["token"]),
        "path": _whole(cameras["path"]),
        "channel": pa.array(channel[order].astype(np.int16)),
        "timestamp_us": _whole(cameras["timestamp_us"]),
        "height": pa.array(cameras["height"].to_numpy().astype(np.int32)),
        "width": pa.array(cameras["width"].to_numpy().astype(np.int32)),
        "intrinsics": fixed_lists(joined.rig.intrinsics[sensor]),
        "calibration": fixed_lists(joined.rig.pose[sensor]),
        "ego_pose": _whole(cameras["pose"]),
    }
    return _nest(columns, row[order], rows)


def _sweeps(sweeps: pa.Table, joined: Joined, own: Int64[ndarray, " rows"]) -> pa.ListArray:
    """LiDAR sweeps by time: after the key frame before, and up to and including the key frame's own."""
    time_us, is_key = sweeps["timestamp_us"].to_numpy(), sweeps["is_key"].to_numpy()
    due_us = joined.timestamp_us.copy()
    due_us[own >= 0] = time_us[own[own >= 0]]
    row = _first_due(time_us, joined.scene[sweeps["row"].to_numpy()], due_us, joined.scene)
    is_own = np.zeros(len(row), dtype=bool)
    is_own[own[own >= 0]] = True
    row[own[own >= 0]] = np.flatnonzero(own >= 0)
    order = np.lexsort((time_us, is_own, row))
    order = order[(row[order] < len(own)) & (is_own | ~is_key)[order]]
    sweeps = sweeps.take(pa.array(order))
    sensor = sweeps["sensor"].to_numpy()
    columns = {
        "token": _whole(sweeps["token"]),
        "path": _whole(sweeps["path"]),
        "timestamp_us": _whole(sweeps["timestamp_us"]),
        "calibration": fixed_lists(joined.rig.pose[sensor]),
        "ego_pose": _whole(sweeps["pose"]),
    }
    return _nest(columns, row[order], len(own))


def _first_due(
    time_us: Int64[ndarray, " sweeps"],
    sweep_scene: Int64[ndarray, " sweeps"],
    due_us: Int64[ndarray, " rows"],
    scene: Int64[ndarray, " rows"],
) -> Int64[ndarray, " sweeps"]:
    """First key frame of the same scene not before each sweep; the number of rows where there is none."""
    row = np.full(len(time_us), len(due_us), dtype=np.int64)
    for number in np.unique(sweep_scene):
        begin, end = np.searchsorted(scene, (number, number + 1))
        here = np.flatnonzero(sweep_scene == number)
        due = begin + np.searchsorted(np.maximum.accumulate(due_us[begin:end]), time_us[here])
        row[here] = np.where(due < end, due, len(due_us))
    return row


def _boxes(boxes: pa.Table, rows: int) -> pa.ListArray:
    row = boxes["row"].to_numpy()
    order = np.argsort(row, kind="stable")
    boxes = boxes.drop_columns("row").take(pa.array(order))
    return _nest({name: _whole(boxes[name]) for name in boxes.column_names}, row[order], rows)


def _faults(faults: Faults, rows: int) -> pa.ListArray:
    found = [(row, fault) for row in sorted(faults.of_row) for fault in faults.of_row[row]]
    columns = {
        "kind": pa.array([fault.kind for _, fault in found], pa.string()),
        "message": pa.array([fault.message for _, fault in found], pa.string()),
    }
    return _nest(columns, np.array([row for row, _ in found], dtype=np.int64), rows)


def _nest(columns: dict[str, pa.Array], row: Int64[ndarray, " n"], rows: int) -> pa.ListArray:
    """A list per key frame of entries that are sorted by the key frame they belong to."""
    offsets = np.searchsorted(row, np.arange(rows + 1)).astype(np.int32)
    entries = pa.StructArray.from_arrays(list(columns.values()), names=list(columns))
    return pa.ListArray.from_arrays(pa.array(offsets), entries)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """All of a column in one piece, empty ones too."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _matrix(column: pa.ChunkedArray) -> Float64[ndarray, "n k"]:
    """A column of vectors as one matrix."""
    matrix: ndarray = _whole(column).flatten().to_numpy().reshape(len(column), column.type.list_size)
    return matrix


def fixed_lists(values: Float64[ndarray, "n k"]) -> pa.FixedSizeListArray:
    """Rows of a matrix as a column of vectors."""
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])

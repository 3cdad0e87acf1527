"""Layout of the index: one Arrow table, a row per key frame, with lists of its cameras, sweeps and boxes.

The lists of a column are contiguous in memory, in the order of the key frames. The sweeps of a LiDAR before a
key frame are therefore its entries before its own, which has `is_key`. Reading the memory-mapped file creates
no object per row. Poses are (x, y, z, qw, qx, qy, qz) in global coordinates: metres, quaternion.
"""

import hashlib
from dataclasses import asdict

import numpy as np
import orjson
import pyarrow as pa
from jaxtyping import Bool, Float64, Int64, Shaped
from numpy import ndarray

from occfeat.data.index.motion import speeds_mps
from occfeat.data.index.validate import matrix, one_array, validate
from occfeat.data.source.faults import Fault, Faults
from occfeat.data.source.source import DataSource
from occfeat.data.source.tables import (
    BOXES,
    CAMERAS,
    LENS,
    LIDAR,
    SWEEPS,
    TRACK,
    Joined,
    fixed_lists,
    is_pose,
)

SCHEMA_VERSION = 9
"""Version of this layout and of what is noted as a fault; an index of another version is rebuilt."""


def _listed(table: pa.Schema, *, without: tuple[str, ...]) -> pa.DataType:
    """Return the type of a column with a list of table rows per key frame."""
    return pa.list_(pa.struct([field for field in table if field.name not in without]))


IMAGE_FAULT = (pa.field("fault_kind", pa.string()), pa.field("fault", pa.string()))
"""Kind and message of what makes an image unusable; empty for most."""

SPEED = pa.field("speed_mps", pa.float32())
"""Speed of the object that a box is of; NaN if it is not known."""

SCHEMA = pa.schema(
    {
        "token": pa.string(),
        "scene": pa.int32(),
        "timestamp_us": pa.int64(),
        "ego_pose": pa.list_(pa.float64(), 7),
        "cameras": _listed(pa.schema([*CAMERAS, LENS, *IMAGE_FAULT]), without=("row",)),
        "sweeps": _listed(SWEEPS.append(LIDAR), without=("row",)),
        "boxes": _listed(BOXES.append(SPEED), without=("row",)),
        "faults": pa.list_(pa.struct({"kind": pa.string(), "message": pa.string()})),
    }
)
"""Columns of an index, without the metadata."""


def assemble(joined: Joined, source: DataSource) -> pa.Table:
    """Build an index from the tables that a data source joined.

    Raises:
        ValueError: They are not what `Joined` describes.
    """
    joined = validate(joined, source.record)
    rows = len(joined.tokens)
    own = _own_sweeps(joined, rows, source.record)
    pose, known = _reference_poses(joined, own)
    for row in np.flatnonzero(~known):
        fault = Fault("no sensor", f"key frame {joined.tokens[row]} has no usable camera or LiDAR")
        joined.faults.add(int(row), fault)
    columns = {
        "token": pa.array(joined.tokens, pa.string()),
        "scene": pa.array(joined.scene.astype(np.int32)),
        "timestamp_us": pa.array(joined.timestamp_us),
        "ego_pose": fixed_lists(pose),
        "cameras": _cameras(joined, source.record, rows),
        "sweeps": _sweeps(joined, own),
        "boxes": _boxes(joined, rows),
        "faults": _faults(joined.faults, rows),
    }
    return pa.table(columns, schema=SCHEMA).replace_schema_metadata(
        {"occfeat": orjson.dumps(_metadata(joined, source))}
    )


def _fingerprint(hashes: dict[str, str], source: DataSource) -> str:
    """Return one hash of the contents of the required files of a source.

    Optional files are not included: a teacher cache stays valid when they are added.
    """
    needed = sorted((name, content) for name, content in hashes.items() if name not in source.optional_files)
    return hashlib.blake2b(repr(needed).encode(), digest_size=16).hexdigest()


def _metadata(joined: Joined, source: DataSource) -> dict[str, object]:
    """Return the metadata of the whole data set."""
    return {
        "schema_version": SCHEMA_VERSION,
        "source": source.name,
        "channels": joined.channels,
        "lidars": joined.lidars,
        "categories": joined.categories,
        "lenses": [lens.as_record() for lens in joined.lenses],
        "scenes": joined.scenes,
        "places": [asdict(place) for place in joined.places],
        "hashes": joined.hashes,
        "fingerprint": _fingerprint(joined.hashes, source),
        "loose_faults": [
            {"kind": kind, "count": count, "first": joined.faults.loose_first[kind]}
            for kind, count in joined.faults.loose_count.items()
        ],
    }


def _own_sweeps(joined: Joined, rows: int, record: str) -> Int64[ndarray, "rows lidars"]:
    """Return the index of each key frame's own sweep of each LiDAR: the first of several, -1 for none."""
    own = np.full((rows, len(joined.lidars)), -1, dtype=np.int64)
    keys = np.flatnonzero(joined.sweeps["is_key"].to_numpy())[::-1]
    row, lidar = joined.sweeps["row"].to_numpy()[keys], joined.sweeps["lidar"].to_numpy()[keys]
    own[row, lidar] = keys
    for i in np.flatnonzero(own[row, lidar] != keys)[::-1]:
        token, name = joined.sweeps["token"][int(keys[i])].as_py(), joined.lidars[lidar[i]]
        what = f"{record} {token} is a second sweep of {name} for the same key frame"
        joined.faults.add(int(row[i]), Fault("duplicate record", what))
    return own


def _reference_poses(
    joined: Joined, own: Int64[ndarray, "rows lidars"]
) -> tuple[Float64[ndarray, "rows 7"], Bool[ndarray, " rows"]]:
    """Return the ego poses of key frames, and a mask of the known ones.

    The pose is that of the key frame's own sweep of the first LiDAR that has one, or else that of the image
    nearest in time, of those with a pose.
    """
    cameras = joined.cameras.filter(pa.array(is_pose(matrix(joined.cameras["ego_pose"]))))
    pose = np.tile((0.0, 0, 0, 1, 0, 0, 0), (len(own), 1))
    row = cameras["row"].to_numpy()
    apart_us = np.abs(cameras["timestamp_us"].to_numpy() - joined.timestamp_us[row])
    farthest_first = np.argsort(-apart_us, kind="stable")  # the last value written wins
    pose[row[farthest_first]] = matrix(cameras["ego_pose"])[farthest_first]
    known = np.any(own >= 0, axis=1)
    swept = matrix(joined.sweeps["ego_pose"])
    for of_lidar in own.T[::-1]:  # the first LiDAR last: it wins
        pose[of_lidar >= 0] = swept[of_lidar[of_lidar >= 0]]
    known[joined.cameras["row"].to_numpy()] = True
    return pose, known


def _cameras(joined: Joined, record: str, rows: int) -> pa.ListArray:
    """Return the images of each key frame by camera; of several per camera, the first in time."""
    cameras = joined.cameras
    row, channel = cameras["row"].to_numpy(), cameras["channel"].to_numpy()
    order = np.lexsort((cameras["timestamp_us"].to_numpy(), channel, row))
    again = np.zeros(len(order), dtype=bool)
    again[1:] = (np.diff(row[order]) == 0) & (np.diff(channel[order]) == 0)
    for i in order[again]:
        token, name = cameras["token"][int(i)].as_py(), joined.channels[channel[i]]
        what = f"{record} {token} is a second image of {name} for the same key frame"
        joined.faults.add(int(row[i]), Fault("duplicate record", what))
    order = order[~again]
    for column, values in zip(IMAGE_FAULT, _image_faults(joined), strict=True):
        cameras = cameras.append_column(column, pa.array(values, pa.string()))
    return _nest(cameras, order, rows)


def _image_faults(joined: Joined) -> tuple[Shaped[ndarray, " n"], Shaped[ndarray, " n"]]:
    """Return kind and message of what makes each image unusable; empty for those that are usable."""
    width = len(joined.channels)
    known = np.array([row * width + channel for row, channel in joined.faults.of_image], dtype=np.int64)
    row, channel = (joined.cameras[name].to_numpy() for name in ("row", "channel"))
    faulty = np.flatnonzero(np.isin(row * width + channel, known))
    kinds, messages = (np.full(len(joined.cameras), "", dtype=object) for _ in IMAGE_FAULT)
    for i in faulty:
        fault = joined.faults.of_image[int(row[i]), int(channel[i])]
        kinds[i], messages[i] = fault.kind, fault.message
    return kinds, messages


def _sweeps(joined: Joined, own: Int64[ndarray, "rows lidars"]) -> pa.ListArray:
    """Return the sweeps of each key frame by time.

    Those of a LiDAR begin after its previous key frame and end with the key frame's own.
    """
    sweeps = joined.sweeps
    time_us, is_key = sweeps["timestamp_us"].to_numpy(), sweeps["is_key"].to_numpy()
    scene, lidar = joined.scene[sweeps["row"].to_numpy()], sweeps["lidar"].to_numpy()
    row = np.full(len(sweeps), len(own), dtype=np.int64)
    is_own = np.zeros(len(sweeps), dtype=bool)
    for number, of_lidar in enumerate(own.T):
        here, present = lidar == number, of_lidar >= 0
        due_us = joined.timestamp_us.copy()
        due_us[present] = time_us[of_lidar[present]]
        row[here] = _first_due(time_us[here], scene[here], due_us, joined.scene)
        row[of_lidar[present]] = np.flatnonzero(present)
        is_own[of_lidar[present]] = True
    order = np.lexsort((time_us, is_own, row))
    order = order[(row[order] < len(own)) & (is_own | ~is_key)[order]]
    due = sweeps.set_column(sweeps.column_names.index("row"), "row", pa.array(row))
    return _nest(due, order, len(own))


def _first_due(
    time_us: Int64[ndarray, " sweeps"],
    sweep_scene: Int64[ndarray, " sweeps"],
    due_us: Int64[ndarray, " rows"],
    scene: Int64[ndarray, " rows"],
) -> Int64[ndarray, " sweeps"]:
    """Return the first key frame of its scene not before each sweep; the number of rows if none."""
    row = np.full(len(time_us), len(due_us), dtype=np.int64)
    for number in np.unique(sweep_scene):
        begin, end = np.searchsorted(scene, (number, number + 1))
        here = np.flatnonzero(sweep_scene == number)
        due = begin + np.searchsorted(np.maximum.accumulate(due_us[begin:end]), time_us[here])
        row[here] = np.where(due < end, due, len(due_us))
    return row


def _boxes(joined: Joined, rows: int) -> pa.ListArray:
    """Return the boxes of each key frame, in their order, with their speeds."""
    boxes = joined.boxes
    row, track = boxes["row"].to_numpy(), boxes["track"].to_numpy()
    speed = speeds_mps(row, track, matrix(boxes["pose"])[:, :3], joined.timestamp_us, joined.scene)
    boxes = boxes.drop_columns(TRACK.name).append_column(SPEED, pa.array(speed))
    order = np.argsort(boxes["row"].to_numpy(), kind="stable")
    return _nest(boxes, order, rows)


def _faults(faults: Faults, rows: int) -> pa.ListArray:
    """Return the faults of each key frame."""
    found = [(row, fault) for row in sorted(faults.of_row) for fault in faults.of_row[row]]
    columns = {
        "row": pa.array([row for row, _ in found], pa.int64()),
        "kind": pa.array([fault.kind for _, fault in found], pa.string()),
        "message": pa.array([fault.message for _, fault in found], pa.string()),
    }
    return _nest(pa.table(columns), np.arange(len(found)), rows)


def _nest(table: pa.Table, order: Int64[ndarray, " n"], rows: int) -> pa.ListArray:
    """Return the rows of a table as a list per key frame; `order` sorts them by key frame."""
    table = table.take(pa.array(order))
    offsets = np.searchsorted(table["row"].to_numpy(), np.arange(rows + 1)).astype(np.int32)
    names = [name for name in table.column_names if name != "row"]
    entries = pa.StructArray.from_arrays([one_array(table[name]) for name in names], names=names)
    return pa.ListArray.from_arrays(pa.array(offsets), entries)

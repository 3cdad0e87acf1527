"""Join the tables of a nuScenes set to the neutral tables of `occfeat.data.source.tables`.

Only key-frame images and LiDAR sweeps of `sample_data` and their poses of `ego_pose` are kept, so memory is
bounded by the size of the index. A dangling token or an impossible value does not stop the reading. It
becomes a fault of its key frame: `occfeat check` reports it, and the key frame cannot be read.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from occfeat.data.formats.nuscenes.calibrated_sensors import CAMERA, LIDAR, UNKNOWN, Rig, read_rig
from occfeat.data.formats.nuscenes.dialect import NUSCENES, TOKENS, Dialect
from occfeat.data.formats.nuscenes.json_tables import Record, flags, texts, times, vectors
from occfeat.data.formats.nuscenes.places import read_places
from occfeat.data.formats.nuscenes.sizes import size_on_disk
from occfeat.data.formats.nuscenes.tables import Tables, dangling, repeated
from occfeat.data.source.faults import Fault, Faults, left_out
from occfeat.data.source.paths import is_plain_name
from occfeat.data.source.place import Place
from occfeat.data.source.source import hash_file
from occfeat.data.source.tables import LENS, TRACK, Joined, fixed_lists, is_box_size, is_pose
from occfeat.data.source.tables import LIDAR as LIDAR_COLUMN
from occfeat.errors import DatasetError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Samples:
    """Key frames by scene, then by time; those of unknown scenes last."""

    row: dict[str, int]
    tokens: list[str]
    timestamp_us: Int64[ndarray, " n"]
    scene: Int64[ndarray, " n"]
    scenes: tuple[str, ...]


def join(folder: Path, on_bytes: Callable[[int], object], dialect: Dialect = NUSCENES) -> Joined:
    """Read and join the tables of a folder.

    Args:
        folder: Folder of the `.json` files.
        on_bytes: Called with the number of bytes after each read.
        dialect: How the tables differ from nuScenes.

    Raises:
        DatasetError: A table is missing or not JSON, or a record has a missing field.
    """
    tables = Tables(folder, on_bytes)
    faults = tables.faults
    rig = read_rig(tables, dialect)
    scenes = tables.records("scene")
    samples = _read_samples(tables, scenes, faults)
    places = (*read_places(tables, scenes, faults), Place())
    shots = _with_prefix(_read_shots(tables, rig, samples, faults), dialect.file_prefix)
    shots = _with_poses(shots, tables, rig, faults)
    visibility = _read_visibility(tables, dialect)
    boxes, categories = _read_boxes(tables, samples, visibility, faults)
    _note_repeated(tables, faults)
    return Joined(
        tokens=samples.tokens,
        timestamp_us=samples.timestamp_us,
        scene=samples.scene,
        scenes=samples.scenes,
        places=places,
        channels=rig.channels,
        lidars=rig.lidars,
        cameras=_with_sizes(_cameras_of(shots, rig), folder.parent),
        sweeps=_sweeps_of(shots, rig),
        boxes=boxes,
        categories=categories,
        hashes=tables.hashes,
        faults=faults,
        lenses=rig.lenses,
    )


def _note_repeated(tables: Tables, faults: Faults) -> None:
    """Note the records that small tables have more than once; key frames are noted as they are read."""
    for name, tokens in tables.repeated.items():
        for token, differ in tokens.items() if name != "sample" else ():
            faults.add(-1, repeated(name, token, differ))


def _without_repeated(table: pa.Table, name: str, faults: Faults) -> pa.Table:
    """Return the records of a table whose token is that of none before them; the others become faults."""
    if pc.count_distinct(table["token"]).as_py() == len(table):
        return table
    _, first = np.unique(table["token"].to_numpy(), return_index=True)
    again = np.ones(len(table), dtype=bool)
    again[first] = False
    for token in table["token"].filter(pa.array(again)).to_pylist():
        faults.add(-1, repeated(name, token))
    return table.filter(pa.array(~again))


def _cameras_of(shots: pa.Table, rig: Rig) -> pa.Table:
    """Return the key-frame images with their cameras."""
    sensor, is_key = shots["sensor"].to_numpy(), shots["is_key"].to_numpy()
    chosen = (rig.kind[sensor] == CAMERA) & is_key
    sensor, cameras = sensor[chosen], shots.filter(pa.array(chosen))
    cameras = cameras.append_column("channel", pa.array(rig.number[sensor]))
    cameras = cameras.append_column("intrinsics", fixed_lists(rig.intrinsics[sensor]))
    cameras = cameras.append_column(LENS, pa.array(rig.lens[sensor].astype(np.int32)))
    return cameras.append_column("calibration", fixed_lists(rig.pose[sensor]))


def _sweeps_of(shots: pa.Table, rig: Rig) -> pa.Table:
    """Return the LiDAR sweeps with their calibration."""
    sensor = shots["sensor"].to_numpy()
    chosen = rig.kind[sensor] == LIDAR
    number = pa.array(rig.number[sensor[chosen]].astype(np.int16))
    sweeps = shots.filter(pa.array(chosen)).append_column(LIDAR_COLUMN, number)
    return sweeps.append_column("calibration", fixed_lists(rig.pose[sensor[chosen]]))


def _read_samples(tables: Tables, scene_records: list[Record], faults: Faults) -> _Samples:
    """Return the key frames, ordered."""
    scenes = texts(scene_records, "name")
    number = {token: i for i, token in enumerate(texts(scene_records, "token"))}
    records = tables.records("sample")
    tokens, scene_tokens = texts(records, "token"), texts(records, "scene_token")
    scene = np.array([number.get(token, len(scenes)) for token in scene_tokens], dtype=np.int64)
    timestamp_us = times(records, "timestamp")
    order = np.lexsort((timestamp_us, scene))
    row = {tokens[i]: at for at, i in enumerate(order)}
    for token in tokens:
        if not is_plain_name(token):
            faults.add(row[token], Fault("impossible token", f"sample.json: {token!r} cannot name a file"))
    for token, differ in tables.repeated["sample"].items():
        faults.add(row[token], repeated("sample", token, differ))
    for i in np.flatnonzero(scene == len(scenes)):
        faults.add(row[tokens[i]], dangling("sample", tokens[i], "scene", scene_tokens[i]))
    return _Samples(row, [tokens[i] for i in order], timestamp_us[order], scene[order], (*scenes, ""))


def _read_shots(tables: Tables, rig: Rig, samples: _Samples, faults: Faults) -> pa.Table:
    """Return key-frame images and all LiDAR sweeps, each with its sensor and row."""
    empty = _shots_of([], rig, samples, faults)
    parts = [_shots_of(records, rig, samples, faults) for records in tables.batches("sample_data")]
    return _without_repeated(pa.concat_tables([empty, *parts]), "sample_data", faults)


def _shots_of(records: list[Record], rig: Rig, samples: _Samples, faults: Faults) -> pa.Table:
    """Return the usable shots of some records; the others become faults."""
    sensor_tokens = texts(records, "calibrated_sensor_token")
    sensor = np.array([rig.position.get(token, -1) for token in sensor_tokens], dtype=np.int64)
    kind, is_key = rig.kind[sensor], flags(records, "is_key_frame")
    is_valid = np.array([record.get("is_valid") is not False for record in records], dtype=bool)
    used = np.flatnonzero(is_valid & ((kind == LIDAR) | (kind == UNKNOWN) | (is_key & (kind == CAMERA))))
    records, sensor, is_key = [records[i] for i in used], sensor[used], is_key[used]
    tokens, sample_tokens = texts(records, "token"), texts(records, "sample_token")
    row = np.array([samples.row.get(token, -1) for token in sample_tokens], dtype=np.int64)
    bad = (sensor < 0) | (row < 0) | np.isin(sensor, list(rig.faults))
    for i in np.flatnonzero(bad):
        if row[i] < 0:
            fault = dangling("sample_data", tokens[i], "sample", sample_tokens[i])
        elif sensor[i] < 0:
            missing = records[i]["calibrated_sensor_token"]
            fault = dangling("sample_data", tokens[i], "calibrated_sensor", missing)
        else:
            fault = rig.faults[int(sensor[i])]
        _note_shot(faults, rig, int(sensor[i]), int(row[i]) if is_key[i] else -1, fault)
    table = pa.table(
        {
            "row": row,
            "sensor": sensor,
            "is_key": is_key,
            "timestamp_us": times(records, "timestamp"),
            "height": _pixels(records, "height"),
            "width": _pixels(records, "width"),
            "token": pa.array(tokens, pa.string()),
            "path": pa.array(_paths(records), pa.string()),
            "ego_pose_token": pa.array(texts(records, "ego_pose_token"), pa.string()),
        }
    )
    # an image is kept, so that its file is also checked; its key frame is used without this camera
    is_image = (row >= 0) & (sensor >= 0) & (rig.kind[sensor] == CAMERA)
    return table.filter(pa.array(~bad | is_image))


def _note_shot(faults: Faults, rig: Rig, sensor: int, row: int, fault: Fault) -> None:
    """Add a fault of a shot: a camera's costs its image, another one its key frame."""
    if rig.kind[sensor] == CAMERA:
        faults.add_image(row, int(rig.number[sensor]), fault)
    else:
        faults.add(row, fault)


def _paths(records: list[Record]) -> list[str]:
    """Return the names of files; backslashes of Windows become slashes."""
    return [name.replace("\\", "/") for name in texts(records, "filename")]


def _with_prefix(shots: pa.Table, prefix: str) -> pa.Table:
    """Return shots with a prefix before the names of their files."""
    if not prefix:
        return shots
    paths = pc.binary_join_element_wise(prefix, shots["path"], "")
    return shots.set_column(shots.column_names.index("path"), "path", paths)


def _pixels(records: list[Record], name: str) -> Int64[ndarray, " n"]:
    """Return the height or width of images; 0 if unknown, as for a LiDAR."""
    return np.array([_whole_pixels(record.get(name)) for record in records], dtype=np.int64)


def _whole_pixels(size: object) -> int:
    """Return a number of pixels, which may be a float; 0 for anything else."""
    is_whole = type(size) is int or (isinstance(size, float) and size.is_integer())
    return int(size) if isinstance(size, int | float) and is_whole and 0 < size < 2**31 else 0


def _with_sizes(cameras: pa.Table, root: Path) -> pa.Table:
    """Return images whose size is that of their file where the table does not tell it."""
    sizes = np.stack([cameras[name].to_numpy() for name in ("height", "width")], axis=1)
    unknown = np.flatnonzero((sizes == 0).any(axis=1))
    if not len(unknown):
        return cameras
    _log.info("The sizes of %d images are not in the table; reading them from the files.", len(unknown))
    sizes[unknown] = [size_on_disk(root, cameras["path"][int(i)].as_py()) for i in unknown]
    for column, name in enumerate(("height", "width")):
        cameras = cameras.set_column(cameras.column_names.index(name), name, pa.array(sizes[:, column]))
    return cameras


def _with_poses(shots: pa.Table, tables: Tables, rig: Rig, faults: Faults) -> pa.Table:
    """Add the ego pose of each shot; shots without a usable pose become faults."""
    wanted: dict[str, int] = {}
    tokens = shots["ego_pose_token"].to_pylist()
    number = np.array([wanted.setdefault(token, len(wanted)) for token in tokens], dtype=np.int64)
    pose, found, unclear = _read_poses(tables, wanted, faults)
    usable = (is_pose(pose) & ~unclear)[number]
    row = np.where(shots["is_key"].to_numpy(), shots["row"].to_numpy(), -1)
    sensor = shots["sensor"].to_numpy()
    for i in np.flatnonzero(~usable):
        if unclear[number[i]]:
            fault = repeated("ego_pose", tokens[i], differ=True)
        elif found[number[i]]:
            fault = Fault("impossible pose", f"ego_pose.json: record {tokens[i]} has no usable pose")
        else:
            fault = dangling("sample_data", shots["token"][int(i)].as_py(), "ego_pose", tokens[i])
        _note_shot(faults, rig, int(sensor[i]), int(row[i]), fault)
    shots = shots.drop_columns("ego_pose_token").append_column("ego_pose", fixed_lists(pose[number]))
    return shots.filter(pa.array(usable | (rig.kind[sensor] == CAMERA)))


def _read_poses(
    tables: Tables, wanted: dict[str, int], faults: Faults
) -> tuple[Float64[ndarray, "n 7"], Bool[ndarray, " n"], Bool[ndarray, " n"]]:
    """Return the ego poses of some tokens, and masks of those found and of those given differently twice.

    The pose of a missing token is NaN. A token that is there twice with one pose becomes a fault.
    """
    pose, found, unclear = np.full((len(wanted), 7), np.nan), *np.zeros((2, len(wanted)), dtype=bool)
    for records in tables.batches("ego_pose"):
        number = np.array([wanted.get(token, -1) for token in texts(records, "token")], dtype=np.int64)
        used = np.flatnonzero(number >= 0)
        records, number = [records[i] for i in used], number[used]
        read = np.hstack((vectors(records, "translation", 3), vectors(records, "rotation", 4)))
        first = np.unique(number, return_index=True)[1]
        once = first[~found[number[first]]]
        pose[number[once]], found[number[once]] = read[once], True
        again = np.ones(len(number), dtype=bool)
        again[once] = False
        for i in np.flatnonzero(again):
            differ = not np.array_equal(read[i], pose[number[i]], equal_nan=True)
            unclear[number[i]] |= differ
            if not differ:
                faults.add(-1, repeated("ego_pose", records[i]["token"]))
    return pose, found, unclear


def _read_visibility(tables: Tables, dialect: Dialect) -> Mapping[str, int] | None:
    """Return the visibility level of each token, 0 if unknown; None if tokens mean nothing.

    The table says it. A set without one, or with levels of other names, has nuScenes' own tokens.
    """
    if not dialect.has_visibility:
        return None
    path = tables.path("visibility")
    if not path.is_file():
        return TOKENS
    try:
        records = tables.records("visibility")
        columns = (texts(records, name) for name in ("token", "level"))
        found = list(zip(*columns, strict=True))
    except DatasetError as error:
        _log.warning("%s Tokens of visibility are taken as levels.", error.message)
        tables.hashes["visibility"] = hash_file(path)
        return TOKENS
    return {token: dialect.levels.get(level, TOKENS.get(token, 0)) for token, level in found}


@dataclass(frozen=True)
class _Instances:
    """The objects that boxes are of, by the tokens of their records."""

    track: dict[str, int] = field(default_factory=dict)
    """Number of each."""
    category: dict[str, int] = field(default_factory=dict)
    """Index into the categories, -1 if it is not known."""
    lost: dict[str, Fault] = field(default_factory=dict)
    """What is wrong with those of no known category."""


def _read_boxes(
    tables: Tables, samples: _Samples, visibility: Mapping[str, int] | None, faults: Faults
) -> tuple[pa.Table, tuple[str, ...]]:
    """Return the annotations with row and category index, and the category names."""
    records = tables.records("category")
    names = texts(records, "name")
    number = {token: i for i, token in enumerate(texts(records, "token"))}
    records = tables.records("instance")
    category_tokens = texts(records, "category_token")
    instances = _Instances()
    for token, category_token in zip(texts(records, "token"), category_tokens, strict=True):
        instances.track.setdefault(token, len(instances.track))
        instances.category[token] = number.get(category_token, -1)
        if category_token not in number:
            instances.lost[token] = dangling("instance", token, "category", category_token)
    parts = [_boxes_of([], samples, instances, visibility, faults)]
    for records in tables.batches("sample_annotation"):
        parts.append(_boxes_of(records, samples, instances, visibility, faults))
    return _without_repeated(pa.concat_tables(parts), "sample_annotation", faults), tuple(names)


def _boxes_of(
    records: list[Record],
    samples: _Samples,
    instances: _Instances,
    visibility: Mapping[str, int] | None,
    faults: Faults,
) -> pa.Table:
    """Return the usable boxes of some records; the others become faults."""
    tokens, sample_tokens = texts(records, "token"), texts(records, "sample_token")
    of_instance = texts(records, "instance_token")
    row = np.array([samples.row.get(token, -1) for token in sample_tokens], dtype=np.int64)
    category = np.array([instances.category.get(token, -1) for token in of_instance], dtype=np.int64)
    track = np.array([instances.track.get(token, -1) for token in of_instance], dtype=np.int64)
    pose = np.hstack((vectors(records, "translation", 3), vectors(records, "rotation", 4)))
    size_m = vectors(records, "size", 3)[:, [1, 0, 2]]  # the table has width first
    real = is_pose(pose) & is_box_size(size_m)
    bad = (row < 0) | (category < 0) | ~real
    for i in np.flatnonzero(bad):
        if row[i] < 0:
            fault = dangling("sample_annotation", tokens[i], "sample", sample_tokens[i])
        elif category[i] < 0:
            missing = dangling("sample_annotation", tokens[i], "instance", of_instance[i])
            fault = instances.lost.get(of_instance[i], missing)
        else:
            fault = Fault("impossible box", f"sample_annotation.json: record {tokens[i]} is not a box")
        faults.add(-1, left_out(fault))
    table = pa.table(
        {
            "row": row,
            "token": pa.array(tokens, pa.string()),
            "category": category.astype(np.int16),
            "visibility": _visibility_of(records, visibility, faults),
            "lidar_points": np.array([_count(r.get("num_lidar_pts")) for r in records], dtype=np.int32),
            "size_m": fixed_lists(size_m),
            "pose": fixed_lists(pose),
            TRACK.name: track,
        }
    )
    return table.filter(pa.array(~bad))


def _visibility_of(
    records: list[Record], visibility: Mapping[str, int] | None, faults: Faults
) -> Int64[ndarray, " n"]:
    """Return the visibility level of each box; 0 if it is unknown. Tokens without a record become faults."""
    if visibility is None:
        return np.zeros(len(records), dtype=np.int64)
    tokens = [record.get("visibility_token") for record in records]
    for record, token in zip(records, tokens, strict=True):
        if token not in (None, "") and str(token) not in visibility:
            faults.add(-1, dangling("sample_annotation", str(record["token"]), "visibility", str(token)))
    return np.array([visibility.get(str(token), 0) for token in tokens], dtype=np.int64)


def _count(value: object) -> int:
    """Return a number of LiDAR returns; 0 for an invalid value."""
    return value if type(value) is int and 0 <= value < 2**31 else 0

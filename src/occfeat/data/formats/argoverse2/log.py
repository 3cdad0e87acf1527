"""Read one log: its key frames, images, sweeps, boxes and faults.

Key frames are chosen among the LiDAR's times. The car's poses are looked up at the exact time of each file.
Axes: `n` times, `k` key frames.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from occfeat.data.formats.argoverse2.calibrated_sensors import (
    POSE,
    POSE_KINDS,
    RING,
    STEREO,
    UNCALIBRATED,
    Camera,
    read_cameras,
)
from occfeat.data.formats.argoverse2.feather import Kinds, integers, numbers, read_table
from occfeat.data.formats.argoverse2.folders import (
    ANNOTATIONS,
    CAMERA_FOLDER,
    LIDAR_FOLDER,
    MAP_FOLDER,
    POSES,
    Log,
    find_map,
    folder_names,
    is_log,
    read_times,
)
from occfeat.data.formats.argoverse2.poses import Poses, compose
from occfeat.data.source.faults import Fault
from occfeat.data.source.place import Place
from occfeat.data.source.tables import BOXES, CAMERAS, SWEEPS, fixed_lists
from occfeat.errors import DatasetError

CHANNELS = (*RING, *STEREO)
"""All cameras, in the order of the index."""

PERIOD_NS = 500_000_000
"""Time between key frames; the LiDAR turns ten times a second."""

NEAREST_IMAGE_NS = 25_000_000
"""Largest time between a key frame and its image: half the time between two images, as in av2-api."""

_BOX_SIZE = ("length_m", "width_m", "height_m")
_ANNOTATION_KINDS: Kinds = {
    "timestamp_ns": "integer",
    "track_uuid": "text",
    "category": "text",
    "num_interior_pts": "integer",
    **dict.fromkeys(_BOX_SIZE, "number"),
    **POSE_KINDS,
}
BOXES_OF_LOG = BOXES.set(BOXES.get_field_index("category"), pa.field("category", pa.string()))
"""Boxes before the categories of all logs are numbered."""

_AT_EGO = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)


@dataclass
class LogFaults:
    """What is wrong with a log."""

    of_all: list[Fault] = field(default_factory=list)
    """Faults that make every key frame unreadable."""
    of_row: list[tuple[int, Fault]] = field(default_factory=list)
    """Faults of single key frames."""
    of_image: list[tuple[int, int, Fault]] = field(default_factory=list)
    """Faults of single images: key frame, index into `CHANNELS`, fault."""
    loose: list[Fault] = field(default_factory=list)
    """Faults that are only reported."""


@dataclass(frozen=True)
class LogTables:
    """The part of a log in the neutral tables; rows count from its first key frame."""

    tokens: list[str]
    timestamp_us: Int64[ndarray, " k"]
    cameras: pa.Table
    sweeps: pa.Table
    boxes: pa.Table
    """Columns as in `BOXES_OF_LOG`."""
    place: Place
    faults: LogFaults


def choose_key_frames(time_ns: Int64[ndarray, " n"]) -> Bool[ndarray, " n"]:
    """Return a mask of the key frames among times in order: every half second from the first, the nearest.

    A time that is farther than a quarter of a second from each of these moments is never chosen.
    """
    chosen = np.zeros(len(time_ns), dtype=bool)
    if len(time_ns):
        since_ns = time_ns - time_ns[0]
        number = (since_ns + PERIOD_NS // 2) // PERIOD_NS
        nearest_first = np.lexsort((np.abs(since_ns - number * PERIOD_NS), number))
        chosen[nearest_first[np.unique(number[nearest_first], return_index=True)[1]]] = True
    return chosen


def read_log(root: Path, log: Log) -> LogTables:
    """Read the tables of a log and the names of its files. Whatever is wrong becomes a fault."""
    return _LogReader(root, log).read()


class _LogReader:
    """One log, and what was found wrong with it so far."""

    def __init__(self, root: Path, log: Log) -> None:
        self._log, self._folder, self._faults = log, root / log.path, LogFaults()

    def read(self) -> LogTables:
        """Read everything."""
        annotations = self._annotations()
        sweep_ns = self._sweep_times(annotations)
        is_key = choose_key_frames(sweep_ns)
        key_ns = sweep_ns[is_key]
        poses = self._poses() if len(key_ns) else None
        number = np.where(is_key, np.cumsum(is_key) - 1, -1)
        ego_pose, faults = self._poses_of(sweep_ns, poses)
        for i, fault in faults:
            self._note_sweep(int(number[i]), fault)
        known = np.isfinite(ego_pose).all(axis=1)
        # a stand-in, so that the other files of a faulty key frame are checked, too
        ego_pose = np.where(known[:, None], ego_pose, _AT_EGO)
        used = is_key | known
        return LogTables(
            tokens=[self._token(time_ns) for time_ns in key_ns.tolist()],
            timestamp_us=key_ns // 1000,
            cameras=self._images(key_ns, poses) if len(key_ns) else CAMERAS.empty_table(),
            sweeps=self._sweeps(sweep_ns[used], is_key[used], ego_pose[used]),
            boxes=self._boxes(annotations, key_ns, ego_pose[is_key]),
            place=self._place(),
            faults=self._faults,
        )

    def _sweep_times(self, annotations: pa.Table | None) -> Int64[ndarray, " n"]:
        """Return the times of the sweeps; those of the annotations if the LiDAR was not downloaded."""
        sweep_ns = self._times(LIDAR_FOLDER, ".feather")
        if not len(sweep_ns) and annotations is not None:
            sweep_ns = np.unique(integers(annotations, "timestamp_ns"))
        if not len(sweep_ns):
            kind = "empty log" if is_log(self._folder) else "incomplete log"
            self._faults.loose.append(Fault(kind, f"{self._log.path}: no LiDAR files and no annotations"))
        return sweep_ns

    def _token(self, time_ns: int) -> str:
        """Return the token of a moment, which is unique among all logs."""
        return f"{self._log.name}-{time_ns}"

    def _place(self) -> Place:
        """Return the city and the map file; without one, the folder where it belongs."""
        city, name = find_map(self._folder) or ("", MAP_FOLDER)
        return Place(location=city, base_map=f"{self._log.path}/{name}")

    def _annotations(self) -> pa.Table | None:
        """Return the annotations; None if there are none, which only the split `test` explains."""
        path = self._folder / ANNOTATIONS
        if path.exists():
            return self._table(path, _ANNOTATION_KINDS)
        if self._log.split != "test" and is_log(self._folder):
            self._faults.loose.append(Fault("missing annotations", f"{self._log.path}/{ANNOTATIONS}"))
        return None

    def _table(self, path: Path, kinds: Kinds) -> pa.Table | None:
        """Return a table; None if it cannot be read, which every key frame suffers from."""
        try:
            return read_table(path, kinds)
        except DatasetError as error:
            kind = "unreadable table" if path.exists() else "missing table"
            self._faults.of_all.append(Fault(kind, error.message))
            return None

    def _times(self, folder: str, ending: str) -> Int64[ndarray, " n"]:
        """Return the times of the files in a folder; other names become faults."""
        times_ns, others = read_times(self._folder / folder, ending)
        for name in others:
            what = f"{self._log.path}/{folder}/{name}: expected a time in nanoseconds and {ending}"
            self._faults.loose.append(Fault("impossible file name", what))
        return times_ns

    def _poses(self) -> Poses | None:
        """Return the poses of the car in the city frame, ordered by time; None if they cannot be read."""
        table = self._table(self._folder / POSES, {"timestamp_ns": "integer", **POSE_KINDS})
        if table is None:
            return None
        time_ns = integers(table, "timestamp_ns")
        order = np.argsort(time_ns, kind="stable")
        return Poses(time_ns[order], numbers(table, *POSE)[order])

    def _poses_of(
        self, time_ns: Int64[ndarray, " n"], poses: Poses | None
    ) -> tuple[Float64[ndarray, "n 7"], list[tuple[int, Fault]]]:
        """Return the pose of the car at the time of each file, and the faults of those without one: NaN.

        Args:
            time_ns: Time of each file.
            poses: None if all are missing, which was noted before.
        """
        if poses is None:
            return np.full((len(time_ns), 7), np.nan), []
        pose = poses.at(time_ns)
        unknown = np.flatnonzero(~np.isfinite(pose).all(axis=1)).tolist()
        where = f"{self._log.path}/{POSES}"
        return pose, [(i, Fault("missing pose", f"{where}: no pose at {time_ns[i]} ns")) for i in unknown]

    def _note_sweep(self, row: int, fault: Fault) -> None:
        """Add a fault of a sweep to its key frame; that of one between key frames (-1) is only reported."""
        if row < 0:
            self._faults.loose.append(fault)
        else:
            self._faults.of_row.append((row, fault))

    def _sweeps(
        self, time_ns: Int64[ndarray, " n"], is_key: Bool[ndarray, " n"], ego_pose: Float64[ndarray, "n 7"]
    ) -> pa.Table:
        """Return the sweeps, whose points are in the ego frame."""
        number = (np.cumsum(is_key) - 1).clip(min=0)  # of the key frame before; any of the scene will do
        columns = {
            "row": number,
            "is_key": is_key,
            "token": [self._token(one) for one in time_ns.tolist()],
            "path": [f"{self._log.path}/{LIDAR_FOLDER}/{one}.feather" for one in time_ns],
            "timestamp_us": time_ns // 1000,
            "calibration": fixed_lists(np.tile(_AT_EGO, (len(time_ns), 1))),
            "ego_pose": fixed_lists(ego_pose),
        }
        return pa.table(columns, schema=SWEEPS)

    def _images(self, key_ns: Int64[ndarray, " k"], poses: Poses | None) -> pa.Table:
        """Return the images of all cameras."""
        present = folder_names(self._folder / CAMERA_FOLDER)
        for name in set(present) - set(CHANNELS):
            what = f"{self._log.path}/{CAMERA_FOLDER}/{name} is not a camera of Argoverse 2"
            self._faults.loose.append(Fault("unknown camera", what))
        try:
            rig = read_cameras(self._folder)
        except DatasetError as error:
            kind = "missing table" if error.message.endswith("is missing.") else "unreadable table"
            self._faults.of_all.append(Fault(kind, error.message))
            return CAMERAS.empty_table()
        if rig.keys().isdisjoint(CHANNELS):
            what = f"{self._log.path}/calibration: expected rows of cameras in both tables, got none"
            self._faults.of_all.append(Fault("missing calibration", what))
            return CAMERAS.empty_table()
        named = [(i, name) for i, name in enumerate(CHANNELS) if name in rig or name in present]
        parts = [self._images_of(i, rig.get(name, UNCALIBRATED), key_ns, poses) for i, name in named]
        return pa.concat_tables([CAMERAS.empty_table(), *parts])

    def _images_of(
        self, channel: int, camera: Camera, key_ns: Int64[ndarray, " k"], poses: Poses | None
    ) -> pa.Table:
        """Return the images of one camera, the nearest of each key frame.

        Without any image, all are missing, and bear the key frames' own times.
        """
        name = CHANNELS[channel]
        folder = f"{CAMERA_FOLDER}/{name}"
        times_ns = self._times(folder, ".jpg")
        row, time_ns = _nearest(times_ns, key_ns) if len(times_ns) else (np.arange(len(key_ns)), key_ns)
        if name in RING:
            for i in np.setdiff1d(np.arange(len(key_ns)), row):
                what = f"{self._log.path}/{folder}: no image within 25 ms of {key_ns[i]}"
                self._faults.loose.append(Fault("missing image", what))
        ego_pose, faults = self._poses_of(time_ns, poses)
        if camera is UNCALIBRATED:
            what = f"{self._log.path}/calibration: expected rows of {name} in both tables, got none"
            faults = [(i, Fault("missing calibration", what)) for i in range(len(row))]
        self._faults.of_image += [(int(row[i]), channel, fault) for i, fault in faults]
        count = len(row)
        columns = {
            "row": row,
            "token": [self._token(one) for one in key_ns[row].tolist()],
            "path": [f"{self._log.path}/{folder}/{one}.jpg" for one in time_ns],
            "channel": np.full(count, channel, dtype=np.int16),
            "timestamp_us": time_ns // 1000,
            "height": np.full(count, camera.height, dtype=np.int32),
            "width": np.full(count, camera.width, dtype=np.int32),
            "intrinsics": fixed_lists(np.tile(camera.intrinsics, (count, 1))),
            "calibration": fixed_lists(np.tile(camera.pose, (count, 1))),
            "ego_pose": fixed_lists(ego_pose),
        }
        return pa.table(columns, schema=CAMERAS)

    def _boxes(
        self, table: pa.Table | None, key_ns: Int64[ndarray, " k"], ego_pose: Float64[ndarray, "k 7"]
    ) -> pa.Table:
        """Return the boxes of the key frames, moved from the ego frame to the city frame."""
        if table is None or not len(key_ns):
            return BOXES_OF_LOG.empty_table()
        time_ns = integers(table, "timestamp_ns")
        row = np.searchsorted(key_ns, time_ns).clip(max=len(key_ns) - 1)
        chosen = key_ns[row] == time_ns
        table, row = table.filter(pa.array(chosen)).combine_chunks(), row[chosen]
        columns = {
            "row": row,
            "token": table["track_uuid"],
            "category": table["category"],
            "visibility": np.zeros(len(row), dtype=np.int8),  # unknown
            "lidar_points": integers(table, "num_interior_pts").clip(0, 2**31 - 1).astype(np.int32),
            "size_m": fixed_lists(numbers(table, *_BOX_SIZE)),
            "pose": fixed_lists(compose(ego_pose[row], numbers(table, *POSE))),
        }
        return pa.table(columns, schema=BOXES_OF_LOG)


def _nearest(
    time_ns: Int64[ndarray, " n"], key_ns: Int64[ndarray, " k"]
) -> tuple[Int64[ndarray, " m"], Int64[ndarray, " m"]]:
    """Return the key frames that have an image near enough, and the time of the nearest."""
    after = np.searchsorted(time_ns, key_ns).clip(max=len(time_ns) - 1)
    before = (after - 1).clip(min=0)
    later = np.abs(time_ns[after] - key_ns) < np.abs(time_ns[before] - key_ns)
    nearest = time_ns[np.where(later, after, before)]
    row = np.flatnonzero(np.abs(nearest - key_ns) <= NEAREST_IMAGE_NS)
    return row, nearest[row]

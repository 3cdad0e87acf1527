"""Readers of recordings: folders of Waymo and KITTI, and the rig file of a bag."""

import io
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from occfeat.data.recordings.folders import find_recordings
from occfeat.data.recordings.from_bags.plan import plan_recordings
from occfeat.data.recordings.rig_file import read_rig_file
from tests.bad_input.fuzzing.confined import Reader, Target
from tests.bad_input.fuzzing.mutation import spoil_bytes, spoil_floats, spoil_yaml
from tests.support.nuscenes_folder import build_nuscenes_folder
from tests.support.recordings.drives import write_drive
from tests.support.recordings.kitti_writer import write_kitti
from tests.support.recordings.waymo_segment import build_segment

NUMBERS = (0, -1, 1, 2, 7, 255, 2**31 - 1, -(2**31), 2**40, math.nan, math.inf, -1e30, 1e308, 0.5, None)
OTHERS = (pa.string(), pa.int8(), pa.float32(), pa.list_(pa.float64()), pa.binary(), pa.null())


def waymo(folder: Path) -> Reader:
    """A segment of Waymo Open Dataset v2, up to its points and boxes."""
    root = build_segment(folder / "waymo" / "training")
    files = sorted(root.rglob("*.parquet"))
    targets = [Target(file, (spoil_bytes, spoil_table, spoil_table)) for file in files]
    return Reader(targets, lambda _: _read_moments(folder / "waymo"))


def kitti(folder: Path) -> Reader:
    """A drive of KITTI raw, up to its points and boxes."""
    source = build_nuscenes_folder(folder / "source", key_frames=2, image_size=(6, 8), boxes=4, returns=20)
    drive = write_kitti(source, folder / "kitti", "scene-0061")
    texts = [*drive.parent.glob("*.txt"), *drive.rglob("*.txt"), drive / "tracklet_labels.xml"]
    targets = [Target(file, (spoil_bytes, spoil_word, spoil_word)) for file in sorted(texts)]
    targets += [Target(file, (spoil_bytes, spoil_floats)) for file in drive.rglob("*.bin")]
    return Reader(targets, lambda _: _read_moments(folder / "kitti"))


def rig_of_a_bag(folder: Path) -> Reader:
    """A rig file, up to the first key frame of the bag that it describes."""
    bag = write_drive(folder / "bag", seconds=0.3)
    entry = {"topic": "/back/image_raw/compressed", "intrinsics": [[40, 0, 32], [0, 40, 18], [0, 0, 1]]}
    entry |= {"lens": {"model": "brown_conrady", "coefficients": [0.1, 0, 0, 0]}, "delay_ms": 3.0}
    content = {
        "base_frame": "base_link",
        "cameras": {"CAM_BACK": {**entry, "ego_from_camera": np.eye(4).tolist()}},
        "lidars": {"LIDAR_TOP": {"topic": "/lidar/points", "deskew": True}},
        "poses": {"source": "tf", "global_frame": "map"},
        "key_frames": {"rate_hz": 5.0, "jitter_ms": 50.0, "scene_s": 1.0, "skip_start_s": 0.0},
        "car": {"radius_m": 1.0, "lower_m": [0, 0, 0], "upper_m": [1, 1, 1]},
        "splits": {"by": "time", "shares": {"train": 0.5, "val": 0.5}},
    }
    path = folder / "rig.yaml"
    remarks = "# a remark, in which damage does not matter\n" * 60
    path.write_text(yaml.safe_dump(content, sort_keys=False) + remarks)

    def read(file: Path) -> None:
        for recording in plan_recordings([[bag]], read_rig_file(file)):
            next(recording.moments(), None)

    return Reader([Target(path, (spoil_bytes, spoil_yaml, spoil_yaml))], read)


def _read_moments(root: Path) -> None:
    """Read everything."""
    for recording in find_recordings([root], key_hz=5.0, sweeps=True):
        for moment in recording.moments():
            for sweep in moment.sweeps.values():
                assert sweep.points.shape[1] in (4, 5)


def spoil_table(data: bytes, draw: random.Random) -> bytes:
    """A valid parquet file of which some values, a type or the order of rows is changed."""
    table = pq.read_table(io.BytesIO(data))
    for _ in range(draw.choice((1, 1, 3))):
        if table.num_columns and len(table):
            table = _spoiled_column(table, draw.randrange(table.num_columns), draw)
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def _spoiled_column(table: pa.Table, at: int, draw: random.Random) -> pa.Table:
    """A table without a column, with other rows, or with a column of other values or another type."""
    name, kind = table.column_names[at], table.schema.field(at).type
    match draw.randrange(7):
        case 0:
            return table.remove_column(at)
        case 3:
            other = draw.randrange(table.num_columns)
            swapped = {at: table.column_names[other], other: name}
            return table.rename_columns([swapped.get(i, one) for i, one in enumerate(table.column_names)])
        case 1:
            return table.set_column(at, name, pa.nulls(len(table), draw.choice(OTHERS)))
        case 2:
            rows = [draw.randrange(len(table)) for _ in range(draw.choice((0, 1, len(table))))]
            return table.take(pa.array(rows, pa.int64()))
    values = [_spoiled_value(one, draw) if draw.random() < 0.3 else one for one in table[name].to_pylist()]
    try:
        return table.set_column(at, name, pa.array(values, kind))
    except (pa.ArrowException, OverflowError, TypeError):
        return table  # a value that the type cannot hold


def _spoiled_value(value: Any, draw: random.Random) -> Any:
    """Something else in place of a value."""
    if isinstance(value, list) and value and draw.random() < 0.7:
        changed = list(value)
        changed[draw.randrange(len(value))] = draw.choice(NUMBERS)
        return changed
    if isinstance(value, list):
        return draw.choice(([], None, value[:-1], value * 2))
    if isinstance(value, str):
        return draw.choice(("", "x" * 300, "../up", "\0", "TOP", "9" * 400, None))
    return draw.choice((b"", None)) if isinstance(value, bytes) else draw.choice(NUMBERS)


def spoil_word(data: bytes, draw: random.Random) -> bytes:
    """A text of which one word is changed."""
    words = data.split(b" ")
    odd = (b"", b"nan", b"inf", b"-1e30", b"1e400", b"x", b"9" * 400, b"\xff", b"\n", b"0", b"99999999999")
    words[draw.randrange(len(words))] = draw.choice(odd)
    return b" ".join(words)

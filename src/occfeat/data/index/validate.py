"""Check the neutral tables that a data source joined, once, before they are laid out as an index.

A wrong record is noted as a fault of its key frame. A mistake in the structure of the tables is refused.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float64
from numpy import ndarray

from occfeat.data.source.faults import LEFT_OUT, Fault
from occfeat.data.source.paths import is_plain_name
from occfeat.data.source.tables import (
    BOXES,
    CAMERAS,
    LENS,
    LIDAR,
    SWEEPS,
    TRACK,
    Joined,
    is_box_size,
    is_pose,
)
from occfeat.geometry.lens import PINHOLE
from occfeat.geometry.pinhole import is_pinhole


def validate(joined: Joined, record: str) -> Joined:
    """Return the tables in the types of their schemas, without sweeps and boxes that cannot be used.

    Wrong images stay, so that their files are checked, too; their key frames are used without these cameras.
    A key frame or an image that the source itself noted a fault of gets no more: it is unusable anyway.

    Args:
        joined: What a data source joined; faults are added to it.
        record: What the source calls an image or a sweep, for messages.

    Raises:
        ValueError: Columns, key frames, numbers or their order are not those of `Joined`.
    """
    _require_key_frames(joined)
    rows, known = len(joined.tokens), frozenset(joined.faults.of_row)
    if (last := max((*known, *(row for row, _ in joined.faults.of_image)), default=-1)) >= rows:
        raise ValueError(f"faults: expected key frames below {rows}, got {last}")
    joined = _with_optional(joined)
    ends = {"row": rows, "channel": len(joined.channels), "lens": len(joined.lenses)}
    cameras = _typed(joined.cameras, CAMERAS.append(LENS), "cameras", **ends)
    sweeps = _typed(joined.sweeps, SWEEPS.append(LIDAR), "sweeps", row=rows, lidar=len(joined.lidars))
    boxes = _typed(joined.boxes, BOXES.append(TRACK), "boxes", row=rows, category=len(joined.categories))
    _note_tokens(joined, known)
    _note_scenes(joined)
    _note_images(joined, cameras, record, known)
    sweeps = _only(sweeps, _note_sweeps(joined, sweeps, record, known))
    boxes = _only(boxes, _note_boxes(joined, boxes, known))
    return dataclasses.replace(joined, cameras=cameras, sweeps=sweeps, boxes=boxes)


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, even if it is empty."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def matrix(column: pa.ChunkedArray) -> Float64[ndarray, "n k"]:
    """Return a column of vectors as one matrix."""
    values: ndarray = one_array(column).flatten().to_numpy().reshape(len(column), column.type.list_size)
    return values


def require_below(numbers: pa.Array | pa.ChunkedArray, end: int, what: str) -> None:
    """Refuse whole numbers below 0 or not below an end.

    Raises:
        ValueError: Some are.
    """
    if not len(numbers):
        return
    found: dict[str, int] = pc.min_max(numbers).as_py()
    if found["min"] < 0 or found["max"] >= end:
        raise ValueError(
            f"{what}: expected numbers from 0 to below {end}, got {found['min']} to {found['max']}"
        )


def _require_key_frames(joined: Joined) -> None:
    """Refuse key frames that differ in number, share a token, or are out of order."""
    tokens = joined.tokens
    if wrong := [token for token in tokens if not isinstance(token, str)]:
        raise ValueError(f"tokens: expected texts, got {wrong[0]!r}")
    if again := [token for token, count in Counter(tokens).items() if count > 1]:
        raise ValueError(f"tokens: expected a token of its own for each key frame, got {again[0]!r} twice")
    for name in ("timestamp_us", "scene"):
        _require_integers(getattr(joined, name), len(tokens), name)
    require_below(pa.array(joined.scene), len(joined.scenes), "scene")
    step, later_us = np.diff(joined.scene), np.diff(joined.timestamp_us)
    if (step < 0).any():
        first = tokens[int(np.argmax(step < 0)) + 1]
        raise ValueError(f"its key frames are not ordered by scene at {first}")
    if (backwards := (step == 0) & (later_us < 0)).any():
        at = int(np.argmax(backwards))
        raise ValueError(f"its key frames are not ordered by time: {tokens[at + 1]} is before {tokens[at]}")


def _require_integers(values: object, count: int, name: str) -> None:
    """Refuse anything but an array of one whole number for each key frame."""
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{name}: expected an array of {count} whole numbers, got {type(values).__name__}")
    if values.shape != (count,) or (count and values.dtype.kind not in "iu"):
        got = f"{values.dtype} of shape {values.shape}"
        raise ValueError(f"{name}: expected an array of {count} whole numbers, got {got}")


def _with_optional(joined: Joined) -> Joined:
    """Return the tables with their optional columns.

    Without them all cameras are pinholes, there is one LiDAR, and nobody knows which boxes are of one object.
    """
    if isinstance(joined.cameras, pa.Table) and LENS.name not in joined.cameras.column_names:
        joined = dataclasses.replace(joined, cameras=_with_column(joined.cameras, LENS, 0), lenses=(PINHOLE,))
    if isinstance(joined.sweeps, pa.Table) and LIDAR.name not in joined.sweeps.column_names:
        joined = dataclasses.replace(joined, sweeps=_with_column(joined.sweeps, LIDAR, 0))
    if isinstance(joined.boxes, pa.Table) and TRACK.name not in joined.boxes.column_names:
        joined = dataclasses.replace(joined, boxes=_with_column(joined.boxes, TRACK, -1))
    return joined


def _with_column(table: pa.Table, column: pa.Field, value: int) -> pa.Table:
    """Return a table with a column of one value."""
    return table.append_column(column, pa.array(np.full(len(table), value), column.type))


def _typed(table: object, schema: pa.Schema, name: str, **ends: int) -> pa.Table:
    """Return the columns of a schema in their types; those with an end hold numbers below it."""
    if not isinstance(table, pa.Table):
        raise ValueError(f"{name}: expected a table of pyarrow, got {type(table).__name__}")
    if missing := [column for column in schema.names if column not in table.column_names]:
        raise ValueError(f"{name}: expected columns {', '.join(schema.names)}, got no {', '.join(missing)}")
    try:
        typed = table.select(schema.names).cast(schema)
    except pa.ArrowException as error:
        raise ValueError(f"{name}: its columns do not have the types of the schema: {error}") from error
    for column in schema.names:
        if _has_nulls(typed[column]):
            raise ValueError(f"{name}.{column}: expected no nulls, got some")
    for column, end in ends.items():
        require_below(typed[column], end, f"{name}.{column}")
    return typed


def _has_nulls(column: pa.ChunkedArray) -> bool:
    """Return whether a column or one of its vectors has nulls."""
    is_vector = pa.types.is_fixed_size_list(column.type)
    return bool(column.null_count or (is_vector and pc.list_flatten(column).null_count))


def _only(table: pa.Table, good: Bool[ndarray, " n"]) -> pa.Table:
    """Return the good records of a table, which is copied only if some are not."""
    return table if good.all() else table.filter(pa.array(good))


def _note_tokens(joined: Joined, known: frozenset[int]) -> None:
    """Note key frames whose token cannot name a file."""
    for row, token in enumerate(joined.tokens):
        if row not in known and not is_plain_name(token):
            joined.faults.add(row, Fault("impossible token", f"key frame {token!r} cannot name a file"))


def _note_scenes(joined: Joined) -> None:
    """Note scenes of one name that both have key frames: a split cannot tell them apart."""
    names = Counter(joined.scenes[number] for number in np.unique(joined.scene))
    for name, count in names.items():
        if count > 1:
            joined.faults.add(-1, Fault("duplicate record", f"{count} scenes have the name {name!r}"))


def _note_images(joined: Joined, cameras: pa.Table, record: str, known: frozenset[int]) -> None:
    """Note images without usable poses or intrinsics."""
    poses = {name: is_pose(matrix(cameras[name])) for name in ("calibration", "ego_pose")}
    wrong = [(~usable, "impossible pose", name) for name, usable in poses.items()]
    usable = is_pinhole(matrix(cameras["intrinsics"]).reshape(-1, 3, 3))
    row = cameras["row"].to_numpy()
    for bad, kind, name in (*wrong, (~usable, "singular intrinsics", "intrinsics")):
        fault = _fault_of_shot(record, kind, name)
        for at, shot in _unknown(cameras, bad, row, known):
            joined.faults.add_image(at, shot["channel"], fault(shot))


def _note_sweeps(joined: Joined, sweeps: pa.Table, record: str, known: frozenset[int]) -> Bool[ndarray, " n"]:
    """Note sweeps without usable poses, and return which have them.

    Only a key frame's own sweep makes it unreadable.
    """
    row = np.where(sweeps["is_key"].to_numpy(), sweeps["row"].to_numpy(), -1)
    good = np.ones(len(row), dtype=bool)
    for name in ("calibration", "ego_pose"):
        usable = is_pose(matrix(sweeps[name]))
        _note(joined, sweeps, ~usable, row, known, _fault_of_shot(record, "impossible pose", name))
        good &= usable
    return good


def _note_boxes(joined: Joined, boxes: pa.Table, known: frozenset[int]) -> Bool[ndarray, " n"]:
    """Note boxes without a usable pose or size, and return which have them; the others are left out."""
    size_m = matrix(boxes["size_m"])
    good = is_pose(matrix(boxes["pose"])) & is_box_size(size_m)

    def fault(box: dict[str, object]) -> Fault:
        """Return what is wrong with a box."""
        got = f"pose {box['pose']} and size_m {box['size_m']}"
        return Fault(LEFT_OUT, f"box {box['token']} is not a box: {got}")

    _note(joined, boxes, ~good, np.full(len(boxes), -1), known, fault)
    return good


def _fault_of_shot(record: str, kind: str, column: str) -> Callable[[dict[str, object]], Fault]:
    """Return what makes a fault of an image or a sweep."""

    def fault(shot: dict[str, object]) -> Fault:
        """Return what is wrong with a column of one image or sweep."""
        what = f"{record} {shot['token']} ({shot['path']}) has a {column} that cannot be used"
        return Fault(kind, f"{what}: {shot[column]}")

    return fault


def _note(
    joined: Joined,
    table: pa.Table,
    bad: Bool[ndarray, " n"],
    row: ndarray,
    known: frozenset[int],
    fault: Callable[[dict[str, object]], Fault],
) -> None:
    """Note what is wrong with the bad records of a table, unless their key frame is known to be broken."""
    for at, shot in _unknown(table, bad, row, known):
        joined.faults.add(at, fault(shot))


def _unknown(
    table: pa.Table, bad: Bool[ndarray, " n"], row: ndarray, known: frozenset[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Return the bad records of a table and their key frames, without those known to be broken."""
    chosen = np.flatnonzero(bad & ~np.isin(row, list(known)))
    return zip(row[chosen].tolist(), table.take(pa.array(chosen)).to_pylist(), strict=True)

"""Join the logs of an Argoverse 2 sensor set to the neutral tables of `occfeat.data.source.tables`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.formats.argoverse2.folders import TABLES, Log
from occfeat.data.formats.argoverse2.log import BOXES_OF_LOG, CHANNELS, LogFaults, read_log
from occfeat.data.source.faults import Faults
from occfeat.data.source.tables import CAMERAS, SWEEPS, TRACK, Joined


def join(
    root: Path, logs: Sequence[Log], on_bytes: Callable[[int], object], hashes: dict[str, str]
) -> Joined:
    """Read all logs and put them one after another.

    Args:
        root: The data folder.
        logs: Its logs, in order.
        on_bytes: Called with the size of the tables of each log.
        hashes: Hash of each file.
    """
    parts = []
    for log in logs:
        parts.append(read_log(root, log))
        on_bytes(_size_of(root / log.path))
    counts = np.array([len(part.tokens) for part in parts], dtype=np.int64)
    first = counts.cumsum() - counts
    cameras, channels = _only_used(_stack([part.cameras for part in parts], first, CAMERAS))
    faults = Faults()
    for part, row in zip(parts, first, strict=True):
        _note(part.faults, range(int(row), int(row) + len(part.tokens)), channels, faults)
    boxes = _stack([part.boxes for part in parts], first, BOXES_OF_LOG)
    category = boxes["category"].combine_chunks().dictionary_encode()
    at = boxes.column_names.index("category")
    track = boxes["token"].combine_chunks().dictionary_encode().indices.cast(TRACK.type)
    return Joined(
        tokens=[token for part in parts for token in part.tokens],
        timestamp_us=_concatenated([part.timestamp_us for part in parts]),
        scene=np.repeat(np.arange(len(logs)), counts),
        scenes=tuple(log.name for log in logs),
        places=tuple(part.place for part in parts),
        channels=channels,
        cameras=cameras,
        sweeps=_stack([part.sweeps for part in parts], first, SWEEPS),
        boxes=boxes.set_column(at, "category", category.indices.cast(pa.int16())).append_column(TRACK, track),
        categories=tuple(category.dictionary.to_pylist()),
        hashes=hashes,
        faults=faults,
    )


def _concatenated(parts: list[Int64[ndarray, " _"]]) -> Int64[ndarray, " n"]:
    """Return whole numbers one after another."""
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _stack(tables: list[pa.Table], first: Int64[ndarray, " logs"], schema: pa.Schema) -> pa.Table:
    """Return the tables of all logs as one, whose rows count from the first key frame of the first log."""
    offset = np.repeat(first, [len(table) for table in tables])
    stacked = pa.concat_tables([schema.empty_table(), *tables])
    row = stacked["row"].to_numpy() + offset
    return stacked.set_column(stacked.column_names.index("row"), "row", pa.array(row))


def _only_used(cameras: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """Return the images with their cameras numbered anew, and the names of the cameras that have images."""
    used, channel = np.unique(cameras["channel"].to_numpy(), return_inverse=True)
    at = cameras.column_names.index("channel")
    numbered = cameras.set_column(at, "channel", pa.array(channel.astype(np.int16)))
    return numbered, tuple(CHANNELS[number] for number in used)


def _note(found: LogFaults, rows: range, channels: tuple[str, ...], faults: Faults) -> None:
    """Add the faults of a log to those of the set."""
    for fault in found.of_all:
        for row in rows or (-1,):  # a log without key frames is only reported
            faults.add(row, fault)
    for number, fault in found.of_row:
        faults.add(rows[number], fault)
    for number, channel, fault in found.of_image:
        faults.add_image(rows[number], channels.index(CHANNELS[channel]), fault)
    for fault in found.loose:
        faults.add(-1, fault)


def _size_of(folder: Path) -> int:
    """Return the size of the tables of a log in bytes."""
    paths = [folder / name for name in TABLES]
    return sum(path.stat().st_size for path in paths if path.is_file())

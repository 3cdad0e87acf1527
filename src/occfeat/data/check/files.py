"""The files that key frames need: their list, their presence, their content."""

import sys
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Int, Int64
from numpy import ndarray

from occfeat.data.check.findings import Findings
from occfeat.data.check.listing import Listing
from occfeat.data.images import check_size, ends_properly, read_image, read_size, require_whole
from occfeat.data.index.index import Index
from occfeat.data.source.source import DataSource
from occfeat.errors import KeyFrameError
from occfeat.machine.processor import usable_cores

BLOCK = 4000
"""Largest number of queued files. Each takes 2 kB, and a data set has hundreds of thousands."""


@dataclass(frozen=True, slots=True)
class KeyFrameFile:
    """A file of a key frame."""

    row: int
    """Key frame."""
    path: str
    """Name relative to the data folder."""
    token: str
    """Token of its record."""
    size: tuple[int, int] | None = None
    """(height, width) in pixels of an image; None for a LiDAR file."""
    lidar: str = ""
    """Name of the LiDAR, if the data set has several."""
    fault: tuple[str, str] = ("", "")
    """Kind and message of what makes its record unusable; empty if nothing does."""

    @property
    def kind(self) -> str:
        """Kind of content, for messages."""
        return "LiDAR file" if self.size is None else "image"

    def describe(self, record: str, what: str = "") -> str:
        """Return file, token and problem.

        Args:
            record: What the token names, see `DataSource.record`.
            what: Details, if the kind of problem is not enough.
        """
        return f"{self.path} ({record} {self.token})" + (f": {what}" if what else "")


def image_files(
    index: Index, rows: Int64[ndarray, " n"], channels: Collection[str]
) -> Iterator[KeyFrameFile]:
    """Return the images of some cameras of some key frames."""
    lists = index.column("cameras")
    offsets, entries = lists.offsets.to_numpy(), lists.values
    count = offsets[rows + 1] - offsets[rows]
    indices = _ranges(offsets[rows], count)
    wanted = np.isin(index.channels, list(channels))[entries.field("channel").to_numpy()[indices]]
    names = ("path", "token", "height", "width", "fault_kind", "fault")
    columns = [entries.field(name).take(pa.array(indices[wanted])).to_pylist() for name in names]
    for row, path, token, height, width, *fault in zip(np.repeat(rows, count)[wanted], *columns, strict=True):
        yield KeyFrameFile(int(row), path, token, (height, width), fault=(fault[0], fault[1]))


def lidar_files(
    index: Index, rows: Int64[ndarray, " n"], sweeps: int = 1, lidars: Collection[str] = ()
) -> Iterator[KeyFrameFile]:
    """Return the files of some LiDARs (all if empty) of key frames: their own sweeps and earlier ones.

    A LiDAR without a sweep of a key frame has no files there.
    """
    lists = index.column("sweeps")
    lidar = lists.values.field("lidar").to_numpy()
    for number, name in enumerate(index.lidars):
        if lidars and name not in lidars:
            continue
        entries = np.flatnonzero(lidar == number)
        offsets = np.searchsorted(entries, lists.offsets.to_numpy())  # of this LiDAR alone
        own = rows[with_lidar(index, rows, (name,))]
        end = offsets[own + 1]
        begin = np.maximum(end - sweeps, offsets[index.first_of_scene(own)])
        taken = pa.array(entries[_ranges(begin, end - begin)])
        columns = [lists.values.field(field).take(taken).to_pylist() for field in ("path", "token")]
        for row, path, token in zip(np.repeat(own, end - begin), *columns, strict=True):
            yield KeyFrameFile(int(row), path, token, lidar=name if len(index.lidars) > 1 else "")


def _ranges(first: Int[ndarray, " n"], count: Int[ndarray, " n"]) -> Int[ndarray, " total"]:
    """Return the concatenated ranges from `first` to `first + count - 1`."""
    before = count.cumsum() - count
    indices: ndarray = np.repeat(first - before, count) + np.arange(count.sum())
    return indices


def with_lidar(index: Index, rows: Int64[ndarray, " n"], lidars: Collection[str] = ()) -> Bool[ndarray, " n"]:
    """Return a mask of the key frames that have a record of one of some LiDARs, of any if empty."""
    lists = index.column("sweeps")
    is_own: ndarray = lists.values.field("is_key").to_numpy(zero_copy_only=False)
    if lidars:
        chosen = [number for number, name in enumerate(index.lidars) if name in lidars]
        is_own = is_own & np.isin(lists.values.field("lidar").to_numpy(), chosen)
    before = np.concatenate(((0,), is_own.cumsum()))[lists.offsets.to_numpy()]
    has_lidar: ndarray = before[rows + 1] > before[rows]
    return has_lidar


def check_presence(
    source: DataSource, files: Iterator[KeyFrameFile], findings: Findings
) -> list[KeyFrameFile]:
    """Add files that are missing, empty, of an impossible size, outside the data folder or not usable.

    Returns:
        The others.
    """
    listing, record, present = Listing(source.root), source.record, []
    for file in files:
        listed = listing.look_up(file.path)
        if file.fault[0]:
            _add(findings, file, *file.fault)
        if listed.leaves_root:
            _add(findings, file, "file outside the data folder", file.describe(record))
        elif listed.size < 0:
            _add(findings, file, f"missing {file.kind}", file.describe(record))
        elif fault := _size_fault(source, file, listed.size):
            _add(findings, file, f"damaged {file.kind}", file.describe(record, fault.message), fault.hint)
        else:
            present.append(file)
    return present


def _add(findings: Findings, file: KeyFrameFile, kind: str, example: str, hint: str = "") -> None:
    """Add a problem of a file: an image costs itself, a LiDAR file its key frame."""
    if file.size is not None:
        findings.add_image(kind, example, file.row, file.path)
    else:
        findings.add(kind, example, row=file.row, lidar=file.lidar, hint=hint)


def check_content(
    source: DataSource, files: list[KeyFrameFile], decoded_rows: Collection[int], findings: Findings
) -> None:
    """Check header and end of every image, and decode all files of some key frames."""
    from rich.console import Console
    from rich.progress import track

    real_root, console = source.root.resolve(), Console(file=sys.stderr)
    left_out: list[int] = []

    def look(file: KeyFrameFile) -> tuple[str, KeyFrameError] | None:
        """Return a file and the problem of its content."""
        return _content_fault(source, real_root / file.path, file, left_out, decode=file.row in decoded_rows)

    with ThreadPoolExecutor(2 * usable_cores()) as pool:
        blocks = (files[start : start + BLOCK] for start in range(0, len(files), BLOCK))
        looked = chain.from_iterable(pool.map(look, block) for block in blocks)
        hidden = not console.is_terminal
        for file, fault in zip(
            track(files, "reading files", console=console, transient=True, disable=hidden),
            looked,
            strict=True,
        ):
            if fault is not None:
                kind, error = fault
                _add(findings, file, kind, file.describe(source.record, error.message), error.hint)
    if sum(left_out):
        what = "returns of {} of the {} LiDAR files that were decoded are not finite and left out"
        findings.notes.append(f"{sum(left_out)} {what.format(sum(map(bool, left_out)), len(left_out))}.")


def _size_fault(source: DataSource, file: KeyFrameFile, size: int) -> KeyFrameError | None:
    """Return the problem of a file's size in bytes, if any."""
    if file.size is not None:
        return KeyFrameError("the file is empty") if size == 0 else None
    try:
        source.check_bytes(Path(file.path), size)
    except KeyFrameError as error:
        return error
    return None


def _content_fault(
    source: DataSource, path: Path, file: KeyFrameFile, left_out: list[int], *, decode: bool
) -> tuple[str, KeyFrameError] | None:
    """Return kind and error of the problem of a file's content; append the returns it leaves out."""
    kind = f"damaged {file.kind}"
    try:
        if file.size is None:
            if decode:
                left_out.append(source.read_sweep(path).left_out)
            return None
        size = read_size(path)
        kind = "image of another size"
        check_size(path, size, None if file.fault[0] else file.size)
        kind = f"damaged {file.kind}"
        if decode or not ends_properly(path):
            read_image(path)
        if decode:
            require_whole(path)
    except KeyFrameError as error:
        return kind, error
    except OSError as error:
        return kind, KeyFrameError(str(error))
    return None

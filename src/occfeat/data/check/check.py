"""Finds everything that is wrong with a data folder at once, before hours of training do.

Tables, tokens, calibration, names, presence and size of every file, and the head and end of every image are
always looked at. Decoding all files takes as long as reading the whole set, so without being asked for it is
done for a few key frames, evenly spread.
"""

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.check.files import (
    KeyFrameFile,
    check_content,
    check_presence,
    image_files,
    lidar_files,
    with_lidar,
)
from occfeat.data.check.findings import Findings, Problem
from occfeat.data.index.index import Index
from occfeat.data.index.index_file import find_version
from occfeat.data.maps.maps import without_expansion
from occfeat.data.nuscenes.json_tables import read_table
from occfeat.data.nuscenes.splits import ALL
from occfeat.data.nuscenes.tables import NEEDED_TABLES, OTHER_TABLES
from occfeat.data.subsets import spread
from occfeat.errors import DatasetError
from occfeat.settings.sections import DataConfig, ViewConfig

_log = logging.getLogger(__name__)

DECODED_KEY_FRAMES = 32
"""Key frames whose files are decoded even if not asked for."""

Sensor = Literal["cameras", "lidar"]
BOTH: frozenset[Sensor] = frozenset({"cameras", "lidar"})


@dataclass(frozen=True)
class Report:
    """What a check found."""

    root: Path
    version: str
    split: str
    key_frames: int
    """Key frames that were checked."""
    complete: int
    """Key frames with nothing wrong."""
    decoded: int
    """Key frames whose files were decoded in full."""
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    """Worth knowing, but nothing wrong."""

    def text(self) -> str:
        """The report for people to read."""
        lines = [
            f"{self.root} ({self.version}): {self.complete} of {self.key_frames} key frames of "
            f"{self.split} are complete; files of {self.decoded} decoded in full."
        ]
        for problem in self.problems:
            lines.append(f"{problem.count} x {problem.kind}")
            lines += [f"  {example}" for example in problem.first]
            lines += [f"  ... and {more} more"] if (more := problem.count - len(problem.first)) > 0 else []
            lines += [f"  Hint: {problem.hint}"] if problem.hint else []
        lines += [f"Note: {note}" for note in self.notes]
        return "\n".join(lines if self.problems else [*lines, "Nothing is wrong."])


def check(
    data: DataConfig, split: str = ALL, *, decode: bool = False, needs: Collection[Sensor] = BOTH
) -> Report:
    """Check the key frames of a split; never stops at the first problem.

    Args:
        data: The data folder.
        split: A split of the set, or `all`.
        decode: Read and decode every file.
        needs: Kinds of files that must be there.

    Raises:
        DatasetError: There is no data folder or no tables at all.
        SettingsError: There is no such split.
    """
    root = data.root
    version = find_version(root, data.version)
    findings = Findings()
    _check_extra_tables(root / version, findings)
    try:
        index = Index.open(data)
    except DatasetError as error:
        _check_needed_tables(root / version, findings, error)
        return Report(root, version, split, 0, 0, 0, findings.problems(root, version))
    if len(index) == 0:
        findings.add("no key frames", f"{version}/sample.json lists none")
    rows = index.rows(split) if len(index) else np.zeros(0, dtype=np.int64)
    for kind, count, examples in index.metadata.loose_faults:
        findings.add_many(kind, count, examples)
    if not with_lidar(index, rows).any():  # a set without LiDAR is a set of its own kind, see the notes
        needs = frozenset(needs) - {"lidar"}
    present = _check_key_frames(index, rows, findings, ViewConfig(), needs)
    decoded = set((rows if decode else spread(rows, DECODED_KEY_FRAMES)).tolist())
    check_content(root, present, decoded, findings)
    complete = len(rows) - len(findings.broken_rows)
    problems, notes = findings.problems(root, version), _notes(index, rows)
    return Report(root, version, split, len(rows), complete, len(decoded), problems, notes)


def quick_check(
    index: Index, rows: Int64[ndarray, " n"], *, view: ViewConfig, needs_lidar: bool, allowed: int | None = 0
) -> None:
    """Make sure, in seconds, that the files a run needs are there.

    Args:
        index: The set.
        rows: Key frames of the run.
        view: Which cameras it uses.
        needs_lidar: Whether it reads the LiDAR.
        allowed: Key frames that may be broken, which is the user's to say; None: the command takes none.

    Raises:
        DatasetError: More are.
    """
    needs: frozenset[Sensor] = BOTH if needs_lidar else frozenset({"cameras"})
    findings = Findings()
    _check_key_frames(index, rows, findings, view, needs)
    if not findings.broken_rows:
        return
    problems = findings.problems(index.root, index.version)
    first = [f"{one.count} x {one.kind}, first: {one.first[0]}" for one in problems]
    message = f"{len(findings.broken_rows)} of {len(rows)} key frames in {index.root} cannot be used."
    if len(findings.broken_rows) > (allowed or 0):
        skip = "" if allowed is None else ", or skip them with `--engine.max-broken`"
        hint = f"{problems[0].hint} Run `occfeat check` for the whole list{skip}."
        raise DatasetError(message, first=first, hint=hint)
    _log.warning("%s", "\n  ".join((message, *first)))


def _check_key_frames(
    index: Index,
    rows: Int64[ndarray, " n"],
    findings: Findings,
    view: ViewConfig,
    needs: Collection[Sensor],
) -> list[KeyFrameFile]:
    """Note what the tables and the file system say against some key frames; files that are there."""
    offsets = index.column("faults").offsets.to_numpy()
    for row in rows[offsets[rows + 1] > offsets[rows]]:
        for kind, message in index.faults_of(int(row)):
            findings.add(kind, message, row=int(row))
    files: list[Iterator[KeyFrameFile]] = []
    if "cameras" in needs:
        files.append(image_files(index, rows, view.cameras or index.channels))
    if "lidar" in needs:
        files.append(lidar_files(index, rows, view.sweeps))
        for row in rows[~with_lidar(index, rows)]:
            findings.add("no LiDAR record", f"sample {index.token(row)}", row=int(row))
    return check_presence(index.root, chain(*files), findings)


def _check_extra_tables(folder: Path, findings: Findings) -> None:
    """Note tables that this package does not need but a complete set has."""
    for name in OTHER_TABLES:
        _check_table(folder / f"{name}.json", findings)


def _check_needed_tables(folder: Path, findings: Findings, error: DatasetError) -> None:
    """Note every needed table that is missing or not JSON; if there is none, what else went wrong."""
    before = findings.counts.total()
    for name in NEEDED_TABLES:
        _check_table(folder / f"{name}.json", findings)
    if findings.counts.total() == before:
        findings.add("unreadable table", " ".join((error.message, *error.first)))


def _check_table(path: Path, findings: Findings) -> None:
    try:
        for _ in read_table(path):
            pass
    except DatasetError as error:
        findings.add("unreadable table" if path.is_file() else "missing table", error.message)


def _notes(index: Index, rows: Int64[ndarray, " n"]) -> tuple[str, ...]:
    notes = []
    if len(rows) and not with_lidar(index, rows).any():
        notes.append("No key frame has a LiDAR record: fine-tuning is possible, pretraining is not.")
    offsets = index.column("cameras").offsets.to_numpy()
    fewer = int((offsets[rows + 1] - offsets[rows] < len(index.channels)).sum())
    if fewer:
        notes.append(f"{fewer} key frames lack records of some of the {len(index.channels)} cameras.")
    if mapless := without_expansion(index, rows):
        places = ", ".join(mapless)
        notes.append(f"No map expansion of {places}: of the map, only drivable_area can be segmented there.")
    return tuple(notes)

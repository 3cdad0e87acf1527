"""Find everything that is wrong with a data folder at once, before hours of training do.

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
from occfeat.data.source.source import DataSource
from occfeat.data.source.splits import ALL
from occfeat.data.sources import find_source
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
    title: str
    """Version of the data set, or the name of its format."""
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
        """Return the report for people to read."""
        lines = [
            f"{self.root} ({self.title}): {self.complete} of {self.key_frames} key frames of "
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
    source = find_source(data.root, data.version)
    findings = Findings()
    for kind, example in source.problems():
        findings.add(kind, example)
    try:
        index = Index.open(data)
    except DatasetError as error:
        _add_index_problems(source, findings, error)
        return Report(source.root, source.title, split, 0, 0, 0, findings.problems(source))
    if len(index) == 0:
        findings.add("no key frames", f"{source.token_file.relative_to(source.root)} lists none")
    rows = index.rows(split) if len(index) else np.zeros(0, dtype=np.int64)
    for kind, count, examples in index.metadata.loose_faults:
        findings.add_many(kind, count, examples)
    if not with_lidar(index, rows).any():  # a set without LiDAR is a set of its own kind, see the notes
        needs = frozenset(needs) - {"lidar"}
    present = _check_key_frames(index, rows, findings, ViewConfig(), needs)
    decoded = set((rows if decode else spread(rows, DECODED_KEY_FRAMES)).tolist())
    check_content(source, present, decoded, findings)
    complete = len(rows) - len(findings.broken_rows)
    problems, notes = findings.problems(source), _notes(index, rows)
    return Report(source.root, source.title, split, len(rows), complete, len(decoded), problems, notes)


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
    problems = findings.problems(index.source)
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
    return check_presence(index.source, chain(*files), findings)


def _add_index_problems(source: DataSource, findings: Findings, error: DatasetError) -> None:
    """Note what is wrong with the files that the index needs; if nothing is, the error itself."""
    before = findings.counts.total()
    for kind, example in source.index_problems():
        findings.add(kind, example)
    if findings.counts.total() == before:
        findings.add("unreadable table", " ".join((error.message, *error.first)))


def _notes(index: Index, rows: Int64[ndarray, " n"]) -> tuple[str, ...]:
    """Return what is worth knowing about some key frames, but not wrong."""
    notes = []
    if len(rows) and not with_lidar(index, rows).any():
        notes.append("No key frame has a LiDAR record: fine-tuning is possible, pretraining is not.")
    offsets = index.column("cameras").offsets.to_numpy()
    fewer = int((offsets[rows + 1] - offsets[rows] < len(index.channels)).sum())
    if fewer:
        notes.append(f"{fewer} key frames have no record of some of the {len(index.channels)} cameras.")
    return (*notes, *index.source.notes(index.places(rows)))

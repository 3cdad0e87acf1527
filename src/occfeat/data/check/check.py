"""Find all problems of a data folder at once, before training starts.

Tables, tokens, calibration, the name, presence and size of every file, and the header and end of every image
are always checked. Decoding all files takes as long as reading the whole data set. By default, only the files
of a few evenly spread key frames are decoded.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.check.alignment.swapped import look_at_images_of_others
from occfeat.data.check.calibration.look import CALIBRATION, look_at_calibration
from occfeat.data.check.categories import check_categories
from occfeat.data.check.files import (
    KeyFrameFile,
    check_content,
    check_presence,
    image_files,
    lidar_files,
    with_lidar,
)
from occfeat.data.check.findings import Findings, Problem
from occfeat.data.check.lenses import lens_notes
from occfeat.data.check.pixels import IMAGES, look_at_images
from occfeat.data.check.whole import add_whole_set, notes_on_splits
from occfeat.data.formats.sources import find_source
from occfeat.data.index.index import Index
from occfeat.data.index.subsets import spread
from occfeat.data.source.source import DataSource
from occfeat.data.source.splits import ALL
from occfeat.errors import DatasetError, UnusableSetError
from occfeat.settings.sections import DataConfig, EngineConfig, ViewConfig

_log = logging.getLogger(__name__)

DECODED_KEY_FRAMES = 32
"""Number of key frames whose files are decoded by default."""

Sensor = Literal["cameras", "lidar"]
BOTH: frozenset[Sensor] = frozenset({"cameras", "lidar"})


@dataclass(frozen=True)
class Report:
    """The result of a check."""

    root: Path
    title: str
    """Version of the data set, or name of its format."""
    split: str
    key_frames: int
    """Number of key frames that were checked."""
    complete: int
    """Number of key frames without a problem."""
    decoded: int
    """Number of key frames whose files were fully decoded."""
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    """Facts worth knowing that are not problems."""

    def text(self) -> str:
        """Return the report as text."""
        lines = [
            f"{self.root} ({self.title}): {self.complete} of {self.key_frames} key frames of "
            f"{self.split} are complete; files of {self.decoded} were fully decoded."
        ]
        for problem in self.problems:
            lines.append(f"{problem.count} x {problem.kind}")
            lines += [f"  {example}" for example in problem.first]
            lines += [f"  ... and {more} more"] if (more := problem.count - len(problem.first)) > 0 else []
            lines += [f"  Hint: {problem.hint}"] if problem.hint else []
        lines += [f"Note: {note}" for note in self.notes]
        return "\n".join(lines if self.problems else [*lines, "No problems found."])


def check(
    data: DataConfig, split: str = ALL, *, decode: bool = False, needs: Collection[Sensor] = BOTH
) -> Report:
    """Check the key frames of a split. Problems are collected, not raised.

    Args:
        data: The data folder.
        split: A split of the set, or `all`.
        decode: Whether to decode every file.
        needs: Kinds of files that must be present.

    Raises:
        DatasetError: The data folder or its tables do not exist.
        SettingsError: The split does not exist.
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
    add_whole_set(index, findings)
    if not with_lidar(index, rows).any():  # a data set without LiDAR is reported in the notes
        needs = frozenset(needs) - {"lidar"}
    present = _check_key_frames(index, rows, findings, ViewConfig(), needs)
    decoded = set((rows if decode else spread(rows, DECODED_KEY_FRAMES)).tolist())
    check_content(source, present, decoded, findings)
    _break_without_images(index, findings, index.default_channels)
    spoilt = findings.broken_rows | findings.incomplete_rows
    whole = rows[~np.isin(rows, list(spoilt))]
    lidars = () if "lidar" in needs else None
    _look(index, whole, index.default_channels, lidars, findings)
    complete = len(rows) - len(spoilt)
    if findings.incomplete_rows:
        findings.notes.append(f"{len(findings.incomplete_rows)} key frames are used without some camera.")
    notes = (*_notes(index, rows), *findings.notes, *check_categories(index, rows, findings))
    problems = findings.problems(source)
    return Report(source.root, source.title, split, len(rows), complete, len(decoded), problems, notes)


def quick_check(
    index: Index,
    rows: Int64[ndarray, " n"],
    *,
    view: ViewConfig,
    needs_lidar: bool,
    engine: EngineConfig | None = None,
) -> None:
    """Check within seconds that the files a run needs are present.

    Args:
        index: The index of the data set.
        rows: Key frames of the run.
        view: The cameras it uses.
        needs_lidar: Whether it reads the LiDAR.
        engine: How many key frames may be broken or lack images. None: the command has no such settings. None
        may be broken, and all may lack some images.

    Raises:
        DatasetError: More are, or do.
        SettingsError: A LiDAR does not exist.
    """
    if not index.channels:
        hint = "OccFeat learns from images: add cameras to its tables, or give another data set."
        raise DatasetError(f"{index.root} has no cameras.", hint=hint)
    needs: frozenset[Sensor] = BOTH if needs_lidar else frozenset({"cameras"})
    findings = Findings()
    _check_key_frames(index, rows, findings, view, needs)
    _break_without_images(index, findings, view.cameras or index.default_channels)
    limits = engine or EngineConfig(max_incomplete=1.0)
    for found, allowed, what, setting in (
        (findings.broken_rows, limits.max_broken, "cannot be used", "max-broken"),
        (findings.incomplete_rows, limits.allowed_incomplete(len(rows)), "lack a camera", "max-incomplete"),
    ):
        if not found:
            continue
        problems = findings.problems(index.source)
        first = _firsts(problems)
        message = f"{len(found)} of {len(rows)} key frames in {index.root} {what}."
        if len(found) > allowed:
            more = f", or allow more with `--engine.{setting}`" if engine else ""
            hint = f"{problems[0].hint} Run `occfeat check` for the full list{more}."
            raise DatasetError(message, first=first, hint=hint)
        _log.warning("%s", "\n  ".join((message, *first)))


def _break_without_images(index: Index, findings: Findings, channels: Sequence[str]) -> None:
    """Count key frames of which all images of some cameras are lost as broken."""
    lost = np.array(sorted(findings.lost_images), dtype=np.int64)
    images = Counter(file.row for file in image_files(index, lost, channels))
    findings.broken_rows |= {row for row, count in images.items() if len(findings.lost_images[row]) >= count}


def require_plausible(
    index: Index, rows: Int64[ndarray, " n"], *, view: ViewConfig, needs_lidar: bool
) -> None:
    """Look within seconds for calibration, poses, boxes and images that cannot be.

    Args:
        index: The index of the data set.
        rows: Key frames of the run.
        view: The cameras and LiDARs it uses.
        needs_lidar: Whether it reads the LiDAR.

    Raises:
        DatasetError: There are some.
    """
    findings = Findings()
    channels, lidars = view.cameras or index.default_channels, view.lidars if needs_lidar else None
    _look(index, rows, channels, lidars, findings)
    if problems := findings.problems(index.source):
        first = [example for one in problems for example in one.first]
        hint = f"{problems[0].hint} If all is right, set `--engine.implausible warn`."
        raise DatasetError(f"{index.root} cannot be what it says:", first=first, hint=hint)


def _look(
    index: Index,
    rows: Int64[ndarray, " n"],
    channels: Collection[str],
    lidars: Collection[str] | None,
    findings: Findings,
) -> None:
    """Add calibration, poses, boxes and images that cannot be."""
    for kind, example in look_at_calibration(index, rows, channels, lidars=lidars):
        findings.add(kind, example)
    said = {kind for kind, _ in findings.counts}
    for kind, example in look_at_images(index, rows, channels):
        if kind not in said:  # poses are already known to be wrong
            findings.add(kind, example)
    if lidars is not None and not {CALIBRATION, IMAGES} & {kind for kind, _ in findings.counts}:
        for fault in look_at_images_of_others(index, rows, channels, lidars):
            findings.add(IMAGES, fault)


def warn_of_set(index: Index) -> None:
    """Log the problems of a whole data set, which do not stop a run."""
    findings = Findings()
    add_whole_set(index, findings)
    if problems := findings.problems(index.source):
        hint = "Run `occfeat check` for the full list."
        _log.warning("%s", "\n  ".join((f"{index.root} has problems. {hint}", *_firsts(problems))))


def _firsts(problems: Sequence[Problem]) -> list[str]:
    """Return a line for each kind of problem, with its first example."""
    return [f"{one.count} x {one.kind}, first: {one.first[0]}" for one in problems]


def _check_key_frames(
    index: Index,
    rows: Int64[ndarray, " n"],
    findings: Findings,
    view: ViewConfig,
    needs: Collection[Sensor],
) -> list[KeyFrameFile]:
    """Add the problems of tables and files of some key frames; return the files that are present."""
    offsets = index.column("faults").offsets.to_numpy()
    for row in rows[offsets[rows + 1] > offsets[rows]]:
        for kind, message in index.faults_of(int(row)):
            findings.add(kind, message, row=int(row))
    files: list[Iterator[KeyFrameFile]] = []
    if "cameras" in needs:
        files.append(image_files(index, rows, view.cameras or index.default_channels))
    if "lidar" in needs:
        index.require_lidars(view.lidars)
        files.append(lidar_files(index, rows, view.sweeps, view.lidars))
        for row in rows[~with_lidar(index, rows, view.lidars)]:
            findings.add("no LiDAR record", f"key frame {index.token(row)}", row=int(row))
    return check_presence(index.source, chain(*files), findings)


def _add_index_problems(source: DataSource, findings: Findings, error: DatasetError) -> None:
    """Add the problems of the files that the index needs; if there are none, add the error itself."""
    before = findings.counts.total()
    for kind, example in source.index_problems():
        findings.add(kind, example)
    if findings.counts.total() == before:
        kind = "unusable data set" if isinstance(error, UnusableSetError) else "unreadable table"
        findings.add(kind, " ".join((error.message, *error.first)), hint=error.hint)


def _notes(index: Index, rows: Int64[ndarray, " n"]) -> tuple[str, ...]:
    """Return facts about some key frames that are worth knowing but not problems."""
    notes = []
    cameras = index.default_channels
    if len(rows) and not cameras:
        notes.append("There are no cameras: training is not possible.")
    elif len(rows) and not with_lidar(index, rows).any():
        notes.append("No key frame has a LiDAR record: fine-tuning is possible, pretraining is not.")
    found = Counter(file.row for file in image_files(index, rows, cameras))
    if fewer := sum(found[row] < len(cameras) for row in rows.tolist()):
        notes.append(f"{fewer} key frames have no record of some of the {len(cameras)} cameras.")
    if len(index.lidars) > 1:
        notes += _notes_on_lidars(index, rows)
    notes += lens_notes(index, rows)
    if index.taxonomy.has_visibility and (unknown := index.count_unknown_visibility(rows)):
        notes.append(f"{unknown} boxes have no known visibility: `/visible` counts them.")
    if lost := int((~index.has_poses(rows)).sum()):
        what = "sweeps cannot be joined, and ego motion between LiDAR and cameras is not counted"
        notes.append(f"The ego poses of {lost} key frames are not known: {what}.")
    if len(rows):
        notes += notes_on_splits(index)
    return (*notes, *index.source.notes(index.places(rows)))


def _notes_on_lidars(index: Index, rows: Int64[ndarray, " n"]) -> list[str]:
    """Return the LiDARs of a data set with several, and how many key frames lack each."""
    missing = {name: int((~with_lidar(index, rows, (name,))).sum()) for name in index.lidars}
    notes = [f"The LiDARs are {', '.join(index.lidars)}; the first gives key frames their time and pose."]
    return notes + [
        f"{count} key frames have no record of {name}." for name, count in missing.items() if count
    ]

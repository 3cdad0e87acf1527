"""Estimate by how much each camera is off the LiDAR: a rotation and a shift in time, with their spread.

All key frames of a camera are taken to have the same errors. What is reported as a problem, and what cannot
be told, is in `judge`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt8
from numpy import ndarray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from occfeat.data.check.alignment.match import Match, Shot
from occfeat.data.check.alignment.search import Fit, Scorer, fit
from occfeat.data.check.alignment.shots import Scan, groups_of, read_grey, read_scan, shot_of
from occfeat.data.index.index import Index
from occfeat.data.index.subsets import spread
from occfeat.errors import KeyFrameError

LOOKED_AT = 48
"""Largest number of key frames that are read."""
FEWEST_KEY_FRAMES, FEWEST_EDGES = 6, 400
"""Smallest number of key frames and of depth edges in the images of a camera that tell its errors."""
MOVING = (1.0, 0.05)
"""Speed in m/s, or rate of turn in radians per second, from which on a car moves."""
SHOWN = ((-3.0, 3.0), (-3.0, 3.0), (-3.0, 3.0), (-0.1, 0.1))
"""Range of each curve, in degrees and seconds."""
CURVE_POINTS, CURVE_LEVEL = 31, 1
STILL, FEW_KEY_FRAMES, FEW_EDGES = "the car stands", "too few key frames", "too few edges"


@dataclass(frozen=True)
class Curve:
    """The score over one error, where the others are the estimated ones."""

    errors: Float64[ndarray, " _"]
    scores: Float64[ndarray, " _"]


@dataclass(frozen=True)
class Example:
    """The key frame in which a camera sees most depth edges."""

    grey: UInt8[ndarray, "H W"]
    given_px: Float[ndarray, "_ 2"]
    """Pixels (u, v) of the edges with the calibration as it is."""
    corrected_px: Float[ndarray, "_ 2"]
    """The same with the estimated errors taken away."""


@dataclass(frozen=True)
class Alignment:
    """What was found out about a camera."""

    channel: str
    key_frames: int
    """Number of key frames whose image and sweep were read."""
    edges: int
    """Number of depth edges in and beside these images."""
    fit: Fit | None = None
    """None: the errors cannot be told."""
    reason: str = ""
    """Why they cannot, or why a shift in time cannot."""
    curves: tuple[Curve, ...] = ()
    example: Example | None = None


@dataclass(frozen=True)
class _Seen:
    """The images of one camera."""

    shots: list[Shot]
    greys: list[ndarray]


def align(index: Index, rows: Int64[ndarray, " n"], channels: Collection[str]) -> tuple[Alignment, ...]:
    """Compare cameras with the LiDARs in some key frames. What cannot be read is left out.

    Args:
        index: The index of the data set.
        rows: Key frames, of which at most `LOOKED_AT` are read.
        channels: Cameras.

    Returns:
        A result per camera, in the order of the index; nothing if there is no LiDAR.
    """
    if not index.lidars or not len(rows):
        return ()
    rows = np.sort(spread(rows, LOOKED_AT))
    channels = [name for name in index.channels if name in channels]
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("LiDAR edges", total=len(rows))
        scans = [scan for row in progress.track(rows, task_id=task) if (scan := _read(index, int(row)))]
        if not scans:
            return ()
        task = progress.add_task("Cameras", total=len(channels))
        return tuple(_align_camera(index, scans, name) for name in progress.track(channels, task_id=task))


def _read(index: Index, row: int) -> Scan | None:
    """Return the scan of a key frame; None without a LiDAR that can be read."""
    try:
        return read_scan(index, row)
    except KeyFrameError:
        return None


def _align_camera(index: Index, scans: Sequence[Scan], channel: str) -> Alignment:
    """Estimate the errors of one camera."""
    seen = _look(index, scans, channel)
    if len(seen.shots) < FEWEST_KEY_FRAMES:
        return Alignment(channel, len(seen.shots), 0, reason=FEW_KEY_FRAMES)
    counts = [len(shot.visible_edges().weight) for shot in seen.shots]
    if sum(counts) < FEWEST_EDGES:
        return Alignment(channel, len(seen.shots), sum(counts), reason=FEW_EDGES)
    moving = sum(_moves(shot) for shot in seen.shots) >= FEWEST_KEY_FRAMES
    most = int(np.argmax(counts))
    shown, grey = seen.shots[most], seen.greys[most]
    scorer = Scorer([Match(group) for group in groups_of(seen.shots)])
    found = fit(scorer, with_time=moving)
    return Alignment(
        channel,
        len(seen.shots),
        sum(counts),
        found,
        "" if moving else STILL,
        _curves(scorer, found, 4 if moving else 3),
        Example(grey, *_pixels(shown, found)),
    )


def _look(index: Index, scans: Sequence[Scan], channel: str) -> _Seen:
    """Read the images of one camera."""
    seen = _Seen([], [])
    for scan in scans:
        for record in scan.key_frame.cameras:
            if record.channel != channel or not min(record.size):
                continue
            try:
                grey = read_grey(index, record)
            except KeyFrameError:
                continue
            seen.shots.append(shot_of(scan, record, grey))
            seen.greys.append(grey)
    return seen


def _moves(shot: Shot) -> bool:
    """Return whether a camera moves or turns."""
    speed_m_s, turn_rad_s = (float(np.linalg.norm(one)) for one in (shot.velocity_m_s, shot.turn_rad_s))
    return speed_m_s > MOVING[0] or turn_rad_s > MOVING[1]


def _curves(scorer: Scorer, found: Fit, count: int) -> tuple[Curve, ...]:
    """Return the score over each of the searched errors."""
    curves = []
    for axis, (low, high) in enumerate(SHOWN[:count]):
        values = np.linspace(low, high, CURVE_POINTS)
        errors = np.repeat(found.errors[None], CURVE_POINTS, axis=0)
        errors[:, axis] = values
        curves.append(Curve(values, np.array([scorer.score(one, CURVE_LEVEL) for one in errors])))
    return tuple(curves)


def _pixels(shot: Shot, found: Fit) -> list[ndarray]:
    """Return the pixels of the edges of an image, with the given calibration and with the corrected one."""
    match = Match([shot])
    pixels = []
    for errors in (np.zeros(4), found.errors):
        u, v, inside, _ = shot.optics.project(match.points_with(errors))
        pixels.append(np.stack((u[inside], v[inside]), axis=1))
    return pixels

"""Look at some key frames of a data set for calibration that cannot be.

Geometry alone is looked at in all key frames. The LiDAR is read in a few. Thresholds are far from what real
sets have, see the modules of this folder.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.check.calibration.boxes import (
    MIN_HOLD,
    MIN_HOLD_OF_SOME,
    are_long,
    count_returns,
    fault_of_heights,
    fault_of_places,
    fault_of_returns,
    fault_of_sizes,
    fault_of_turns,
    ground_around,
)
from occfeat.data.check.calibration.cameras import calibrations, fault_of, faults_of_copies, faults_of_order
from occfeat.data.check.calibration.motion import faults_of_motion
from occfeat.data.check.calibration.poses import faults_of_poses, faults_of_times
from occfeat.data.check.calibration.sweeps import fault_of_lidar, fault_of_view, seen_ahead
from occfeat.data.index.index import Index
from occfeat.data.index.subsets import spread
from occfeat.data.keyframe import Boxes, KeyFrame
from occfeat.data.sweeps.points import read_points
from occfeat.errors import KeyFrameError

LOOKED_AT = 8
"""Number of key frames whose LiDAR is read."""
OWN_RADIUS_M = 1.0
"""Returns nearer to their LiDAR hit the car itself."""

CALIBRATION, POSES, BOXES = "implausible calibration", "implausible poses", "implausible boxes"
TIMES = "implausible times"


@dataclass
class _Seen:
    """What is measured in key frames."""

    sweeps: dict[str, list[ndarray]] = field(default_factory=lambda: defaultdict(list))
    """Returns of each LiDAR in the ego frame, by key frame."""
    away_m: dict[str, float] = field(default_factory=dict)
    """Distance of each LiDAR from the origin of the car."""
    ahead: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Returns ahead of each camera and in its image, by key frame; see `seen_ahead`."""
    boxes: list[Boxes] = field(default_factory=list)
    """Boxes of key frames whose poses are known."""
    held: list[ndarray] = field(default_factory=list)
    """Returns of each box that counts some, as it is and turned, by key frame; see `count_returns`."""
    long: list[ndarray] = field(default_factory=list)
    """Whether each of these boxes has sides of different lengths."""
    ground: list[ndarray] = field(default_factory=list)
    """Height of the ground around each of these boxes; see `ground_around`."""


def look_at_calibration(
    index: Index, rows: Int64[ndarray, " n"], channels: Collection[str], *, lidars: Collection[str] | None
) -> Iterator[tuple[str, str]]:
    """Find calibration that cannot be, as kind and description with the name of the sensor.

    Args:
        index: The index of the data set.
        rows: Key frames.
        channels: Cameras that are used.
        lidars: LiDARs that are used, all if empty. None: LiDAR files are not read.
    """
    offsets = index.column("faults").offsets.to_numpy()
    rows = rows[offsets[rows + 1] == offsets[rows]]  # others are reported, and not used
    wrong = dict(_faults_of_cameras(index, rows, channels))
    yield from ((CALIBRATION, f"{name} {fault}") for name, fault in wrong.items())
    yield from ((TIMES, fault) for fault in faults_of_times(index, rows))
    poses = [(POSES, fault) for fault in faults_of_poses(index, rows)]
    yield from poses
    seen = _look(index, spread(rows, LOOKED_AT), set(channels) - wrong.keys(), lidars)
    vehicles = index.taxonomy.kinds.get("car", ())
    places = (fault_of_places(seen.boxes) or fault_of_sizes(seen.boxes, vehicles)) if not poses else ""
    if places:
        yield BOXES, places
    faults = [
        f"{name} {fault}"
        for name, sweeps in seen.sweeps.items()
        if (fault := fault_of_lidar(sweeps, seen.away_m[name]))
    ]
    yield from ((CALIBRATION, fault) for fault in faults)
    if faults or poses:  # what follows would only repeat it
        return
    for channel, counts in seen.ahead.items():
        if fault := fault_of_view(counts):
            yield CALIBRATION, f"{channel} {fault}"
    if lidars is not None and (motion := list(faults_of_motion(index, rows, tuple(lidars)))):
        yield from ((POSES, fault) for fault in motion)
    elif not places and seen.held:
        yield from (
            (BOXES, fault) for fault in _faults_of_boxes(seen, MIN_HOLD_OF_SOME if lidars else MIN_HOLD)
        )


def _faults_of_boxes(seen: _Seen, least: float) -> Iterator[str]:
    """Find what is implausible about where boxes are and how they are turned, beside the LiDAR.

    Args:
        seen: What was measured.
        least: Smallest share of boxes that must hold returns.
    """
    held, is_long, ground = (np.concatenate(one) for one in (seen.held, seen.long, seen.ground))
    faults = (
        fault_of_returns(held, least) or fault_of_turns(held[is_long]),
        fault_of_heights(ground[np.isfinite(ground)]),
    )
    yield from (fault for fault in faults if fault)


def _faults_of_cameras(
    index: Index, rows: Int64[ndarray, " n"], channels: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Find cameras that cannot be so, with what is implausible about them."""
    yaw_rad: dict[str, float] = {}
    wrong: set[str] = set()
    each = list(calibrations(index, rows, channels))
    for one in each:
        x, y = one.ego_from_camera[:2, 2].tolist()
        yaw_rad.setdefault(one.channel, math.atan2(y, x))
        if one.channel not in wrong and (fault := fault_of(one)):
            wrong.add(one.channel)
            yield one.channel, fault
    if not wrong:
        yield from (dict(faults_of_copies(each)) or dict(faults_of_order(yaw_rad))).items()


def _look(
    index: Index, rows: Int64[ndarray, " n"], channels: Collection[str], lidars: Collection[str] | None
) -> _Seen:
    """Measure key frames; those that cannot be read are reported elsewhere."""
    seen = _Seen()
    for row, has_poses in zip(rows, index.has_poses(rows), strict=True):
        try:
            key_frame = index.key_frame(int(row), lidars=tuple(lidars or ()))
            boxes = key_frame.boxes if has_poses else None
            if boxes is not None:
                seen.boxes.append(boxes)
            if lidars is not None and key_frame.sweeps:
                _measure(index, key_frame, boxes, channels, seen)
        except KeyFrameError:
            continue
    return seen


def _measure(
    index: Index, key_frame: KeyFrame, boxes: Boxes | None, channels: Collection[str], seen: _Seen
) -> None:
    """Measure the LiDAR of one key frame, and what cameras and boxes hold of it."""
    each = []
    for sweep in key_frame.sweeps:
        points = read_points(index.source, (sweep,), OWN_RADIUS_M).points_ego.double()
        each.append(points[points.isfinite().all(1)])
        seen.sweeps[sweep.lidar].append(each[-1].numpy())
        seen.away_m[sweep.lidar] = float(sweep.ego_from_lidar[:3, 3].norm())
    points_ego = torch.cat(each)
    for record in key_frame.cameras:
        if record.channel in channels and min(record.size):
            seen.ahead[record.channel].append(seen_ahead(record, points_ego))
    if boxes is not None:
        counted = boxes.lidar_points > 0
        seen.held.append(count_returns(boxes, points_ego)[counted].numpy())
        seen.long.append(are_long(boxes)[counted].numpy())
        seen.ground.append(ground_around(boxes, points_ego)[counted].numpy())

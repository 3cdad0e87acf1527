"""Poses of the car that no car can have: on its side, faster than any, or always driving backwards."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from occfeat.data.index.index import Index

STEEPEST = 0.7
"""Smallest cosine of the angle between the axis of the car and that of the map. Streets have over 0.95."""
FASTEST_M_S = 100.0
"""Largest median speed of a scene."""
MOVED_M = 1.0
"""Distance between key frames from which on a car has moved."""
BACKWARDS = -0.7
"""Median cosine of the angle between heading and motion below which a car only drives backwards."""
ALONG = 0.9
"""Smallest median cosine of this angle of a car that drives forwards. Real ones are over 0.99."""
INTERVAL_S = (0.002, 60.0)
"""Smallest and largest median time between the key frames of a scene."""
MANY = 5
"""Smallest number of moves that tell something of a scene."""


def faults_of_times(index: Index, rows: Int64[ndarray, " n"]) -> Iterator[str]:
    """Find scenes whose key frames are too near to each other, or too far from each other, in time."""
    rows = np.sort(rows)
    time_s, names = index.column("timestamp_us").to_numpy()[rows] / 1e6, index.scene_of(rows)
    first = index.first_of_scene(rows)
    for one in np.unique(first):
        here = first == one
        step_s = np.diff(time_s[here]) / np.diff(rows[here])
        if len(step_s) and not INTERVAL_S[0] <= (median := float(np.median(step_s))) <= INTERVAL_S[1]:
            yield f"{names[here][0]}: key frames are {median:.4g} s apart"


def faults_of_poses(index: Index, rows: Int64[ndarray, " n"]) -> Iterator[str]:
    """Find scenes with impossible poses among some key frames."""
    rows = np.sort(rows[index.has_poses(rows)])
    pose = index.column("ego_pose").values.to_numpy().reshape(-1, 7)[rows]
    time_s = index.column("timestamp_us").to_numpy()[rows] / 1e6
    names = index.scene_of(rows)
    ends = np.flatnonzero(names[1:] != names[:-1]) + 1
    for part in np.split(np.arange(len(rows)), ends):
        if len(part) and (fault := _fault_of_scene(pose[part], time_s[part])):
            yield f"{names[part[0]]}: {fault}"


def _fault_of_scene(pose: Float64[ndarray, "n 7"], time_s: Float64[ndarray, " n"]) -> str:
    """Return what is impossible about the poses of a scene; empty if nothing is."""
    w, x, y, z = (pose[:, 3:] / np.linalg.norm(pose[:, 3:], axis=1, keepdims=True)).T
    if (upright := float(np.median(1 - 2 * (x * x + y * y)))) < STEEPEST:
        tilt_deg = np.degrees(np.arccos(max(-1.0, upright)))
        return f"the car is tilted by {tilt_deg:.0f} degrees; quaternions are w, x, y, z"
    step_m, step_s = np.diff(pose[:, :2], axis=0), np.diff(time_s)
    moved = np.linalg.norm(step_m, axis=1) > MOVED_M
    if not (moved & (step_s > 0)).any():
        return ""
    speed = np.linalg.norm(step_m, axis=1)[step_s > 0] / step_s[step_s > 0]
    if (median := float(np.median(speed))) > FASTEST_M_S:
        return f"the car drives {median:.4g} m/s; positions are in metres and times in microseconds"
    heading = np.stack((1 - 2 * (y * y + z * z), 2 * (x * y + w * z)), axis=1)[:-1][moved]
    along = (heading * step_m[moved]).sum(1) / np.linalg.norm(step_m[moved], axis=1)
    if len(along) < MANY or (median := float(np.median(along))) >= ALONG:
        return ""
    if median < BACKWARDS:
        return "the car always drives backwards; x points forward"
    aside_deg = np.degrees(np.arccos(median))
    return f"the car drives {aside_deg:.0f} degrees aside of its heading; x points forward, and z upwards"

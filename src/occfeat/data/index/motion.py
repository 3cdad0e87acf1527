"""How fast annotated objects move, from where they are at the key frames around.

Axes: `n` boxes, `rows` key frames.
"""

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

LONGEST_S = 1.5
"""Longest time between two boxes of an object from which a speed follows (nuscenes-devkit's)."""


def speeds_mps(
    row: Int64[ndarray, " n"],
    track: Int64[ndarray, " n"],
    center_global: Float64[ndarray, "n 3"],
    timestamp_us: Int64[ndarray, " rows"],
    scene: Int64[ndarray, " rows"],
) -> Float32[ndarray, " n"]:
    """Return the speed over ground of each box in metres per second; NaN if it is not known.

    It is the way from the object's box before to the one after, by the time between them (as
    `NuScenes.box_velocity` of nuscenes-devkit; without one of them, from or to the box itself).

    Args:
        row: Key frame of each box.
        track: Object that each box is of, the same number for all its boxes in a scene; -1 if unknown.
        center_global: Centre of each box.
        timestamp_us: Time of each key frame.
        scene: Scene of each key frame.
    """
    order = np.lexsort((timestamp_us[row], track, scene[row]))
    in_order = row[order]
    time_us, of_scene, of_track = timestamp_us[in_order], scene[in_order], track[order]
    follows = (np.diff(of_scene) == 0) & (np.diff(of_track) == 0) & (of_track[1:] >= 0)
    before, after = np.arange(len(row)), np.arange(len(row))
    before[1:] -= follows
    after[:-1] += follows
    center = center_global[order, :2]
    way_m = np.linalg.norm(center[after] - center[before], axis=1)
    span_s = (time_us[after] - time_us[before]) / 1e6
    known = (span_s > 0) & (span_s <= LONGEST_S * (after - before))
    speed = np.full(len(row), np.nan, dtype=np.float32)
    speed[order[known]] = way_m[known] / span_s[known]
    return speed

"""Points of a sweep moved to one time: the car drives while a LiDAR turns.

Axes: `P` points.
"""

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from occfeat.data.recordings.bags.trajectory import Trajectory

STEP_US = 1000
"""Largest spacing of the poses between which points are interpolated. A car that turns by 60 degrees per
second moves a point at 100 m by 0.01 mm off the straight line within such a step."""


def deskew(
    points_m: Float32[ndarray, "P 3"],
    times_us: Float64[ndarray, " P"],
    reference_us: int,
    global_from_ego: Trajectory,
    ego_from_lidar: Float64[ndarray, "4 4"],
) -> Float32[ndarray, "P 3"]:
    """Return where points of a driving LiDAR would be if all had been measured at one time.

    Args:
        points_m: In the frame of the LiDAR, each at its own time.
        times_us: When each was measured.
        reference_us: The time to which they are moved.
        global_from_ego: Poses of the car.
        ego_from_lidar: The LiDAR's mounting.

    Raises:
        DatasetError: The pose is not known at one of the times.
    """
    if not len(points_m):
        return points_m
    first, last = times_us.min(), times_us.max()
    count = max(int(np.ceil((last - first) / STEP_US)), 1)
    knots_us = np.linspace(first, last, count + 1)
    knots = _lidar_at_reference(knots_us, reference_us, global_from_ego, ego_from_lidar)
    place = (times_us - first) * (count / max(last - first, 1.0))
    before = np.minimum(place.astype(np.int64), count - 1)
    share = (place - before)[:, None].astype(np.float32)
    moved_before, moved_after = _move(knots[before], points_m), _move(knots[before + 1], points_m)
    return moved_before + share * (moved_after - moved_before)


def _lidar_at_reference(
    times_us: Float64[ndarray, " K"],
    reference_us: int,
    global_from_ego: Trajectory,
    ego_from_lidar: Float64[ndarray, "4 4"],
) -> Float32[ndarray, "K 3 4"]:
    """Return the transforms from the LiDAR at each time to the LiDAR at the reference time."""
    at_reference = global_from_ego.at(np.array([reference_us]))[0] @ ego_from_lidar
    motion = np.linalg.inv(at_reference) @ global_from_ego.at(times_us) @ ego_from_lidar
    return motion[:, :3].astype(np.float32)


def _move(motion: Float32[ndarray, "P 3 4"], points_m: Float32[ndarray, "P 3"]) -> Float32[ndarray, "P 3"]:
    """Return points after a transform of their own."""
    return np.einsum("pij,pj->pi", motion[:, :, :3], points_m) + motion[:, :, 3]

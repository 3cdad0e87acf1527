"""Points of a sweep moved to one time: the car drives while a LiDAR turns.

Axes: `P` points, `K` times between which the motion is interpolated, `I` intervals between them.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Float64, Int64
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
    share = (place - before).astype(np.float32)
    axes_m, rows = np.ascontiguousarray(points_m.T), np.ascontiguousarray(knots.transpose(1, 2, 0))
    spread = _spreader(before, count)
    moved_m = np.empty_like(axes_m)
    for axis in range(3):
        before_m = _moved_axis(rows[axis, :, :-1], spread, axes_m)
        step_m = _moved_axis(rows[axis, :, 1:], spread, axes_m)
        step_m -= before_m
        step_m *= share
        np.add(before_m, step_m, out=moved_m[axis])
    return moved_m.T


def _spreader(before: Int64[ndarray, " P"], count: int) -> Callable[[ndarray], ndarray]:
    """Return a function that gives each point its value of those of all intervals.

    Args:
        before: Number of the interval of each point.
        count: Number of intervals.
    """
    if (before[1:] >= before[:-1]).all():  # most drivers store points in order of time: six times as fast
        points = np.bincount(before, minlength=count)
        return lambda values: np.repeat(values, points)
    return lambda values: values.take(before)


def _lidar_at_reference(
    times_us: Float64[ndarray, " K"],
    reference_us: int,
    global_from_ego: Trajectory,
    ego_from_lidar: Float64[ndarray, "4 4"],
) -> Float32[ndarray, "K 3 4"]:
    """Return the transforms from the LiDAR at each time to the LiDAR at the reference time."""
    poses = global_from_ego.at(np.append(times_us, reference_us))
    motion = np.linalg.inv(poses[-1] @ ego_from_lidar) @ poses[:-1] @ ego_from_lidar
    return motion[:, :3].astype(np.float32)


def _moved_axis(
    row: Float32[ndarray, "4 I"], spread: Callable[[ndarray], ndarray], axes_m: Float32[ndarray, "3 P"]
) -> Float32[ndarray, " P"]:
    """Return one coordinate of points after the transforms of their intervals, of which one row is given.

    Coordinates are added up one by one: a matrix for each point takes eight times as long.
    """
    moved_m = spread(row[0]) * axes_m[0]
    for axis in (1, 2):
        moved_m += spread(row[axis]) * axes_m[axis]
    moved_m += spread(row[3])
    return moved_m

"""Poses of the car by time, and poses in sequence.

A pose is (x, y, z, qw, qx, qy, qz): metres and a quaternion. Axes: `n` poses, `m` times.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

LONGEST_GAP_NS = 100_000_000
"""Longest time between two poses that others are interpolated from; usually 5 ms lie between two."""


@dataclass(frozen=True)
class Poses:
    """Poses of the car, ordered by time."""

    time_ns: Int64[ndarray, " n"]
    pose: Float64[ndarray, "n 7"]

    def at(self, time_ns: Int64[ndarray, " m"]) -> Float64[ndarray, "m 7"]:
        """Return the poses at some times.

        A pose of exactly that time is taken as it is. Any other is interpolated between its two neighbours,
        the rotation as the normalised mean of their quaternions. A time outside the table, or in a gap of
        more than `LONGEST_GAP_NS`, has NaN.
        """
        if not len(self.time_ns):
            return np.full((len(time_ns), 7), np.nan)
        after = np.searchsorted(self.time_ns, time_ns).clip(max=len(self.time_ns) - 1)
        exact = self.time_ns[after] == time_ns
        before = np.where(exact, after, (after - 1).clip(min=0))
        gap_ns = self.time_ns[after] - self.time_ns[before]
        share = (time_ns - self.time_ns[before]) / np.maximum(gap_ns, 1)
        known = exact | ((share > 0) & (share < 1) & (gap_ns <= LONGEST_GAP_NS))
        between = _between(self.pose[before], self.pose[after], np.where(exact, 0.0, share))
        return np.where(known[:, None], between, np.nan)


def _between(
    first: Float64[ndarray, "m 7"], second: Float64[ndarray, "m 7"], share: Float64[ndarray, " m"]
) -> Float64[ndarray, "m 7"]:
    """Return poses between two others; a share of 0 is the first."""
    same_side = np.where(
        (first[:, 3:] * second[:, 3:]).sum(axis=1) < 0, -1.0, 1.0
    )  # q and -q are one rotation
    second = np.concatenate((second[:, :3], second[:, 3:] * same_side[:, None]), axis=1)
    moved = first + share[:, None] * (second - first)
    moved[share == 0] = first[share == 0]
    return moved


def compose(a_from_b: Float64[ndarray, "n 7"], b_from_c: Float64[ndarray, "n 7"]) -> Float64[ndarray, "n 7"]:
    """Return the poses `a_from_c`. A pose with NaN or a quaternion of length 0 gives NaN."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        turn = a_from_b[:, 3:] / np.linalg.norm(a_from_b[:, 3:], axis=1, keepdims=True)
        w, axis, moved = turn[:, :1], turn[:, 1:], b_from_c[:, :3]
        twice = 2 * np.cross(axis, moved)
        position = a_from_b[:, :3] + moved + w * twice + np.cross(axis, twice)
        v, other = b_from_c[:, 3:4], b_from_c[:, 4:]
        real = w * v - (axis * other).sum(axis=1, keepdims=True)
        imaginary = w * other + v * axis + np.cross(axis, other)
    return np.concatenate((position, real, imaginary), axis=1)

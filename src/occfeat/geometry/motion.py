"""Poses as arrays: quaternions, matrices, and interpolation between poses. Imports no torch.

A quaternion is (w, x, y, z) of unit length. Axes: `N` poses.
"""

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

ROTATION_TOLERANCE = 1e-2
"""Largest entry of R R^T - 1 of a rotation that was written with few digits (this project's choice)."""


def matrices(
    positions_m: Float64[ndarray, "N 3"], quaternions: Float64[ndarray, "N 4"]
) -> Float64[ndarray, "N 4 4"]:
    """Return the transforms that rotate first and then move by a position."""
    w, x, y, z = quaternions.T
    turned = np.zeros((len(quaternions), 4, 4))
    turned[:, 0, :3] = np.stack((1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)), axis=1)
    turned[:, 1, :3] = np.stack((2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)), axis=1)
    turned[:, 2, :3] = np.stack((2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)), axis=1)
    turned[:, :3, 3] = positions_m
    turned[:, 3, 3] = 1
    return turned


def quaternions(rotations: Float64[ndarray, "N 3 3"]) -> Float64[ndarray, "N 4"]:
    """Return the quaternions of rotation matrices, with w >= 0.

    The largest of the four components is computed first, which is exact for every rotation (Markley 2008).
    """
    m = rotations
    trace = np.trace(m, axis1=1, axis2=2)
    diagonal = np.diagonal(m, axis1=1, axis2=2)
    candidates = np.empty((len(m), 4, 4))
    candidates[:, 0, 0] = 1 + trace
    for one in range(3):
        candidates[:, one + 1, one + 1] = 1 - trace + 2 * diagonal[:, one]
        after, last = (one + 1) % 3, (one + 2) % 3
        candidates[:, 0, one + 1] = candidates[:, one + 1, 0] = m[:, last, after] - m[:, after, last]
        mixed = m[:, one, after] + m[:, after, one]
        candidates[:, one + 1, after + 1] = candidates[:, after + 1, one + 1] = mixed
    best = np.argmax(np.diagonal(candidates, axis1=1, axis2=2), axis=1)
    chosen = normalised(candidates[np.arange(len(m)), best])
    return np.where(chosen[:, :1] < 0, -chosen, chosen)


def are_rotations(matrices_3x3: Float64[ndarray, "N 3 3"]) -> Bool[ndarray, " N"]:
    """Return which matrices only turn: they neither scale nor mirror, up to `ROTATION_TOLERANCE`."""
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(matrices_3x3 @ matrices_3x3.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
        right: ndarray = (off < ROTATION_TOLERANCE) & (np.linalg.det(matrices_3x3) > 0)  # false for NaN, too
    return right


def normalised(quaternions: Float64[ndarray, "N 4"]) -> Float64[ndarray, "N 4"]:
    """Return quaternions of unit length; those of length zero become NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        unit: ndarray = quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)
    return unit


def slerp(
    before: Float64[ndarray, "N 4"], after: Float64[ndarray, "N 4"], share: Float64[ndarray, " N"]
) -> Float64[ndarray, "N 4"]:
    """Turn from one rotation to another at constant speed, the shorter way round (Shoemake 1985).

    Args:
        before: Rotations at share 0.
        after: Rotations at share 1.
        share: How far to turn. Below 0 and above 1 the turn goes on.
    """
    cosine = (before * after).sum(axis=1)
    nearer = np.where(cosine[:, None] < 0, -after, after)
    angle = np.arctan2(np.linalg.norm(nearer - np.abs(cosine)[:, None] * before, axis=1), np.abs(cosine))
    small = angle < 1e-9
    sine = np.where(small, 1.0, np.sin(angle))
    first = np.where(small, 1 - share, np.sin((1 - share) * angle) / sine)
    second = np.where(small, share, np.sin(share * angle) / sine)
    return normalised(first[:, None] * before + second[:, None] * nearer)


def invert(a_from_b: Float64[ndarray, "N 4 4"]) -> Float64[ndarray, "N 4 4"]:
    """Return `b_from_a` of rigid transforms."""
    inverse = np.zeros_like(a_from_b)
    inverse[:, :3, :3] = a_from_b[:, :3, :3].transpose(0, 2, 1)
    inverse[:, :3, 3] = -(inverse[:, :3, :3] @ a_from_b[:, :3, 3:])[..., 0]
    inverse[:, 3, 3] = 1
    return inverse

"""Transforms between frames.

`a_from_b` is the 4 x 4 matrix that takes column points in frame b to frame a, in metres. Names cancel when
transforms are chained: `global_from_ego @ ego_from_camera` is `global_from_camera`. The ego frame has x
forward, y left and z up; the camera frame has x right, y down and z forward.

Axes: `*B` any leading axes, `P` points.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from occfeat.machine.waiting import numbers_like


def transform_points(
    a_from_b: Float[Tensor, "*B 4 4"], points_b: Float[Tensor, "*B P 3"]
) -> Float[Tensor, "*B P 3"]:
    """Move points from frame b to frame a, in metres."""
    rotation, translation = a_from_b[..., :3, :3], a_from_b[..., :3, 3]
    return points_b @ rotation.mT + translation[..., None, :]


def invert(a_from_b: Float[Tensor, "*B 4 4"]) -> Float[Tensor, "*B 4 4"]:
    """Return `b_from_a` of an isometry: a rigid motion, or one that also mirrors the ego frame."""
    rotation = a_from_b[..., :3, :3].mT
    translation = -(rotation @ a_from_b[..., :3, 3:])
    return from_rotation(rotation, translation[..., 0])


def from_rotation(
    rotation: Float[Tensor, "*B 3 3"], translation_m: Float[Tensor, "*B 3"]
) -> Float[Tensor, "*B 4 4"]:
    """Return the transform that rotates first and then moves by `translation_m`."""
    a_from_b = torch.zeros(*rotation.shape[:-2], 4, 4, dtype=rotation.dtype, device=rotation.device)
    a_from_b[..., :3, :3] = rotation
    a_from_b[..., :3, 3] = translation_m
    a_from_b[..., 3, 3] = 1
    return a_from_b


def rotation_from_quaternion(wxyz: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 3 3"]:
    """Return the rotation matrix of a quaternion (w, x, y, z) of any non-zero length, nuScenes' order."""
    w, x, y, z = torch.nn.functional.normalize(wxyz, dim=-1, eps=1e-30).unbind(-1)
    first = (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y))
    second = (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x))
    third = (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y))
    return torch.stack((*first, *second, *third), dim=-1).reshape(*w.shape, 3, 3)


def rotation_about_z(angle_rad: Float[Tensor, "*B"]) -> Float[Tensor, "*B 3 3"]:
    """Return the counter-clockwise rotation seen from above: a positive angle turns forward towards left."""
    half = angle_rad / 2
    zero = torch.zeros_like(half)
    return rotation_from_quaternion(torch.stack((half.cos(), zero, zero, half.sin()), dim=-1))


def is_isometry(a_from_b: Float[Tensor, "*B 4 4"], tolerance: float = 1e-4) -> Bool[Tensor, "*B"]:
    """Return whether each matrix keeps all distances: orthogonal, finite, last row (0, 0, 0, 1)."""
    rotation = a_from_b[..., :3, :3]
    identity = torch.eye(3, dtype=rotation.dtype, device=rotation.device)
    last_row = numbers_like((0, 0, 0, 1), a_from_b)
    orthogonal = ((rotation @ rotation.mT - identity).abs() < tolerance).all(-1).all(-1)
    affine = ((a_from_b[..., 3, :] - last_row).abs() < tolerance).all(-1)
    return orthogonal & affine & a_from_b.isfinite().all(-1).all(-1)

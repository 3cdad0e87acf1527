"""Projection by cameras with lenses, and intrinsics that follow every operation on the image.

Pixels are (u, v): u to the right, v down, with the centre of the first pixel at (0.5, 0.5), so an image of
width W spans 0 to W whatever its resolution. An operation on the image is the 3 x 3 matrix `new_from_old_px`
that takes an old pixel position to the new one; the intrinsics of the new image are
`new_from_old_px @ intrinsics`, and a chain of operations is a product of matrices. Lenses act before the
intrinsics, so operations on the image do not change them.

Axes: `*B` any leading axes, `L` numbers of a lens, `P` points.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from occfeat.geometry.distortion import distort

NEAREST_DEPTH_M = 0.1
"""Points of a smaller depth count as unseen (this project's choice)."""


def project(
    intrinsics: Float[Tensor, "*B 3 3"],
    points_camera: Float[Tensor, "*B P 3"],
    lenses: Float[Tensor, "*B L"] | None = None,
) -> tuple[Float[Tensor, "*B P 2"], Float[Tensor, "*B P"]]:
    """Return pixel position and depth in metres of points in the camera frame.

    The pixel of a point with depth <= 0 is finite but meaningless: test the depth first, or use
    `visible_in`. The depth of a fisheye is the distance, that of other cameras z. Points that a lens does not
    see have depth 0.

    Args:
        intrinsics: Matrices from normalised coordinates to pixels.
        points_camera: In metres.
        lenses: As in `Cameras.lenses`. None: all cameras are pinholes.
    """
    if lenses is not None:
        u, v, depth_m = project_through(lenses, intrinsics, *points_camera.unbind(-1))
        return torch.stack((u, v), dim=-1), depth_m
    homogeneous = points_camera @ intrinsics.mT
    depth_m = points_camera[..., 2]
    safe_m = torch.where(depth_m.abs() < 1e-6, torch.full_like(depth_m, 1e-6), depth_m)
    return homogeneous[..., :2] / safe_m[..., None], depth_m


def project_through(
    lenses: Float[Tensor, "*B L"],
    intrinsics: Float[Tensor, "*B 3 3"],
    x: Float[Tensor, "*B P"],
    y: Float[Tensor, "*B P"],
    z: Float[Tensor, "*B P"],
) -> tuple[Float[Tensor, "*B P"], Float[Tensor, "*B P"], Float[Tensor, "*B P"]]:
    """Return u, v and depth of points, as `project` does for lenses, with coordinates that are kept apart."""
    x, y, depth_m = distort(lenses, x, y, z)
    uu, uv, u0, vu, vv, v0 = intrinsics[..., None, :2, :].flatten(-2).unbind(-1)
    return uu * x + uv * y + u0, vu * x + vv * y + v0, depth_m


def visible_in(
    image_size: tuple[int, int], pixels: Float[Tensor, "*B P 2"], depth_m: Float[Tensor, "*B P"]
) -> Bool[Tensor, "*B P"]:
    """Return which projections fall into an image of (height, width) pixels, in front of the camera.

    The left and upper borders belong to the image, the right and lower ones do not.
    """
    u, v = pixels.unbind(-1)
    return visible_at(image_size, u, v, depth_m)


def visible_at(
    image_size: tuple[int, int],
    u: Float[Tensor, "*shape"],
    v: Float[Tensor, "*shape"],
    depth_m: Float[Tensor, "*shape"],
) -> Bool[Tensor, "*shape"]:
    """Return the same as `visible_in`, for pixel positions that are kept apart."""
    height, width = image_size
    return (depth_m >= NEAREST_DEPTH_M) & (u >= 0) & (u < width) & (v >= 0) & (v < height)


def resize(old_size: tuple[int, int], new_size: tuple[int, int]) -> Float[Tensor, "3 3"]:
    """Return `new_from_old_px` of scaling an image of (height, width) to another size."""
    return _affine(new_size[1] / old_size[1], new_size[0] / old_size[0], 0.0, 0.0)


def crop(left_px: float | int, top_px: float | int) -> Float[Tensor, "3 3"]:
    """Return `new_from_old_px` of cutting away `left_px` columns and `top_px` rows; negative values pad."""
    return _affine(1.0, 1.0, float(-left_px), float(-top_px))


def flip_left_right(width_px: float | int) -> Float[Tensor, "3 3"]:
    """Return `new_from_old_px` of mirroring an image left to right; the new focal length u is negative."""
    return _affine(-1.0, 1.0, float(width_px), 0.0)


def rotate(size: tuple[int, int], angle_deg: float | int) -> Float[Tensor, "3 3"]:
    """Return `new_from_old_px` of rotating an image of (height, width) about its centre.

    A positive angle rotates the image counter-clockwise as it is seen on a screen.
    """
    angle = math.radians(angle_deg)
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]], dtype=torch.float64)
    height, width = size
    return crop(-width / 2, -height / 2) @ turn @ crop(width / 2, height / 2)


def invert_pinhole(intrinsics: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3 3"]:
    """Invert matrices that pass `pinhole.is_pinhole`, in closed form: exporters know no general inverse."""
    a, b, c, d = intrinsics[..., :2, :2].flatten(-2).unbind(-1)
    zero = torch.zeros_like(a)
    adjugate = torch.stack((d, -b, -c, a), dim=-1).view(*a.shape, 2, 2)
    turn = adjugate / (a * d - b * c)[..., None, None]
    shift = -turn @ intrinsics[..., :2, 2:]
    last_row = torch.stack((zero, zero, zero + 1), dim=-1)[..., None, :]
    return torch.cat((torch.cat((turn, shift), dim=-1), last_row), dim=-2)


def _affine(scale_u: float, scale_v: float, shift_u: float, shift_v: float) -> Float[Tensor, "3 3"]:
    """Return `new_from_old_px` of a scale and a shift along each axis of the image."""
    rows = [[scale_u, 0, shift_u], [0, scale_v, shift_v], [0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64)

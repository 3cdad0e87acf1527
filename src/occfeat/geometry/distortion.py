"""The mathematics of lenses, on tensors: cameras of different models in one call.

Nothing here depends on values of the lenses, so that a GPU never waits for the processor. Every camera is
computed as a fisheye and as a Brown-Conrady lens, of which a pinhole is one, and the right result is chosen.

Axes: `*B` any leading axes, such as cameras, `N` cameras, `L` numbers of a lens, see `Lens.numbers`, `P`
points.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from occfeat.geometry.lens import PINHOLE, Lens

RADIAL_STEPS = 40
"""Steps to find a radius: Newton's, or halves of the bracket where Newton's leave it."""
PLANE_STEPS = 12
"""Newton steps in the plane, from the radius that the radial part gives."""
SOLVED = 1e-5
"""Largest error of what is found, in normalised coordinates and relative to 1 plus the radius."""
NEAR = SOLVED / 10
"""Error, as for `SOLVED`, below which rounding may keep a Newton step from reducing it."""

_TINY = 1e-12


def stack_lenses(lenses: Sequence[Lens]) -> Float[Tensor, "N L"] | None:
    """Return the numbers of the lenses of a rig, or None if all are pinholes."""
    if all(lens == PINHOLE for lens in lenses):
        return None
    return torch.tensor([lens.numbers() for lens in lenses])


def distort(
    lenses: Float[Tensor, "*B L"],
    x: Float[Tensor, "*B P"],
    y: Float[Tensor, "*B P"],
    z: Float[Tensor, "*B P"],
) -> tuple[Float[Tensor, "*B P"], Float[Tensor, "*B P"], Float[Tensor, "*B P"]]:
    """Return where points of the camera frame are in normalised coordinates, and their depth in metres.

    The depth is the distance for a fisheye, and z for other lenses. It is 0 for points that the lens does not
    see, which are at the origin: those beyond its largest angle.

    Args:
        lenses: One lens for all points of a camera.
        x: Position to the right in metres.
        y: Position downwards in metres.
        z: Position forwards in metres.
    """
    is_fisheye, limit, coefficients = _split(lenses)
    radius = torch.hypot(x, y)
    angle = torch.atan2(radius, z)
    seen = torch.where(is_fisheye, angle <= limit, (z > 0) & (radius <= limit * z))
    bent = _polynomial(coefficients, angle) / radius.clamp(min=_TINY)
    divisor = torch.where(seen, z, torch.ones_like(z))
    x_flat, y_flat = _perspective(coefficients, x / divisor, y / divisor)
    zero = torch.zeros_like(x)
    return (
        torch.where(seen, torch.where(is_fisheye, x * bent, x_flat), zero),
        torch.where(seen, torch.where(is_fisheye, y * bent, y_flat), zero),
        torch.where(seen, torch.where(is_fisheye, torch.hypot(radius, z), z), zero),
    )


def undistort(
    lenses: Float[Tensor, "*B L"], x: Float[Tensor, "*B P"], y: Float[Tensor, "*B P"]
) -> tuple[Float[Tensor, "*B P 3"], Bool[Tensor, "*B P"]]:
    """Return the rays that reach points in normalised coordinates, for one metre of depth, and which exist.

    The inverse of `distort`, by iteration. Points that nothing reaches have a ray of zeros: those beyond the
    image of the largest angle.

    Args:
        lenses: One lens for all points of a camera.
        x: Position to the right.
        y: Position downwards.
    """
    is_fisheye, limit, coefficients = _split(lenses)
    distance = torch.hypot(x, y)
    along_x, along_y = x / distance.clamp(min=_TINY), y / distance.clamp(min=_TINY)
    radius = _solve_radius(is_fisheye, limit, coefficients, distance)
    missed = (_polynomial(coefficients, radius) - distance).abs()
    x_flat, y_flat = _solve_plane(limit, coefficients, x, y, radius * along_x, radius * along_y)
    x_back, y_back = _perspective(coefficients, x_flat, y_flat)
    missed = torch.where(is_fisheye, missed, torch.hypot(x_back - x, y_back - y))
    sine = radius.sin()
    rays = (
        torch.where(is_fisheye, sine * along_x, x_flat),
        torch.where(is_fisheye, sine * along_y, y_flat),
        torch.where(is_fisheye, radius.cos(), torch.ones_like(x)),
    )
    exist = missed <= SOLVED * (1 + distance)
    stacked = torch.stack(rays, dim=-1)
    return torch.where(exist[..., None], stacked, torch.zeros_like(stacked)), exist


def _split(lenses: Float[Tensor, "*B L"]) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Return whether each lens is a fisheye, its limit and its coefficients, to go with points."""
    kind, limit, *coefficients = lenses[..., None, :].unbind(-1)
    return kind > 0.5, limit, tuple(coefficients)


def _polynomial(coefficients: tuple[Tensor, ...], angle: Float[Tensor, "*B P"]) -> Float[Tensor, "*B P"]:
    """Return the radius of a fisheye at some angles."""
    *rest, value = coefficients
    for one in reversed(rest):
        value = value * angle + one
    return value * angle


def _polynomial_slope(
    coefficients: tuple[Tensor, ...], angle: Float[Tensor, "*B P"]
) -> Float[Tensor, "*B P"]:
    """Return the derivative of a fisheye's radius by the angle."""
    *rest, value = (power * one for power, one in enumerate(coefficients, start=1))
    for one in reversed(rest):
        value = value * angle + one
    return value + torch.zeros_like(angle)


def _radial(
    coefficients: tuple[Tensor, ...], squared: Float[Tensor, "*B P"]
) -> tuple[Float[Tensor, "*B P"], Float[Tensor, "*B P"]]:
    """Return the radial factor of a Brown-Conrady lens, and its derivative by the squared radius."""
    k1, k2, _, _, k3, k4, k5, k6 = coefficients[:8]
    over = 1 + squared * (k1 + squared * (k2 + squared * k3))
    under = 1 + squared * (k4 + squared * (k5 + squared * k6))
    over_slope = k1 + squared * (2 * k2 + squared * (3 * k3))
    under_slope = k4 + squared * (2 * k5 + squared * (3 * k6))
    factor = over / under
    return factor, (over_slope - factor * under_slope) / under


def _perspective(
    coefficients: tuple[Tensor, ...], x: Float[Tensor, "*B P"], y: Float[Tensor, "*B P"]
) -> tuple[Float[Tensor, "*B P"], Float[Tensor, "*B P"]]:
    """Return what a Brown-Conrady lens makes of normalised coordinates."""
    _, _, p1, p2 = coefficients[:4]
    squared = x * x + y * y
    factor, _ = _radial(coefficients, squared)
    across = p2 * x + p1 * y
    return x * factor + 2 * across * x + p2 * squared, y * factor + 2 * across * y + p1 * squared


def _solve_radius(
    is_fisheye: Tensor,
    limit: Tensor,
    coefficients: tuple[Tensor, ...],
    wanted: Float[Tensor, "*B P"],
) -> Float[Tensor, "*B P"]:
    """Return the angle of a fisheye, or the radius before another lens, whose image has a radius.

    Both grow up to the limit, which bounds the result. A Newton step is replaced by the middle of the bracket
    of what is known if it leaves the bracket, or if the step before it left more than a third of the error:
    Newton steps can go back and forth forever, and they leave a pole slowly. Tangential terms do not count.
    """
    low, high = torch.zeros_like(wanted), limit.expand_as(wanted)
    found, missed = wanted.minimum(high), torch.full_like(wanted, torch.inf)
    for _ in range(RADIAL_STEPS):
        factor, factor_slope = _radial(coefficients, found * found)
        value = torch.where(is_fisheye, _polynomial(coefficients, found), found * factor)
        slope = torch.where(
            is_fisheye, _polynomial_slope(coefficients, found), factor + 2 * found * found * factor_slope
        )
        too_far = value > wanted
        low, high = torch.where(too_far, low, found), torch.where(too_far, found, high)
        last, missed = missed, (value - wanted).abs()
        nears = (missed <= last / 3) | (missed <= NEAR * (1 + wanted))
        step = found - (value - wanted) / slope
        margin = 1e-9 * (1 + found)  # of rounding, where it has converged to an end of the bracket
        usable = nears & (step >= low - margin) & (step <= high + margin)
        found = torch.where(usable, step.clamp(min=0).minimum(limit), (low + high) / 2)
    return found


def _solve_plane(
    limit: Tensor,
    coefficients: tuple[Tensor, ...],
    x_wanted: Float[Tensor, "*B P"],
    y_wanted: Float[Tensor, "*B P"],
    x: Float[Tensor, "*B P"],
    y: Float[Tensor, "*B P"],
) -> tuple[Float[Tensor, "*B P"], Float[Tensor, "*B P"]]:
    """Return the normalised coordinates that a Brown-Conrady lens takes to some points, from a first guess.

    The Jacobian is symmetric and positive definite up to the limit, to which all steps are confined.
    """
    _, _, p1, p2 = coefficients[:4]
    for _ in range(PLANE_STEPS):
        x_error, y_error = (
            got - wanted
            for got, wanted in zip(_perspective(coefficients, x, y), (x_wanted, y_wanted), strict=True)
        )
        factor, slope = _radial(coefficients, x * x + y * y)
        xx = factor + 2 * slope * x * x + 6 * p2 * x + 2 * p1 * y
        yy = factor + 2 * slope * y * y + 2 * p2 * x + 6 * p1 * y
        xy = 2 * slope * x * y + 2 * p1 * x + 2 * p2 * y
        determinant = xx * yy - xy * xy
        x = x - (yy * x_error - xy * y_error) / determinant
        y = y - (xx * y_error - xy * x_error) / determinant
        shrink = (limit / torch.hypot(x, y).clamp(min=_TINY)).clamp(max=1)
        x, y = x * shrink, y * shrink
    return x, y

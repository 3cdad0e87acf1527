"""What a camera's pixels look at: pinholes and lenses.

The formulas of a lens are written down here once more, and inverted numerically. They share nothing with
those of `occfeat.geometry`, which the street world is the truth for.

Axes: `N` pixels, directions or points. Pixels are (u, v) with the centre of the first at (0.5, 0.5). The
camera frame has x right, y down, z forward. Angles count from the optical axis.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32

from occfeat.geometry.lens import PINHOLE, Lens

STEPS = 20_000
"""Into how many steps the angles of a lens are divided to find where it folds back."""


@dataclass(frozen=True, eq=False)
class Optics:
    """A camera as its pixels see: matrix, lens and size of the image."""

    intrinsics: Float[np.ndarray, "3 3"]
    lens: Lens
    size: tuple[int, int]
    """Height and width."""

    @cached_property
    def pixel_rad(self) -> float:
        """Angle that a pixel spans in the middle of the image."""
        step_rad = 1e-6
        slope = 1.0 if self.lens == PINHOLE else float(radius(self.lens, np.array([step_rad]))[0]) / step_rad
        return float(1 / self.intrinsics[0, 0]) / slope

    @cached_property
    def image_rays(self) -> tuple[Float32[np.ndarray, "N 3"], Bool[np.ndarray, " N"]]:
        """Rays through the centres of all pixels by rows, as `rays` returns them."""
        height, width = self.size
        v, u = np.mgrid[:height, :width].astype(np.float32) + np.float32(0.5)
        return self.rays(np.stack((u.ravel(), v.ravel()), axis=-1))

    @cached_property
    def widest_rad(self) -> float:
        """Largest angle that a pixel looks at."""
        directions, lit = self.image_rays
        return math.acos(float(np.clip(directions[lit, 2].min(), -1, 1)))

    def rays(
        self, pixels: Float32[np.ndarray, "N 2"]
    ) -> tuple[Float32[np.ndarray, "N 3"], Bool[np.ndarray, " N"]]:
        """Return unit directions in the camera frame, and which pixels light reaches through the lens.

        Other pixels get some direction at the border of what the lens sees.
        """
        matrix = self.intrinsics
        if self.lens != PINHOLE:
            shift, focal = matrix[:2, 2], matrix[[0, 1], [0, 1]]
            directions, lit = undistort(self.lens, (pixels - shift) / focal)
            return directions.astype(np.float32), lit
        x = (pixels[:, 0] - np.float32(matrix[0, 2])) * np.float32(1 / matrix[0, 0])
        y = (pixels[:, 1] - np.float32(matrix[1, 2])) * np.float32(1 / matrix[1, 1])
        along = 1 / np.sqrt(x * x + y * y + 1)
        return np.stack((x * along, y * along, along), axis=-1), np.ones(len(pixels), dtype=bool)

    def pixels(self, points_camera: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 2"]:
        """Return where a lens shows points of the camera frame.

        Points beyond the widest angle of the image are shown at this angle, so that the outline of a thing
        reaches as far as it is seen.
        """
        x, y, z = points_camera.T
        across = np.hypot(x, y)
        angle = np.minimum(np.arctan2(across, z), self.widest_rad)
        unit = points_camera[:, :2] / np.maximum(across, 1e-9)[:, None]
        shown = distort(self.lens, angle, unit)
        return shown * self.intrinsics[[0, 1], [0, 1]] + self.intrinsics[:2, 2]


def radius(lens: Lens, angle_rad: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Return how far from the middle of the image, in focal lengths, a lens shows each angle.

    The tangential part of Brown and Conrady's model is left out.
    """
    if lens.model == "brown_conrady":
        wide = np.tan(angle_rad)
        return wide * _stretch(lens, wide * wide)
    if lens.model == "kannala_brandt":
        powers = (1.0, *lens.coefficients)
        return sum((k * angle_rad ** (2 * i + 1) for i, k in enumerate(powers)), np.zeros_like(angle_rad))
    terms = (a * angle_rad**i for i, a in enumerate(lens.coefficients, start=1))
    return sum(terms, np.zeros_like(angle_rad))


def _stretch(lens: Lens, square: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Return the radial factor of Brown and Conrady's model by the squared distance from the axis."""
    k1, k2, _, _, k3, k4, k5, k6 = (*lens.coefficients, *(0.0,) * (8 - len(lens.coefficients)))
    above = 1 + square * (k1 + square * (k2 + square * k3))
    return above / (1 + square * (k4 + square * (k5 + square * k6)))


def distort(
    lens: Lens, angle_rad: Float[np.ndarray, " N"], unit: Float[np.ndarray, "N 2"]
) -> Float[np.ndarray, "N 2"]:
    """Return where a lens shows directions, in focal lengths; `unit` points from the axis towards each."""
    shown = unit * radius(lens, angle_rad)[:, None]
    if lens.model == "brown_conrady":
        shown += _tangential(lens, unit * np.tan(angle_rad)[:, None])
    return shown


def _tangential(lens: Lens, flat: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
    """Return what a lens that is not centred adds to (x, y) at depth 1."""
    p1, p2 = lens.coefficients[2:4]
    x, y = flat.T
    square = x * x + y * y
    across = 2 * p1 * x * y + p2 * (square + 2 * x * x)
    return np.stack((across, p1 * (square + 2 * y * y) + 2 * p2 * x * y), axis=-1)


@cache
def limit_rad(lens: Lens) -> float:
    """Return the angle up to which a lens shows larger angles farther from the middle."""
    low, high = 0.0, math.pi if lens.model in ("kannala_brandt", "f_theta") else math.radians(89.9)
    for _ in range(2):  # the second time between the two steps around the first turn
        angles = np.linspace(low, high, STEPS + 1)
        falls = np.flatnonzero(~(np.diff(radius(lens, angles)) > 0))
        if len(falls) == 0:
            return high
        low, high = float(angles[max(falls[0] - 1, 0)]), float(angles[falls[0] + 1])
    return low


def undistort(
    lens: Lens, shown: Float[np.ndarray, "N 2"]
) -> tuple[Float[np.ndarray, "N 3"], Bool[np.ndarray, " N"]]:
    """Invert `distort` to 1e-9: return unit directions, and which of them the lens sees.

    The others are at the largest angle that it sees.
    """
    unit, angle, seen = _undistort_radius(lens, shown)
    if lens.model == "brown_conrady" and any(lens.coefficients[2:4]):
        for _ in range(40):  # what is tangential is small: a few are enough
            before = angle
            center = shown - _tangential(lens, unit * np.tan(angle)[:, None])
            unit, angle, seen = _undistort_radius(lens, center)
            if np.abs(angle - before)[seen].max(initial=0) < 1e-12:
                break
    across = unit * np.sin(angle)[:, None]
    return np.column_stack((across, np.cos(angle))), seen


def _undistort_radius(
    lens: Lens, shown: Float[np.ndarray, "N 2"]
) -> tuple[Float[np.ndarray, "N 2"], Float[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    """Return unit vectors away from the axis, angles, and which are within the lens's limit.

    The angle is first looked up in a table and then corrected by the slope of its step.
    """
    wanted = np.hypot(*shown.T)
    angles, radii = _table(lens)
    step = np.clip(np.searchsorted(radii, wanted) - 1, 0, STEPS - 1)
    low, high = angles[step], angles[step + 1]
    slope = (radii[step + 1] - radii[step]) / (high - low)
    angle = low
    for _ in range(5):
        angle = np.clip(angle + (wanted - radius(lens, angle)) / slope, low, high)
    return shown / np.maximum(wanted, 1e-15)[:, None], angle, wanted <= radii[-1]


@cache
def _table(lens: Lens) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, " S"]]:
    """Return angles up to the lens's limit and their radii, which grow."""
    angles = np.linspace(0.0, limit_rad(lens), STEPS + 1)
    return angles, np.maximum.accumulate(radius(lens, angles))

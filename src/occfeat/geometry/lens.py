"""Lenses of cameras: models with coefficients, and the angle up to which each is monotonic.

A lens acts on normalised coordinates, before the 3 x 3 intrinsics. Whatever happens to the image is therefore
a change of the intrinsics alone. With a point (x, y, z) in the camera frame and its angle theta from the
optical axis, the models are:

- `pinhole`: (x / z, y / z). No coefficients.
- `brown_conrady`: polynomials of (x / z, y / z). Coefficients k1 k2 p1 p2, then k3, then k4 k5 k6, in the
  order of OpenCV's `projectPoints`. ROS calls it plumb_bob, or rational_polynomial with eight coefficients.
- `kannala_brandt`: radius theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8) in the direction of
  (x, y), as in OpenCV's `fisheye`. ROS calls it equidistant.
- `f_theta`: radius a1 theta + a2 theta^2 + ... in the direction of (x, y), one to nine coefficients.

Beyond some angle, a polynomial that was fitted to an image can bend back. Points there would fold into the
image, so no camera sees them. `Lens.max_angle_rad` is that angle. The mathematics on tensors is in
`distortion`. Imports no torch: the index needs lenses, too.

Axes: `n` angles.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from occfeat.errors import LensError, did_you_mean

COUNTS: dict[str, tuple[int, ...]] = {
    "pinhole": (0,),
    "brown_conrady": (4, 5, 8),
    "kannala_brandt": (4,),
    "f_theta": tuple(range(1, 10)),
}
"""Possible numbers of coefficients of each model."""

NUMBERS = 11
"""Length of `Lens.numbers`."""

LARGEST = 1e6
"""Largest plausible coefficient."""

WIDEST_PERSPECTIVE_RAD = math.radians(89.9)
"""Largest angle from the optical axis at which a pinhole or Brown-Conrady lens sees (this project's choice).
"""

WIDEST_FISHEYE_RAD = math.radians(179.9)
"""Largest angle from the optical axis at which a fisheye sees (this project's choice).

Right behind it, a point has no direction in the image.
"""

_SAMPLES = 2048
_BISECTIONS = 60


@dataclass(frozen=True)
class Lens:
    """A lens of one camera.

    Raises:
        LensError: There is no such model, or it has other coefficients.
    """

    model: str
    """`pinhole`, `brown_conrady`, `kannala_brandt` or `f_theta`."""
    coefficients: tuple[float, ...] = ()
    """In the order of the model, see above."""

    def __post_init__(self) -> None:
        if self.model not in COUNTS:
            hint = f"{did_you_mean(str(self.model), COUNTS)}Models: {', '.join(COUNTS)}."
            raise LensError(f"Expected a lens model, got {self.model!r}.", hint=hint)
        counts, count = COUNTS[self.model], len(self.coefficients)
        if count not in counts:
            known = f"{counts[0]} to {counts[-1]}" if len(counts) > 3 else " or ".join(map(str, counts))
            what = f"Expected {known} coefficients of a lens {self.model}, got {count}."
            raise LensError(what, hint="The order of the coefficients is on the page about conventions.")
        if not all(abs(number) < LARGEST for number in self.coefficients):  # false for NaN, too
            what = f"Expected finite coefficients below {LARGEST:g} of a lens {self.model}"
            raise LensError(f"{what}, got {list(self.coefficients)}.")
        if self.model == "f_theta" and not self.coefficients[0] > 0:
            what = f"Expected a first coefficient above 0 of a lens f_theta, got {self.coefficients[0]}"
            raise LensError(f"{what}: the image would shrink to a point at its centre.")

    @property
    def is_fisheye(self) -> bool:
        """Whether the model is a function of the angle, so that it can see beside and behind the camera."""
        return self.model in ("kannala_brandt", "f_theta")

    @property
    def max_angle_rad(self) -> float:
        """The angle from the optical axis up to which the model is monotonic.

        At most `WIDEST_FISHEYE_RAD` for a fisheye, and `WIDEST_PERSPECTIVE_RAD` for the other models.
        """
        return _max_angle_rad(self)

    def radius(self, angle_rad: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Return the distance from the principal point in normalised coordinates, without tangential terms.

        Args:
            angle_rad: Angles from the optical axis, 0 to `max_angle_rad`.
        """
        if self.is_fisheye:
            return np.polyval([*reversed(self._polynomial()), 0.0], angle_rad)
        radius = np.tan(angle_rad)
        numerator, denominator = self._rational()
        squared = radius**2
        return np.asarray(radius * np.polyval(numerator, squared) / np.polyval(denominator, squared))

    def numbers(self) -> tuple[float, ...]:
        """Return the lens as `NUMBERS` numbers for the mathematics.

        These are 1 for a fisheye and 0 otherwise; the limit, which is the largest angle of a fisheye, or else
        its tangent; and nine coefficients. Those of a fisheye are a polynomial of the angle from its first
        power on. Those of the others are in the order of `brown_conrady`. Missing ones are 0.
        """
        limit = self.max_angle_rad if self.is_fisheye else math.tan(self.max_angle_rad)
        own = self._polynomial() if self.is_fisheye else self.coefficients
        return (float(self.is_fisheye), limit, *own, *(0.0 for _ in range(NUMBERS - 2 - len(own))))

    def as_record(self) -> dict[str, object]:
        """Return the lens as it stands in files, for `parse_lens`."""
        return {"model": self.model, "coefficients": list(self.coefficients)}

    def _polynomial(self) -> tuple[float, ...]:
        """Return the coefficients of a fisheye's radius, by powers of the angle from the first on."""
        if self.model == "f_theta":
            return self.coefficients
        k1, k2, k3, k4 = self.coefficients
        return (1.0, 0.0, k1, 0.0, k2, 0.0, k3, 0.0, k4)

    def _rational(self) -> tuple[list[float], list[float]]:
        """Return numerator and denominator of the radial part of a perspective lens, in the squared radius.

        The highest power is first.
        """
        k1, k2, _, _, k3, k4, k5, k6 = (*self.coefficients, *(0.0 for _ in range(8)))[:8]
        return [k3, k2, k1, 1.0], [k6, k5, k4, 1.0]


PINHOLE = Lens("pinhole")
"""The lens of a camera without distortion."""


def parse_lens(record: object) -> Lens:
    """Return the lens of a record such as `{"model": "kannala_brandt", "coefficients": [0.1, 0, 0, 0]}`.

    Raises:
        LensError: It is something else.
    """
    hint = f'A lens is {{"model": ..., "coefficients": [...]}}. Models: {", ".join(COUNTS)}.'
    if not isinstance(record, Mapping) or not record.keys() <= {"model", "coefficients"}:
        raise LensError(f"Expected a lens with model and coefficients, got {record!r:.200}.", hint=hint)
    model, coefficients = record.get("model"), record.get("coefficients", [])
    if not isinstance(model, str):
        raise LensError(f"Expected the name of a lens model, got {model!r:.200}.", hint=hint)
    if not isinstance(coefficients, list | tuple) or not all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in coefficients
    ):
        raise LensError(f"Expected a list of numbers as coefficients, got {coefficients!r:.200}.", hint=hint)
    try:
        return Lens(model, tuple(float(one) for one in coefficients))
    except OverflowError as error:
        raise LensError(f"Expected finite coefficients of a lens {model}: {error}.", hint=hint) from error


@lru_cache(maxsize=4096)
def _max_angle_rad(lens: Lens) -> float:
    """Return the angle up to which a lens is monotonic: the first at which it stops growing."""
    end = WIDEST_FISHEYE_RAD if lens.is_fisheye else WIDEST_PERSPECTIVE_RAD
    growth = _fisheye_growth if lens.is_fisheye else _perspective_growth
    angles = np.linspace(0, end, _SAMPLES)
    with np.errstate(all="ignore"):
        bad = ~(growth(lens, angles) > 0)
        if not bad.any():
            return end
        last = max(int(np.argmax(bad)), 1)
        good_rad, bad_rad = angles[last - 1], angles[last]
        for _ in range(_BISECTIONS):
            middle_rad = (good_rad + bad_rad) / 2
            if growth(lens, np.array([middle_rad]))[0] > 0:
                good_rad = middle_rad
            else:
                bad_rad = middle_rad
    return float(good_rad)


def _fisheye_growth(lens: Lens, angle_rad: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    """Return by how much the radius of a fisheye grows with the angle."""
    powers = [power * one for power, one in enumerate(lens._polynomial(), start=1)]
    return np.asarray(np.polyval(powers[::-1], angle_rad))


def _perspective_growth(lens: Lens, angle_rad: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    """Return the smallest determinant of the Jacobian of a Brown-Conrady lens over all directions.

    The Jacobian is symmetric, and the unit matrix at the centre. While its determinant is positive in every
    direction, it is positive definite on the whole disc, and no two of its points have the same image. With
    the radial part g(r), A = dg / dr, B = g / r and tangential coefficients of length Q at an angle of cosine
    c to the direction, the determinant is (A + 6 r Q c) (B + 2 r Q c) - 4 r^2 Q^2 (1 - c^2).
    """
    radius = np.tan(angle_rad)
    squared = radius**2
    numerator, denominator = lens._rational()
    over, under = np.polyval(numerator, squared), np.polyval(denominator, squared)
    over_slope, under_slope = (
        np.polyval(np.polyder(np.array(one)), squared) for one in (numerator, denominator)
    )
    across = over / under
    along = across + 2 * squared * (over_slope * under - over * under_slope) / under**2
    tangential = radius * math.hypot(*(*lens.coefficients, 0.0, 0.0, 0.0, 0.0)[2:4])
    cosine = np.clip(-(along + 3 * across) / np.maximum(16 * tangential, 1e-12), -1, 1)
    determinant = (
        along * across + 2 * tangential * cosine * (along + 3 * across) + (16 * cosine**2 - 4) * tangential**2
    )
    return np.asarray(np.where(under > 0, determinant, -1.0))

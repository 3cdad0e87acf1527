"""Plane curves measured by arc length: the lines that roads, lanes, kerbs and paths follow.

Axes: `P` points of a curve, `N` queries. Left of a curve is the side of positive offsets.
"""

import bisect
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Curve:
    """A polyline in metres; at least two points, no two neighbours equal."""

    points: Float[np.ndarray, "P 2"]

    @cached_property
    def arc_m(self) -> Float[np.ndarray, " P"]:
        """Way from the first point to each point."""
        steps = np.hypot(*np.diff(self.points, axis=0).T)
        return np.concatenate(([0.0], np.cumsum(steps)))

    @property
    def length_m(self) -> float:
        """Way from the first to the last point."""
        return float(self.arc_m[-1])

    @cached_property
    def tangents(self) -> Float[np.ndarray, "P 2"]:
        """Unit direction at each point, the mean of the segments that meet there."""
        segments = np.diff(self.points, axis=0)
        segments /= np.hypot(*segments.T)[:, None]
        sums = np.concatenate((segments[:1], segments[:-1] + segments[1:], segments[-1:]))
        return sums / np.maximum(np.hypot(*sums.T), 1e-9)[:, None]

    def position(self, way_m: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N 2"]:
        """Return the points at given ways; ways outside the curve give its ends."""
        return _pairs(*(np.interp(way_m, self.arc_m, axis) for axis in self.points.T))

    def direction(self, way_m: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N 2"]:
        """Return the unit directions at given ways."""
        mixed = _pairs(*(np.interp(way_m, self.arc_m, axis) for axis in self.tangents.T))
        return mixed / np.maximum(np.hypot(*mixed.T), 1e-9)[:, None]

    def frame(self, way_m: float) -> tuple[float, float, float]:
        """Return (x, y, heading) at one way, fast."""
        index = min(max(bisect.bisect_right(self._arc, way_m) - 1, 0), len(self._arc) - 2)
        share = min(max((way_m - self._arc[index]) / (self._arc[index + 1] - self._arc[index]), 0.0), 1.0)
        (x0, y0), (x1, y1) = self.points[index].tolist(), self.points[index + 1].tolist()
        (u0, v0), (u1, v1) = self.tangents[index].tolist(), self.tangents[index + 1].tolist()
        heading = math.atan2(v0 + share * (v1 - v0), u0 + share * (u1 - u0))
        return x0 + share * (x1 - x0), y0 + share * (y1 - y0), heading

    @cached_property
    def _left(self) -> Float[np.ndarray, "P 2"]:
        """Unit vector to the left at each point."""
        return _left_of(self.tangents)

    @cached_property
    def _arc(self) -> list[float]:
        """Ways of all points along the curve."""
        return self.arc_m.tolist()

    def beside(
        self, way_m: Float[np.ndarray, " N"], offset_m: Float[np.ndarray, " N"] | float
    ) -> Float[np.ndarray, "N 2"]:
        """Return the points `offset_m` to the left of the curve at given ways."""
        return self.position(way_m) + _left_of(self.direction(way_m)) * np.reshape(offset_m, (-1, 1))

    def place_beside(self, way_m: float, offset_m: float) -> tuple[Float[np.ndarray, "2"], float]:
        """Return the point `offset_m` to the left of the curve at one way, and the heading there."""
        at = np.array([way_m])
        position, (u, v) = self.position(at)[0], self.direction(at)[0]
        return position + offset_m * np.array([-v, u]), math.atan2(v, u)

    def offset(self, offset_m: Float[np.ndarray, " P"] | float) -> "Curve":
        """Return the curve moved `offset_m` to its left, point by point."""
        return Curve(self.points + self._left * np.reshape(offset_m, (-1, 1)))

    def part(self, start_m: float, end_m: float) -> "Curve":
        """Return the piece between two ways."""
        inside = (self.arc_m > start_m + 0.05) & (self.arc_m < end_m - 0.05)
        ends = self.position(np.array([start_m, end_m]))
        return Curve(np.concatenate((ends[:1], self.points[inside], ends[1:])))

    def reverse(self) -> "Curve":
        """Return the curve in the other direction."""
        return Curve(self.points[::-1])

    def resample(self, step_m: float) -> "Curve":
        """Return the same way in equal steps of about `step_m`."""
        count = max(2, round(self.length_m / step_m) + 1)
        return Curve(self.position(np.linspace(0, self.length_m, count)))

    @property
    def smallest_radius_m(self) -> float:
        """Radius of its sharpest bend, as far as its points tell."""
        steps = np.diff(self.points, axis=0)
        heading = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
        length = (np.hypot(*steps[:-1].T) + np.hypot(*steps[1:].T)) / 2
        bends = np.abs(np.diff(heading)) / length
        return float(1 / max(bends.max(initial=0.0), 1e-6))


def _left_of(direction: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
    """Return directions turned a quarter to the left."""
    return _pairs(-direction[:, 1], direction[:, 0])


def _pairs(x: Float[np.ndarray, " N"], y: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N 2"]:
    """Return points of two columns; `numpy.stack` takes several times as long for few points."""
    points = np.empty((len(x), 2))
    points[:, 0], points[:, 1] = x, y
    return points


def bezier(
    start: Float[np.ndarray, "2"],
    start_handle: Float[np.ndarray, "2"],
    end_handle: Float[np.ndarray, "2"],
    end: Float[np.ndarray, "2"],
    count: int,
) -> Curve:
    """Return a cubic Bezier curve of `count` points; the handles are vectors added to the two ends."""
    share = np.linspace(0, 1, count)[:, None]
    rest = 1 - share
    points = (
        rest**3 * start
        + 3 * rest**2 * share * (start + start_handle)
        + 3 * rest * share**2 * (end + end_handle)
        + share**3 * end
    )
    return Curve(points)


def thin(points: Float[np.ndarray, "P 2"], tolerance_m: float = 0.02) -> Float[np.ndarray, "Q 2"]:
    """Leave out points that lie on the line between their neighbours; ends and corners stay."""
    for _ in range(4 if len(points) > 2 else 0):
        before, middle, after = points[:-2:2], points[1:-1:2], points[2::2]
        (chord_x, chord_y), (x, y) = (after - before).T, (middle - before).T
        length = np.maximum(np.hypot(chord_x, chord_y), 1e-9)
        bend = np.abs(chord_x * y - chord_y * x) / length
        way = chord_x * x + chord_y * y
        stays = (bend > tolerance_m) | (way <= 0) | (way >= length**2)
        if stays.all():
            break
        kept = np.ones(len(points), dtype=bool)
        kept[1:-1:2] = stays
        points = points[kept]
    return points

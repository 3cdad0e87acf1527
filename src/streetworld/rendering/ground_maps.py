"""The light on the ground of a scene, as maps made once: shade below things, and the street's lamps."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from streetworld.rendering.tracer import Tracer


@dataclass(frozen=True)
class GroundMap:
    """Values on a regular grid over the ground, constant beyond its border."""

    lower_m: Float[np.ndarray, "2"]
    step_m: float
    values: Float32[np.ndarray, "X Y"]

    def look(self, position: Float32[np.ndarray, "3 N"]) -> Float32[np.ndarray, " N"]:
        """Return the values below or above points, interpolated."""
        scale = np.float32(1 / self.step_m)
        place = [
            (position[axis] - np.float32(self.lower_m[axis])) * scale - np.float32(0.5) for axis in (0, 1)
        ]
        low = [
            np.clip(p, 0, size - 1.01).astype(np.int32)
            for p, size in zip(place, self.values.shape, strict=True)
        ]
        x, y = (np.clip(p - i, 0, 1).astype(np.float32) for p, i in zip(place, low, strict=True))
        width = self.values.shape[1]
        flat, index = self.values.ravel(), low[0] * width + low[1]
        near = flat.take(index) * (1 - y) + flat.take(index + 1) * y
        far = flat.take(index + width) * (1 - y) + flat.take(index + width + 1) * y
        return near * (1 - x) + far * x


def contact_map(still: Tracer, route: Float[np.ndarray, "R 2"]) -> GroundMap:
    """Map how open the sky is just above the ground: dark below parked vehicles."""
    step, border = 0.3, 36.0
    lower, upper = route.min(axis=0) - border, route.max(axis=0) + border
    shape = np.ceil((upper - lower) / step).astype(int)
    x, y = (low + (np.arange(count) + 0.5) * step for low, count in zip(lower, shape, strict=True))
    starts = np.stack((*np.meshgrid(x, y, indexing="ij"), np.full(shape, 0.17)), axis=-1)
    flat = starts.reshape(-1, 3).astype(np.float32)
    upward = np.broadcast_to(np.array((0, 0, 1), dtype=np.float32), flat.shape)
    covered = (still.hit(flat, upward).distance_m < 1.3).reshape(shape).astype(np.float32)
    for axis in (0, 1):
        covered = (np.roll(covered, -1, axis) + covered + np.roll(covered, 1, axis)) / np.float32(3)
    return GroundMap(lower, step, 1 - np.float32(0.78) * covered)


def lamp_map(lamps: Float[np.ndarray, "L 2"], route: Float[np.ndarray, "R 2"]) -> GroundMap:
    """Light of all street lamps on the ground, every metre."""
    step, border = 1.0, 110.0
    lower, upper = route.min(axis=0) - border, route.max(axis=0) + border
    shape = np.ceil((upper - lower) / step).astype(int)
    values = np.full(shape, 0.010, dtype=np.float32)
    x, y = (low + (np.arange(count) + 0.5) * step for low, count in zip(lower, shape, strict=True))
    for lamp_x, lamp_y in lamps:
        i = np.flatnonzero(np.abs(x - lamp_x) < 25)
        j = np.flatnonzero(np.abs(y - lamp_y) < 25)
        if len(i) and len(j):
            square = (x[i, None] - lamp_x) ** 2 + (y[None, j] - lamp_y) ** 2
            values[np.ix_(i, j)] += (9.0 * 7.0 / (square + 49.0) ** 1.5).astype(np.float32)
    return GroundMap(lower, step, values)

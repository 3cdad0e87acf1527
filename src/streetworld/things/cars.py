"""Passenger cars and vans: skins lofted over stations along the car, with windows, lamps and wheels.

A station is (x, height of the top, what lies between it and the next one): `b` body, `w` windscreen or rear
window, `s` side windows, `p` pillar.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from streetworld.things.materials import Material
from streetworld.things.shapes import Mesh, box, cylinder, disc, join, loft, make_mesh
from streetworld.things.texture_parameters import PaintParameters

Station = tuple[float, float, str]


@dataclass(frozen=True)
class CarBody:
    """Measures of a kind of car, in metres."""

    width_m: float
    belt_m: float
    """Height where the windows begin."""
    wheel_m: float
    """Radius of the wheels."""
    axles_m: tuple[float, float]
    """Rear and front axle along x."""
    stations: tuple[Station, ...]
    taper: float = 0.30
    """How much narrower the roof is, per metre above the belt."""
    bed: bool = False
    """Has an open bed behind the cabin."""


CARS: dict[str, CarBody] = {
    "sedan": CarBody(
        1.82, 0.98, 0.33, (-1.40, 1.38),
        ((-2.30, 0.92, "b"), (-1.72, 1.00, "w"), (-1.00, 1.38, "p"), (-0.92, 1.40, "s"), (-0.14, 1.46, "p"),
         (-0.04, 1.46, "s"), (0.50, 1.40, "w"), (1.30, 1.00, "b"), (2.05, 0.88, "b"), (2.30, 0.70, "b")),
    ),
    "hatchback": CarBody(
        1.76, 0.98, 0.31, (-1.25, 1.25),
        ((-1.98, 0.95, "w"), (-1.62, 1.36, "p"), (-1.50, 1.42, "s"), (-0.52, 1.50, "p"), (-0.42, 1.50, "s"),
         (0.35, 1.43, "w"), (1.12, 1.02, "b"), (1.78, 0.90, "b"), (1.98, 0.70, "b")),
    ),
    "wagon": CarBody(
        1.83, 1.00, 0.33, (-1.42, 1.40),
        ((-2.36, 0.98, "w"), (-2.02, 1.44, "p"), (-1.90, 1.48, "s"), (-1.05, 1.50, "p"), (-0.95, 1.50, "s"),
         (-0.12, 1.50, "p"), (-0.02, 1.50, "s"), (0.52, 1.42, "w"), (1.32, 1.02, "b"), (2.08, 0.88, "b"),
         (2.32, 0.70, "b")),
    ),
    "suv": CarBody(
        1.92, 1.12, 0.38, (-1.42, 1.42),
        ((-2.33, 1.08, "w"), (-2.10, 1.62, "p"), (-1.98, 1.68, "s"), (-1.10, 1.73, "p"), (-1.00, 1.73, "s"),
         (-0.10, 1.73, "p"), (0.00, 1.73, "s"), (0.55, 1.63, "w"), (1.25, 1.14, "b"), (2.10, 1.02, "b"),
         (2.33, 0.82, "b")), taper=0.26,
    ),
    "minivan": CarBody(
        1.90, 1.06, 0.34, (-1.50, 1.50),
        ((-2.42, 1.02, "w"), (-2.28, 1.66, "p"), (-2.15, 1.72, "s"), (-1.15, 1.78, "p"), (-1.05, 1.78, "s"),
         (-0.05, 1.78, "p"), (0.05, 1.78, "s"), (0.95, 1.62, "w"), (1.70, 1.06, "b"), (2.30, 0.92, "b"),
         (2.45, 0.75, "b")), taper=0.22,
    ),
    "van": CarBody(
        2.00, 1.15, 0.36, (-1.65, 1.75),
        ((-2.70, 2.10, "b"), (-2.55, 2.24, "b"), (0.55, 2.22, "s"), (1.35, 2.02, "w"), (2.12, 1.18, "b"),
         (2.60, 0.98, "b"), (2.70, 0.75, "b")), taper=0.10,
    ),
    "pickup": CarBody(
        1.98, 1.12, 0.40, (-1.75, 1.65),
        ((-2.75, 1.06, "b"), (-0.95, 1.06, "b"), (-0.90, 1.12, "w"), (-0.72, 1.76, "p"), (-0.62, 1.80, "s"),
         (0.12, 1.82, "p"), (0.20, 1.82, "s"), (0.72, 1.70, "w"), (1.38, 1.16, "b"), (2.45, 1.04, "b"),
         (2.72, 0.82, "b")), bed=True,
    ),
}  # fmt: skip
"""Kinds of cars by name."""


@cache
def car_mesh(name: str) -> Mesh:
    """Build the template of a kind of car, its middle at x = 0."""
    body = CARS[name]
    rings = np.stack([_ring(body, x, top) for x, top, _ in body.stations])
    inside = [_patches(kind) for _, _, kind in body.stations[:-1]]
    parts = [loft(rings, np.array(inside, dtype=np.uint8))]
    parts += [_cap(rings[0]), _cap(rings[-1])]
    parts += [*_wheels(body), *_lamps(body), *_trim(body)]
    if body.bed:
        parts.append(box((-1.83, 0, 1.07), (1.6, body.width_m * 0.78, 0.02), Material.DARK))
    return join(parts)


def _ring(body: CarBody, x: float, top: float) -> Float[np.ndarray, "9 3"]:
    """Return the cross-section from the left sill over the roof to the right sill."""
    rear, front = body.stations[0][0], body.stations[-1][0]
    near_end = max(abs(x - (rear + front) / 2) / ((front - rear) / 2) - 0.72, 0.0)
    half = body.width_m / 2 - near_end * 0.38
    sill = body.wheel_m * 0.75 + near_end * 0.1
    belt = min(body.belt_m, top - 0.03)
    roof_half = half - 0.03 - body.taper * max(top - body.belt_m, 0.0)
    left = [
        (half - 0.05, sill),
        (half, (sill + belt) / 2 + 0.04),
        (half - 0.03, belt),
        (roof_half - 0.02, max(top - 0.07, belt + 0.015)),
    ]
    points = [(y, z) for y, z in left] + [(0.0, top)] + [(-y, z) for y, z in reversed(left)]
    return np.array([(x, y, z) for y, z in points])


def _patches(kind: str) -> list[Material]:
    """Return the materials of a car's skin between two stations."""
    window = Material.GLASS if kind == "s" else Material.PAINT
    roof = Material.GLASS if kind == "w" else Material.PAINT
    side = Material.PAINT
    return [side, side, window, roof, roof, window, side, side]


def _cap(ring: Float[np.ndarray, "9 3"]) -> Mesh:
    """Build the end of a car's skin."""
    faces = [[0, i, i + 1] for i in range(1, len(ring) - 1)]
    return make_mesh(ring, faces, Material.PAINT)


def _wheels(body: CarBody) -> list[Mesh]:
    """Build the four wheels of a car."""
    return wheels([(x, body.width_m / 2 - 0.11) for x in body.axles_m], body.wheel_m)


def wheels(axles: list[tuple[float, float]], radius_m: float, width_m: float = 0.22) -> list[Mesh]:
    """Build pairs of wheels at (x, half track) with dark arches behind and bright hubs before them."""
    parts = []
    for x, half in axles:
        for side in (1, -1):
            foot = (x, side * half - width_m / 2, radius_m)
            parts.append(cylinder(foot, radius_m, width_m, Material.RUBBER, axis="y", sides=11))
            out = half + width_m / 2
            parts.append(disc((x, side * (out + 0.006), radius_m), radius_m * 0.58, Material.METAL, sides=8))
            arch = (x, side * (out - 0.01), radius_m * 1.12)
            parts.append(disc(arch, radius_m * 1.08, Material.DARK, sides=11))
    return parts


def _lamps(body: CarBody) -> list[Mesh]:
    """Build the lamps of a car."""
    rear, front = body.stations[0], body.stations[-1]
    y = body.width_m / 2 - 0.38
    low, high = front[1] - 0.09, min(rear[1], 1.15) - 0.13
    parts = []
    for side in (1, -1):
        parts.append(box((front[0] - 0.06, side * y, low), (0.18, 0.36, 0.13), Material.LAMP_WHITE))
        parts.append(box((rear[0] + 0.05, side * (y + 0.06), high), (0.14, 0.24, 0.18), Material.LAMP_RED))
    return parts


def _trim(body: CarBody) -> list[Mesh]:
    """Build bumpers and plates."""
    rear, front = body.stations[0][0], body.stations[-1][0]
    width = body.width_m
    return [
        box((front - 0.02, 0, 0.42), (0.12, width * 0.78, 0.2), Material.DARK),
        box((rear + 0.02, 0, 0.42), (0.12, width * 0.80, 0.2), Material.DARK),
        box((front + 0.045, 0, 0.46), (0.02, 0.5, 0.11), Material.PLATE),
        box((rear - 0.045, 0, 0.62), (0.09, 0.5, 0.11), Material.PLATE),
    ]


def paint_parameters(name: str) -> PaintParameters[float]:
    """Return where the belt line and the gaps of the doors of a car are."""
    body = CARS[name]
    pillars = [x for x, _, kind in body.stations if kind == "p"][-2:] or [0.55]
    first, second, *rest = (*pillars, body.axles_m[1] - body.wheel_m * 1.6, 0.0)
    return PaintParameters(body.belt_m, first, second, rest[0])

"""People, bicycles and motorcycles, made of ellipsoids and thin solids."""

from functools import cache

import numpy as np

from streetworld.things.materials import Material
from streetworld.things.shapes import Mesh, box, cylinder, disc, ellipsoid, join, place, tilt

GAITS = 8
"""Templates of a walking person over one double step; `GAITS` itself is a person standing."""
STRIDE_M = 1.5
"""Way of one double step."""


@cache
def person_mesh(gait: int) -> Mesh:
    """Build a person of 1.75 m; `gait` below `GAITS` is a moment of walking, `GAITS` standing."""
    swing = 0.0 if gait >= GAITS else 0.45 * np.sin(2 * np.pi * gait / GAITS)
    parts = [_torso(), _head(1.58)]
    for side in (1, -1):
        parts += _leg(side * 0.095, side * swing)
        arm = cylinder((0, side * 0.245, 0.83), 0.042, 0.58, Material.CLOTH, top_radius_m=0.06, sides=6)
        hand = ellipsoid((0, side * 0.245, 0.80), (0.045, 0.04, 0.07), Material.SKIN, detail=0)
        parts.append(tilt(join([arm, hand]), side * swing * 0.8, (0, 0, 1.4)))
    return join(parts)


def _torso() -> Mesh:
    """Build chest, hips and neck."""
    chest = ellipsoid((0, 0, 1.2), (0.135, 0.215, 0.3), Material.CLOTH)
    hips = ellipsoid((0, 0, 0.95), (0.125, 0.175, 0.16), Material.TROUSERS, detail=0)
    return join([chest, hips, cylinder((0, 0, 1.42), 0.06, 0.12, Material.SKIN, sides=6)])


def _head(height: float) -> Mesh:
    """Build a head with hair."""
    face = ellipsoid((0.015, 0, height), (0.1, 0.085, 0.125), Material.SKIN, detail=1)
    return join([face, ellipsoid((-0.02, 0, height + 0.045), (0.1, 0.095, 0.1), Material.HAIR, detail=1)])


def _leg(y: float, swing: float) -> list[Mesh]:
    """Build a leg at a moment of walking."""
    thigh = cylinder((0, y, 0.46), 0.065, 0.5, Material.TROUSERS, top_radius_m=0.09, sides=7)
    knee_bend = max(0.0, swing) * 0.9
    shin = cylinder((0, y, 0.06), 0.048, 0.42, Material.TROUSERS, top_radius_m=0.066, sides=7)
    foot = box((0.05, y, 0.04), (0.26, 0.09, 0.08), Material.DARK)
    lower = tilt(join([shin, foot]), knee_bend, (0, 0, 0.46))
    return [tilt(join([thigh, lower]), swing, (0, 0, 0.93))]


def _rider(lean: float, seat: float) -> list[Mesh]:
    """Build somebody seated at height `seat`, leaning forward by `lean` radians."""
    upper = join([_torso(), _head(1.58)])
    arms = [
        tilt(cylinder((0.0, side * 0.22, 0.8), 0.045, 0.6, Material.CLOTH, sides=6), -0.95, (0, 0, 1.4))
        for side in (1, -1)
    ]
    body = tilt(join([upper, *arms]), lean, (0, 0, 0.93))
    legs = [
        tilt(
            cylinder((0.02, side * 0.12, 0.05), 0.06, 0.9, Material.TROUSERS, top_radius_m=0.09, sides=6),
            bend,
            (0, 0, 0.93),
        )
        for side, bend in ((1, -0.75), (-1, -0.3))
    ]
    return [place(join([body, *legs]), (-0.15, 0, seat - 0.88))]


def _spoked_wheel(x: float, radius: float, width: float) -> list[Mesh]:
    """Build a wheel with a dark tyre."""
    tyre = cylinder((x, -width / 2, radius), radius, width, Material.RUBBER, axis="y", sides=12)
    sides = (-width / 2 - 0.005, width / 2 + 0.005)
    return [tyre, *(disc((x, y, radius), radius * 0.82, Material.METAL, sides=12) for y in sides)]


@cache
def bicycle_mesh(ridden: bool) -> Mesh:
    """Build a bicycle of 1.75 m, with or without a rider."""
    parts = [*_spoked_wheel(-0.52, 0.34, 0.035), *_spoked_wheel(0.53, 0.34, 0.035)]
    bars = [
        ((0.0, 0, 0.72), (0.72, 0.05, 0.05), 0.12),
        ((0.12, 0, 0.52), (0.62, 0.05, 0.05), -0.75),
        ((-0.27, 0, 0.4), (0.5, 0.05, 0.05), 0.2),
    ]
    parts += [tilt(box(center, size, Material.PAINT), angle, center) for center, size, angle in bars]
    parts += [
        tilt(cylinder((-0.2, 0, 0.4), 0.025, 0.55, Material.PAINT, sides=5), -0.2, (-0.2, 0, 0.4)),
        tilt(cylinder((0.53, 0, 0.34), 0.025, 0.72, Material.METAL, sides=5), -0.28, (0.53, 0, 0.34)),
        box((0.36, 0, 1.04), (0.05, 0.56, 0.05), Material.DARK),
        box((-0.3, 0, 0.94), (0.26, 0.14, 0.06), Material.DARK),
    ]
    return join([*parts, *(_rider(0.35, 0.98) if ridden else [])])


@cache
def motorcycle_mesh(ridden: bool) -> Mesh:
    """Build a motorcycle of 2.1 m, with or without a rider."""
    parts = [*_spoked_wheel(-0.7, 0.32, 0.14), *_spoked_wheel(0.72, 0.32, 0.11)]
    parts += [
        ellipsoid((0.12, 0, 0.78), (0.36, 0.17, 0.2), Material.PAINT),
        ellipsoid((0.62, 0, 0.86), (0.2, 0.2, 0.26), Material.PAINT),
        box((0.0, 0, 0.45), (0.55, 0.32, 0.4), Material.METAL),
        box((-0.45, 0, 0.8), (0.75, 0.26, 0.12), Material.DARK),
        box((-0.8, 0, 0.78), (0.3, 0.16, 0.14), Material.PAINT),
        box((0.45, 0, 1.06), (0.05, 0.74, 0.05), Material.DARK),
        box((0.84, 0, 0.86), (0.06, 0.2, 0.16), Material.LAMP_WHITE),
        box((-0.96, 0, 0.78), (0.05, 0.16, 0.1), Material.LAMP_RED),
        tilt(cylinder((0.72, 0, 0.3), 0.04, 0.75, Material.METAL, sides=6), -0.42, (0.72, 0, 0.3)),
    ]
    return join([*parts, *(_rider(0.2, 0.9) if ridden else [])])


@cache
def bicycle_rack_mesh() -> Mesh:
    """Build a rack of 3 m with five bicycles."""
    cycles = [place(bicycle_mesh(False), (0.05 * (-1) ** i, -1.2 + 0.6 * i, 0)) for i in range(5)]
    hoops = [box((0.2, -1.5 + 0.6 * i, 0.4), (0.05, 0.05, 0.8), Material.METAL) for i in range(6)]
    return join([*cycles, *hoops, box((0.2, 0, 0.8), (0.05, 3.05, 0.05), Material.METAL)])

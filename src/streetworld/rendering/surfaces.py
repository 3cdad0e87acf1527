"""How everything that stands on the ground looks: paint, glass, facades, leaves, cloth, clutter.

Axes: `N` pixels.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from streetworld.rendering import pavement
from streetworld.rendering.facades import bricks, facade
from streetworld.rendering.pavement import RGB, Spot, paint_over, rgb, tint
from streetworld.rendering.textures import grain, leaves, patches, scatter, stripe, stripes
from streetworld.rendering.tracer import Surface
from streetworld.things.materials import Material
from streetworld.things.objects import Appearance
from streetworld.things.texture_parameters import PaintParameters, SignalParameters, columns

Texture = Callable[[Spot], RGB]


@dataclass(frozen=True)
class Coat:
    """What light meets at every pixel."""

    albedo: Float32[np.ndarray, "3 N"]
    gloss: Float32[np.ndarray, " N"]
    """How mirror-like a surface is, 0-1."""
    emission: Float32[np.ndarray, "3 N"]
    """Light of its own, against full night."""


def coat(surface: Surface, footprint_m: Float32[np.ndarray, " N"], appearance: Appearance) -> Coat:
    """Colour all pixels; those of one material should follow each other, `footprint_m` is their size."""
    count = len(surface.material)
    albedo = np.empty((3, count), dtype=np.float32)
    emission = np.zeros((3, count), dtype=np.float32)
    gloss = _GLOSS.take(surface.material)
    borders = np.flatnonzero(np.diff(surface.material)) + 1
    for start, end in itertools.pairwise((0, *borders.tolist(), count)):
        kind, run = Material(int(surface.material[start])), slice(start, end)
        spot = Spot(
            surface.position[:, run], surface.local[:, run], surface.normal[:, run], footprint_m[run],
            surface.object_id[run], appearance,
        )  # fmt: skip
        if kind is Material.FACADE:
            look = facade(spot)
            albedo[:, run], gloss[run], emission[:, run] = look.albedo, look.gloss, look.emission
            continue
        albedo[:, run] = _TEXTURES[kind](spot)
        if kind in _EMISSIONS:
            emission[:, run] = _EMISSIONS[kind](spot)
    return Coat(albedo, gloss, emission)


def _plain(*color: float) -> Texture:
    """Return a texture of one colour."""
    return lambda spot: np.broadcast_to(rgb(*color), spot.position.shape)


def _paint(spot: Spot) -> RGB:
    """Paint a vehicle: dirt near the ground, dark gaps beside its doors."""
    x, z, foot = spot.local[0], spot.local[2], spot.footprint_m
    dirt = patches().look(x + spot.local[1], z, 0.02, foot)
    low = np.clip(1.2 - z * 1.5, 0, 1) * 0.35
    paint = columns(PaintParameters, spot.parameters)
    gaps = (paint.gap_1_m, paint.gap_2_m, paint.gap_3_m)
    gap = np.max([stripe(x - at, -0.012, 0.012, foot) for at in gaps], axis=0)
    gap *= (paint.belt_m > 0) & (z > 0.36) & (z < paint.belt_m)
    return paint_over(paint_over(spot.color, dirt * low, (0.12, 0.10, 0.08)), gap * 0.8, (0.01, 0.01, 0.01))


def _cargo(spot: Spot) -> RGB:
    """Draw the pale side of a truck's box, with seams."""
    pale = 0.38 + 0.45 * np.sqrt(np.clip(spot.accent, 0, 1))
    seams = stripes(spot.local[0] / 0.9, 0.0, 0.03, spot.footprint_m / 0.9)
    return pale * (1 - 0.25 * seams)


def _corrugated(spot: Spot) -> RGB:
    """Draw ribbed sheet metal with rust."""
    across = np.where(np.abs(spot.normal[2]) > 0.7, spot.local[0], spot.local[0] + spot.local[1])
    ribs = stripes(across / 0.28, 0.0, 0.5, spot.footprint_m / 0.28)
    rust = np.clip(patches().look(across, spot.local[2], 0.02, spot.footprint_m) * 3 - 1.9, 0, 1)
    return paint_over(spot.color * (0.72 + 0.4 * ribs), rust * 0.8, (0.18, 0.07, 0.03))


def _plastic(spot: Spot) -> RGB:
    """Draw worn plastic in the second colour."""
    worn = patches().look(spot.local[0] + spot.local[1], spot.local[2], 0.015, spot.footprint_m)
    return spot.accent * (0.75 + 0.5 * worn)


def _accent(spot: Spot) -> RGB:
    """Return the second colour of the object."""
    return spot.accent


def _wood(spot: Spot) -> RGB:
    """Draw boards with veins."""
    x, z, foot = spot.local[0] + spot.local[1], spot.local[2], spot.footprint_m
    gaps = stripes(z / 0.16, 0.0, 0.14, foot / 0.16)
    veins = grain().look(x * np.float32(0.25), z, 0.008, foot)
    board = scatter(np.floor(z / 0.16), spot.seed) * np.clip(1.5 - foot / 0.16, 0, 1)
    return tint((0.55 + 0.6 * veins + 0.25 * board) * (1 - 0.6 * gaps), (0.32, 0.21, 0.11))


def _concrete(spot: Spot) -> RGB:
    """Draw rough concrete."""
    x, z = spot.position[0] + spot.position[1], spot.position[2]
    rough = grain().look(x, z, 0.02, spot.footprint_m)
    return tint(0.24 + 0.2 * rough, (1.0, 0.99, 0.96))


def _wall(spot: Spot) -> RGB:
    """Draw bricks in the first colour."""
    x, z, foot = spot.position[0] + spot.position[1], spot.position[2], spot.footprint_m
    return spot.color * bricks(x, z, foot)


def _poster(spot: Spot) -> RGB:
    """Draw patches of both colours with a pale border."""
    u, w = spot.local[0] + spot.local[1], spot.local[2]
    field = scatter(np.floor(u / 0.35), np.floor(w / 0.5), spot.seed)
    border = np.maximum(1 - stripe(u % 1.4, 0.08, 1.32, spot.footprint_m), 0)
    return paint_over(spot.color * field + spot.accent * (1 - field), border, (0.7, 0.7, 0.7))


def _stripes(spot: Spot) -> RGB:
    """Draw stripes of white and the second colour."""
    band = stripes((spot.local[0] + spot.local[1]) / 0.5, 0.0, 0.5, spot.footprint_m / 0.5)
    return paint_over(np.broadcast_to(np.float32(0.7), spot.color.shape), band, spot.accent)


def _sign(spot: Spot) -> RGB:
    """Draw the face of a traffic sign."""
    out = np.hypot(spot.local[1], spot.local[2] - 2.35)
    face = stripe(out, -1.0, 0.25, spot.footprint_m)
    inner = stripe(out, -1.0, 0.10, spot.footprint_m)
    base = paint_over(np.broadcast_to(spot.color, spot.color.shape), face, (0.75, 0.75, 0.73))
    return paint_over(base, inner, (0.05, 0.05, 0.06))


def _leaf(spot: Spot) -> RGB:
    """Draw the leaves of a tree, darker inside and below."""
    x, y, z = spot.local
    clumps = leaves().look(x + 0.7 * z, y - 0.6 * z, 0.016, spot.footprint_m)
    height = np.clip(0.45 + z * 0.11, 0.5, 1.1)
    return spot.color * ((0.35 + 1.15 * clumps) * height)


def _hedge(spot: Spot) -> RGB:
    """Draw the leaves of a hedge."""
    x, y, z = spot.local
    clumps = leaves().look(x + y, z + 0.4 * y, 0.012, spot.footprint_m)
    return tint((0.4 + 1.2 * clumps) * np.clip(0.55 + z * 0.4, 0.5, 1.1), (0.065, 0.13, 0.04))


def _bark(spot: Spot) -> RGB:
    """Draw bark with veins along the trunk."""
    turn = np.arctan2(spot.local[1], spot.local[0])
    veins = grain().look(turn.astype(np.float32), spot.local[2] * np.float32(0.15), 0.02, spot.footprint_m)
    return tint(0.5 + 0.9 * veins, (0.12, 0.09, 0.06))


def _cloth(spot: Spot) -> RGB:
    """Draw cloth with folds in the first colour."""
    folds = grain().look(spot.local[1], spot.local[2], 0.01, spot.footprint_m)
    return spot.color * (0.75 + 0.5 * folds)


def _trousers(spot: Spot) -> RGB:
    """Draw cloth with folds in the second colour."""
    folds = grain().look(spot.local[1], spot.local[2], 0.01, spot.footprint_m)
    return spot.accent * (0.75 + 0.5 * folds)


def _skin(spot: Spot) -> RGB:
    """Draw skin of a tone that the seed chooses."""
    return tint(0.35 + 0.65 * scatter(spot.seed, spot.seed * 0 + 3), (0.60, 0.40, 0.29))


def _roof(spot: Spot) -> RGB:
    """Draw rows of red or grey tiles."""
    rows = stripes(spot.position[2] / 0.3, 0.0, 0.15, spot.footprint_m / 0.3)
    tone = scatter(spot.seed, spot.seed * 0 + 5)
    color = np.where(tone > 0.5, rgb(0.20, 0.085, 0.05), rgb(0.09, 0.09, 0.10))
    return color * (1 - 0.35 * rows)


def _signal_glow(spot: Spot) -> RGB:
    """Light the lamp of the traffic light's state; lamps are told apart by their height."""
    lamp = np.rint((spot.local[2] - 2.85) / 0.32).astype(int)
    burning = lamp == np.rint(1 - columns(SignalParameters, spot.parameters).state).astype(int)
    colors = np.array([(0.05, 1.0, 1.0), (0.9, 0.55, 0.05), (0.18, 0.03, 0.03)], dtype=np.float32)
    return colors[:, lamp.clip(-1, 1) + 1] * burning


_TEXTURES: dict[Material, Texture] = {
    Material.ROAD: pavement.road,
    Material.ASPHALT: pavement.asphalt,
    Material.KERB: pavement.kerb,
    Material.SIDEWALK: pavement.sidewalk,
    Material.GRASS: pavement.grass,
    Material.PAVING: pavement.paving,
    Material.CAR_PARK: pavement.car_park,
    Material.MEDIAN: pavement.median,
    Material.PAINT: _paint,
    Material.GLASS: _plain(0.015, 0.02, 0.022),
    Material.RUBBER: _plain(0.016, 0.016, 0.016),
    Material.METAL: _plain(0.30, 0.31, 0.32),
    Material.LAMP_WHITE: _plain(0.75, 0.75, 0.72),
    Material.LAMP_RED: _plain(0.35, 0.015, 0.015),
    Material.LAMP_AMBER: _plain(0.35, 0.20, 0.02),
    Material.PLATE: _plain(0.6, 0.6, 0.55),
    Material.CARGO: _cargo,
    Material.ROOF: _roof,
    Material.WALL: _wall,
    Material.CONCRETE: _concrete,
    Material.BARK: _bark,
    Material.LEAF: _leaf,
    Material.HEDGE: _hedge,
    Material.SKIN: _skin,
    Material.CLOTH: _cloth,
    Material.TROUSERS: _trousers,
    Material.HAIR: _plain(0.05, 0.035, 0.025),
    Material.PLASTIC: _plastic,
    Material.ACCENT: _accent,
    Material.WOOD: _wood,
    Material.CORRUGATED: _corrugated,
    Material.POSTER: _poster,
    Material.STRIPES: _stripes,
    Material.SIGN: _sign,
    Material.SIGNAL: _plain(0.03, 0.03, 0.03),
    Material.STREET_LAMP: _plain(0.6, 0.6, 0.55),
    Material.DARK: _plain(0.02, 0.02, 0.02),
}

_EMISSIONS: dict[Material, Texture] = {
    Material.LAMP_WHITE: _plain(1.6, 1.5, 1.25),
    Material.LAMP_RED: _plain(0.6, 0.02, 0.015),
    Material.LAMP_AMBER: _plain(0.9, 0.45, 0.05),
    Material.SIGNAL: _signal_glow,
    Material.STREET_LAMP: _plain(3.0, 2.3, 1.4),
}

_GLOSS = np.zeros(64, dtype=np.float32)
_GLOSS[
    [Material.PAINT, Material.GLASS, Material.METAL, Material.LAMP_WHITE, Material.LAMP_RED, Material.PLASTIC]
] = (0.55, 0.95, 0.25, 0.7, 0.5, 0.12)

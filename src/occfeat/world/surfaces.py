"""How everything that stands on the ground looks: paint, glass, facades, leaves, cloth, clutter.

Axes: `N` pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from occfeat.world import pavement
from occfeat.world.materials import Material
from occfeat.world.objects import Appearance
from occfeat.world.pavement import RGB, Spot, paint_over, tint
from occfeat.world.textures import grain, leaves, patches, scatter, stripe, stripes

Texture = Callable[[Spot], RGB]


@dataclass(frozen=True)
class Coat:
    """What light meets at every pixel."""

    albedo: Float32[np.ndarray, "N 3"]
    gloss: Float32[np.ndarray, " N"]
    """How mirror-like a surface is, 0-1."""
    emission: Float32[np.ndarray, "N 3"]
    """Light of its own, against full night."""


def coat(
    position: Float32[np.ndarray, "N 3"],
    normal: Float32[np.ndarray, "N 3"],
    local: Float32[np.ndarray, "N 3"],
    material: UInt8[np.ndarray, " N"],
    object_id: Int32[np.ndarray, " N"],
    footprint_m: Float32[np.ndarray, " N"],
    appearance: Appearance,
) -> Coat:
    """Colour all pixels, material by material."""
    count = len(material)
    albedo = np.empty((count, 3), dtype=np.float32)
    emission = np.zeros((count, 3), dtype=np.float32)
    order = np.argsort(material, kind="stable")
    kinds, starts = np.unique(material[order], return_index=True)
    for kind, rows in zip(kinds, np.split(order, starts[1:]), strict=True):
        objects = object_id[rows]
        spot = Spot(
            position[rows], local[rows], normal[rows], footprint_m[rows], appearance.color[objects],
            appearance.accent[objects], appearance.parameters[objects], appearance.seed[objects],
        )  # fmt: skip
        albedo[rows] = _TEXTURES[Material(int(kind))](spot)
        glow = _EMISSIONS.get(Material(int(kind)))
        if glow is not None:
            emission[rows] = glow(spot)
    return Coat(albedo, _GLOSS[material], emission)


def _plain(*color: float) -> Texture:
    shade = np.array(color, dtype=np.float32)
    return lambda spot: np.broadcast_to(shade, spot.position.shape)


def _paint(spot: Spot) -> RGB:
    dirt = patches().look(spot.local[:, 0] + spot.local[:, 1], spot.local[:, 2], 0.02, spot.footprint_m)
    low = np.clip(1.2 - spot.local[:, 2] * 1.5, 0, 1) * 0.35
    return paint_over(spot.color, dirt * low, (0.12, 0.10, 0.08))


def _cargo(spot: Spot) -> RGB:
    pale = 0.38 + 0.45 * np.sqrt(np.clip(spot.accent, 0, 1))
    seams = stripes(spot.local[:, 0] / 0.9, 0.0, 0.03, spot.footprint_m / 0.9)
    return pale * (1 - 0.25 * seams)[:, None]


def _corrugated(spot: Spot) -> RGB:
    across = np.where(np.abs(spot.normal[:, 2]) > 0.7, spot.local[:, 0], spot.local[:, 0] + spot.local[:, 1])
    ribs = stripes(across / 0.28, 0.0, 0.5, spot.footprint_m / 0.28)
    rust = np.clip(patches().look(across, spot.local[:, 2], 0.02, spot.footprint_m) * 3 - 1.9, 0, 1)
    return paint_over(spot.color * (0.72 + 0.4 * ribs)[:, None], rust * 0.8, (0.18, 0.07, 0.03))


def _plastic(spot: Spot) -> RGB:
    worn = patches().look(spot.local[:, 0] + spot.local[:, 1], spot.local[:, 2], 0.015, spot.footprint_m)
    return spot.accent * (0.75 + 0.5 * worn)[:, None]


def _accent(spot: Spot) -> RGB:
    return spot.accent


def _wood(spot: Spot) -> RGB:
    x, z, foot = spot.local[:, 0] + spot.local[:, 1], spot.local[:, 2], spot.footprint_m
    gaps = stripes(z / 0.16, 0.0, 0.14, foot / 0.16)
    veins = grain().look(x * np.float32(0.25), z, 0.008, foot)
    board = scatter(np.floor(z / 0.16), spot.seed) * np.clip(1.5 - foot / 0.16, 0, 1)
    return tint((0.55 + 0.6 * veins + 0.25 * board) * (1 - 0.6 * gaps), (0.32, 0.21, 0.11))


def _concrete(spot: Spot) -> RGB:
    x, z = spot.position[:, 0] + spot.position[:, 1], spot.position[:, 2]
    rough = grain().look(x, z, 0.02, spot.footprint_m)
    return tint(0.24 + 0.2 * rough, (1.0, 0.99, 0.96))


def _wall(spot: Spot) -> RGB:
    x, z, foot = spot.position[:, 0] + spot.position[:, 1], spot.position[:, 2], spot.footprint_m
    return spot.color * _bricks(x, z, foot)[:, None]


def _bricks(u: np.ndarray, w: np.ndarray, foot: np.ndarray) -> Float32[np.ndarray, " N"]:
    row = np.floor(w / 0.12)
    shift = u / 0.26 + 0.5 * (row % 2)
    mortar = np.maximum(stripes(w / 0.12, 0.0, 0.14, foot / 0.12), stripes(shift, 0.0, 0.07, foot / 0.26))
    each = scatter(np.floor(shift), row) * np.clip(1.4 - foot / 0.15, 0, 1)
    return 0.82 + 0.35 * each - 0.28 * mortar


def _poster(spot: Spot) -> RGB:
    u, w = spot.local[:, 0] + spot.local[:, 1], spot.local[:, 2]
    field = scatter(np.floor(u / 0.35), np.floor(w / 0.5), spot.seed)
    border = np.maximum(1 - stripe(u % 1.4, 0.08, 1.32, spot.footprint_m), 0)
    return paint_over(
        spot.color * field[:, None] + spot.accent * (1 - field)[:, None], border, (0.7, 0.7, 0.7)
    )


def _stripes(spot: Spot) -> RGB:
    band = stripes((spot.local[:, 0] + spot.local[:, 1]) / 0.5, 0.0, 0.5, spot.footprint_m / 0.5)
    return paint_over(np.broadcast_to(np.float32(0.7), spot.color.shape), band, spot.accent)


def _sign(spot: Spot) -> RGB:
    out = np.hypot(spot.local[:, 1], spot.local[:, 2] - 2.35)
    face = stripe(out, -1.0, 0.25, spot.footprint_m)
    inner = stripe(out, -1.0, 0.10, spot.footprint_m)
    base = paint_over(np.broadcast_to(spot.color, spot.color.shape), face, (0.75, 0.75, 0.73))
    return paint_over(base, inner, (0.05, 0.05, 0.06))


def _leaf(spot: Spot) -> RGB:
    x, y, z = spot.local.T
    clumps = leaves().look(x + 0.7 * z, y - 0.6 * z, 0.016, spot.footprint_m)
    height = np.clip(0.45 + z * 0.11, 0.5, 1.1)
    return spot.color * ((0.35 + 1.15 * clumps) * height)[:, None]


def _hedge(spot: Spot) -> RGB:
    x, y, z = spot.local.T
    clumps = leaves().look(x + y, z + 0.4 * y, 0.012, spot.footprint_m)
    return tint((0.4 + 1.2 * clumps) * np.clip(0.55 + z * 0.4, 0.5, 1.1), (0.065, 0.13, 0.04))


def _bark(spot: Spot) -> RGB:
    turn = np.arctan2(spot.local[:, 1], spot.local[:, 0])
    veins = grain().look(turn.astype(np.float32), spot.local[:, 2] * np.float32(0.15), 0.02, spot.footprint_m)
    return tint(0.5 + 0.9 * veins, (0.12, 0.09, 0.06))


def _cloth(spot: Spot) -> RGB:
    folds = grain().look(spot.local[:, 1], spot.local[:, 2], 0.01, spot.footprint_m)
    return spot.color * (0.75 + 0.5 * folds)[:, None]


def _trousers(spot: Spot) -> RGB:
    folds = grain().look(spot.local[:, 1], spot.local[:, 2], 0.01, spot.footprint_m)
    return spot.accent * (0.75 + 0.5 * folds)[:, None]


def _skin(spot: Spot) -> RGB:
    return tint(0.35 + 0.65 * scatter(spot.seed, spot.seed * 0 + 3), (0.60, 0.40, 0.29))


def _roof(spot: Spot) -> RGB:
    rows = stripes(spot.position[:, 2] / 0.3, 0.0, 0.15, spot.footprint_m / 0.3)
    tone = scatter(spot.seed, spot.seed * 0 + 5)
    color = np.where((tone > 0.5)[:, None], (0.20, 0.085, 0.05), (0.09, 0.09, 0.10)).astype(np.float32)
    return color * (1 - 0.35 * rows)[:, None]


@dataclass(frozen=True)
class _Facade:
    """Shares of facade pixels covered by each part, and numbers of windows."""

    window: np.ndarray
    frame: np.ndarray
    door: np.ndarray
    column: np.ndarray
    storey: np.ndarray


def _facade_parts(spot: Spot) -> _Facade:
    u, w, foot = spot.local[:, 0], spot.local[:, 2], spot.footprint_m
    style, storey, bay, wide, tall, shop, top = spot.parameters.T[:7]
    ribbon, curtain = style == 2, style == 3
    wide = np.where(ribbon, np.float32(0.94), np.where(curtain, np.float32(0.93), wide))
    tall = np.where(curtain, np.float32(0.9), tall)
    across, up = u / bay, w / storey
    a, b = foot / bay, foot / storey
    ground = w < storey
    ground_shop = ground & (shop > 0.5)
    low = 0.5 - tall / 2
    open_x = stripes(across, 0.5 - wide / 2, 0.5 + wide / 2, a)
    open_z = stripes(up, low, low + tall, b)
    usable = (~ground_shop) & (w < top - 0.5)
    window = open_x * open_z * usable
    around = stripes(across, 0.47 - wide / 2, 0.53 + wide / 2, a) * stripes(
        up, low - 0.05, low + tall + 0.04, b
    )
    bar = open_x * open_z * stripes(across, 0.485, 0.515, a)
    frame = np.clip(around * usable - window, 0, 1) + bar * usable
    door = ground_shop * stripes(across, 0.08, 0.92, a) * stripe(w, 0.15, 2.6, foot)
    column, number = np.floor(across).astype(np.int32), np.floor(up).astype(np.int32)
    return _Facade(window * (1 - 0.9 * (bar > 0.5)), np.clip(frame, 0, 1), door, column, number)


def _facade(spot: Spot) -> RGB:
    """Walls of a building from its parameters: style, storey height, bay width, window shares, shop, height."""
    u, w, foot = spot.local[:, 0], spot.local[:, 2], spot.footprint_m
    parts = _facade_parts(spot)
    style = spot.parameters[:, 0]
    stains = patches().look(u, w, 0.06, foot)
    wall = spot.color * (0.82 + 0.36 * stains)[:, None]
    brick = (style == 0)[:, None]
    wall = np.where(brick, wall * _bricks(u, w, foot)[:, None], wall)
    joint = np.maximum(stripes(u / 1.5, 0.0, 0.02, foot / 1.5), stripes(w / 3.1, 0.0, 0.012, foot / 3.1))
    wall = np.where((style == 4)[:, None], wall * (1 - 0.35 * joint)[:, None], wall)
    band = stripe(w, 3.0, 3.3, foot) * (spot.parameters[:, 5] > 0.5)
    wall = paint_over(wall, band * 0.7, spot.accent)
    wall = paint_over(wall, parts.frame, spot.accent)
    pane = 0.02 + 0.05 * scatter(parts.column, parts.storey, spot.seed)
    glass = pane[:, None] * np.array((0.85, 1.0, 1.15), dtype=np.float32)
    curtains = scatter(parts.column, parts.storey, spot.seed + 7) > 0.72
    glass = np.where(curtains[:, None], np.float32(0.25), glass)
    return paint_over(wall, np.maximum(parts.window, parts.door), glass)


def _facade_glow(spot: Spot) -> RGB:
    parts = _facade_parts(spot)
    draw = scatter(parts.column, parts.storey, spot.seed + 1)
    lit = parts.window * (draw > 0.66) + parts.door * 0.6
    warm = np.where((draw > 0.85)[:, None], (0.30, 0.33, 0.36), (0.40, 0.28, 0.13)).astype(np.float32)
    return lit[:, None].astype(np.float32) * warm


def _signal_glow(spot: Spot) -> RGB:
    """Red, amber or green by the state in the third parameter; lamps are told apart by their height."""
    lamp = np.rint((spot.local[:, 2] - 2.85) / 0.32).astype(int)
    burning = lamp == np.rint(1 - spot.parameters[:, 2]).astype(int)
    colors = np.array([(0.05, 0.9, 0.35), (1.0, 0.55, 0.03), (1.0, 0.05, 0.03)], dtype=np.float32)
    return colors[lamp.clip(-1, 1) + 1] * burning[:, None]


def _glow(*color: float) -> Texture:
    shade = np.array(color, dtype=np.float32)
    return lambda spot: np.broadcast_to(shade, spot.position.shape)


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
    Material.FACADE: _facade,
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
    Material.FACADE: _facade_glow,
    Material.LAMP_WHITE: _glow(1.6, 1.5, 1.25),
    Material.LAMP_RED: _glow(0.6, 0.02, 0.015),
    Material.LAMP_AMBER: _glow(0.9, 0.45, 0.05),
    Material.SIGNAL: _signal_glow,
    Material.STREET_LAMP: _glow(3.0, 2.3, 1.4),
}

_GLOSS = np.zeros(64, dtype=np.float32)
_GLOSS[
    [Material.PAINT, Material.GLASS, Material.METAL, Material.LAMP_WHITE, Material.LAMP_RED, Material.PLASTIC]
] = (0.55, 0.95, 0.25, 0.7, 0.5, 0.12)

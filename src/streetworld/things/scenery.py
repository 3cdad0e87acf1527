"""Buildings, trees, hedges, walls, poles, signs and traffic lights: everything that stays where it is."""

import math
from functools import cache

import numpy as np

from streetworld.things.materials import Material
from streetworld.things.shapes import Mesh, box, cylinder, join, make_mesh, unit_sphere

TREE_SHAPES = 5
"""Templates of broadleaf trees."""


def building_mesh(width_m: float, depth_m: float, height_m: float, *, gabled: bool) -> Mesh:
    """Build a house, front towards -y; its walls carry (along, 0, up) in `local`."""
    x, y = width_m / 2, depth_m / 2
    corners = [(-x, -y), (x, -y), (x, y), (-x, y)]
    parts = []
    along = 0.0
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = abs(x1 - x0) + abs(y1 - y0)
        points = np.array([(x0, y0, 0), (x1, y1, 0), (x1, y1, height_m), (x0, y0, height_m)])
        drawn = np.array(
            [(along, 0, 0), (along + length, 0, 0), (along + length, 0, height_m), (along, 0, height_m)]
        )
        parts.append(make_mesh(points, [[0, 1, 2], [0, 2, 3]], Material.FACADE, local=drawn))
        along += length + 7.3
    return join([*parts, *(_gable(x, y, height_m) if gabled else _flat_roof(x, y, height_m))])


def _gable(x: float, y: float, height: float) -> list[Mesh]:
    """Build a gabled roof."""
    rise, over = y * 0.75, 0.35
    ridge = height + rise
    eaves = [(-x - over, -y - over, height - 0.2), (x + over, -y - over, height - 0.2),
             (x + over, y + over, height - 0.2), (-x - over, y + over, height - 0.2)]  # fmt: skip
    top = [(-x - over, 0, ridge), (x + over, 0, ridge)]
    roof = make_mesh(np.array(eaves + top), [[0, 1, 5], [0, 5, 4], [2, 3, 4], [2, 4, 5]], Material.ROOF)
    ends = np.array(
        [(-x, -y, height), (-x, y, height), (-x, 0, ridge), (x, -y, height), (x, y, height), (x, 0, ridge)]
    )
    return [roof, make_mesh(ends, [[0, 1, 2], [3, 4, 5]], Material.WALL)]


def _flat_roof(x: float, y: float, height: float) -> list[Mesh]:
    """Build a flat roof."""
    slab = box((0, 0, height + 0.2), (2 * x + 0.4, 2 * y + 0.4, 0.5), Material.CONCRETE)
    hut = box((x * 0.3, y * 0.2, height + 1.4), (min(4.0, x), min(3.5, y), 2.2), Material.ROOF)
    return [slab, hut]


@cache
def broadleaf_tree(shape: int, detail: int) -> Mesh:
    """Build a tree of 6 m; `shape` picks one, `detail` goes from 0 (far) to 2 (near)."""
    rng = np.random.default_rng((71, shape))
    trunk = cylinder((0, 0, 0), 0.16, 3.2, Material.BARK, top_radius_m=0.1, sides=4 + detail)
    branches = [
        cylinder((0.1 * i, 0.12 * j, 2.4), 0.07, 1.4, Material.BARK, top_radius_m=0.03, sides=5)
        for i, j in ((1, 1), (-1, 0))
    ]
    count = (7, 9, 20)[detail]
    size = (1.15, 1.0, 0.72)[detail]
    crown = []
    for number in range(count):
        turn, deep = number * 2.4, math.sqrt((number + 0.5) / count)
        spread = 1.35 * deep + rng.normal(0, 0.15)
        at = (spread * math.cos(turn), spread * math.sin(turn), 4.5 - 0.5 * spread + rng.uniform(-0.7, 0.8))
        crown.append(_leaves(rng, size * rng.uniform(0.75, 1.1), at, fine=detail > 0))
    return join([trunk, *(branches if detail else []), *crown])


@cache
def conifer() -> Mesh:
    """Build a conifer of 7 m."""
    trunk = cylinder((0, 0, 0), 0.15, 1.5, Material.BARK, sides=7)
    skirts = [
        cylinder((0, 0, 1.0 + 1.25 * i), 1.5 - 0.27 * i, 1.9, Material.LEAF, top_radius_m=0.08, sides=11)
        for i in range(5)
    ]
    return join([trunk, *skirts])


@cache
def bush() -> Mesh:
    """Build a round bush of 1 m."""
    rng = np.random.default_rng(72)
    places = ((0.0, 0.0, 0.45), (0.35, 0.2, 0.35), (-0.3, -0.25, 0.38))
    return join([_leaves(rng, 0.45, place, fine=True) for place in places])


def _leaves(
    rng: np.random.Generator, radius_m: float, center: tuple[float, float, float], *, fine: bool
) -> Mesh:
    """Build a clump of leaves."""
    points, faces = unit_sphere(1 if fine else 0)
    waves = np.sin(points @ rng.normal(0, 3.5, (3, 3)) + rng.uniform(0, 6.3, 3)).sum(1, keepdims=True)
    lumpy = points * (1 + 0.12 * waves + rng.normal(0, 0.09, (len(points), 1))) * radius_m * (1, 1, 0.85)
    return make_mesh(lumpy + center, faces, Material.LEAF, smooth=True)


@cache
def street_lamp() -> Mesh:
    """Build a lamp post of 7 m; its arm reaches 1.8 m towards +y, over the road."""
    arm = box((0, 0.9, 6.95), (0.09, 1.8, 0.09), Material.METAL)
    head = box((0, 1.7, 6.9), (0.28, 0.6, 0.12), Material.METAL)
    light = box((0, 1.7, 6.83), (0.2, 0.45, 0.04), Material.STREET_LAMP)
    return join([cylinder((0, 0, 0), 0.1, 7.0, Material.METAL, top_radius_m=0.06, sides=8), arm, head, light])


@cache
def traffic_light() -> Mesh:
    """Build a post of 3.4 m with a signal head facing -x; its lamps are told apart by height."""
    head = box((-0.05, 0, 2.85), (0.24, 0.36, 1.05), Material.DARK)
    lamps = [
        cylinder((-0.2, 0, 2.85 + height), 0.12, 0.04, Material.SIGNAL, axis="x", sides=8)
        for height in (-0.32, 0.0, 0.32)
    ]
    return join([cylinder((0, 0, 0), 0.07, 3.4, Material.METAL, sides=8), head, *lamps])


@cache
def sign(kind: int) -> Mesh:
    """Build a traffic sign facing -x: 0 round, 1 triangle, 2 square."""
    post = cylinder((0.04, 0, 0), 0.035, 2.5, Material.METAL, sides=6)
    sides = (14, 3, 4)[kind]
    plate = cylinder((-0.01, 0, 2.35), 0.36, 0.03, Material.SIGN, axis="x", sides=sides)
    turned = {1: np.pi / 2, 2: np.pi / 4}.get(kind, 0.0)
    cosine, sine = np.cos(turned), np.sin(turned)
    points = plate.vertices - (0, 0, 2.35)
    rolled = np.stack((points[:, 0], cosine * points[:, 1] - sine * points[:, 2],
                       sine * points[:, 1] + cosine * points[:, 2] + 2.35), axis=-1)  # fmt: skip
    return join([post, make_mesh(rolled, plate.faces, Material.SIGN)])


def hedge(length_m: float, height_m: float) -> Mesh:
    """Build a clipped hedge along x from 0 to `length_m`."""
    return box((length_m / 2, 0, height_m / 2), (length_m, 0.7, height_m), Material.HEDGE)


def wall(length_m: float, height_m: float) -> Mesh:
    """Build a garden wall along x from 0 to `length_m`, with a coping."""
    coping = box((length_m / 2, 0, height_m + 0.04), (length_m, 0.36, 0.08), Material.CONCRETE)
    return join([box((length_m / 2, 0, height_m / 2), (length_m, 0.26, height_m), Material.WALL), coping])


def fence(length_m: float, height_m: float) -> Mesh:
    """Build a picket fence along x from 0 to `length_m`."""
    count = max(2, round(length_m / 0.45))
    pickets = [
        box((x, 0, height_m / 2), (0.1, 0.04, height_m), Material.ACCENT)
        for x in np.linspace(0.05, length_m - 0.05, count)
    ]
    rails = [
        box((length_m / 2, 0, height_m * z), (length_m, 0.05, 0.07), Material.ACCENT) for z in (0.3, 0.8)
    ]
    return join([*pickets, *rails])

"""Large vehicles: trucks, buses, trailers, vans with a box, and an excavator, made of simple solids."""

from functools import cache

from streetworld.things.cars import wheels
from streetworld.things.materials import Material
from streetworld.things.shapes import Mesh, box, cylinder, join, prism, tilt


@cache
def box_truck_mesh() -> Mesh:
    """Build a truck of 8.2 m with a closed box."""
    cargo = box((-1.15, 0, 2.12), (5.9, 2.46, 2.7), Material.CARGO)
    rails = [box((-1.15, side * 1.2, 0.86), (5.9, 0.1, 0.14), Material.METAL) for side in (1, -1)]
    return join([cargo, *rails, *_cab(2.0, 2.4, 2.35), *_chassis(-4.05, 2.0), *_axles((-3.0, 2.9), 0.48)])


@cache
def flatbed_truck_mesh() -> Mesh:
    """Build a truck of 7.4 m with an open bed and low sides."""
    bed = box((-1.0, 0, 1.05), (5.2, 2.4, 0.16), Material.WOOD)
    sides = [box((-1.0, side * 1.18, 1.36), (5.2, 0.06, 0.5), Material.ACCENT) for side in (1, -1)]
    ends = [box((x, 0, 1.36), (0.06, 2.4, 0.5), Material.ACCENT) for x in (-3.57, 1.57)]
    load = [box((-2.2, 0.2, 1.6), (1.6, 1.4, 0.95), Material.WOOD)]
    return join(
        [bed, *sides, *ends, *load, *_cab(1.75, 2.3, 2.2), *_chassis(-3.5, 1.8), *_axles((-2.6, 2.6), 0.46)]
    )


@cache
def tanker_mesh() -> Mesh:
    """Build a truck of 8.6 m with a round tank."""
    tank = cylinder((-4.2, 0, 2.0), 1.12, 5.9, Material.CARGO, axis="x", sides=16)
    bands = [cylinder((x, 0, 2.0), 1.15, 0.12, Material.METAL, axis="x", sides=16) for x in (-3.6, -1.3, 1.1)]
    return join([tank, *bands, *_cab(2.0, 2.4, 2.3), *_chassis(-4.2, 2.0), *_axles((-3.3, -2.2, 2.9), 0.5)])


@cache
def bus_mesh() -> Mesh:
    """Build a city bus of 11.6 m."""
    low = box((0, 0, 0.92), (11.6, 2.52, 1.2), Material.PAINT)
    top = box((0, 0, 2.76), (11.6, 2.5, 0.42), Material.PAINT)
    windows = box((0, 0, 2.05), (11.5, 2.44, 1.06), Material.GLASS)
    pillars = [
        box((x, 0, 2.05), (0.14, 2.5, 1.08), Material.PAINT) for x in (-5.72, -3.9, -2.0, 0.0, 2.0, 3.9)
    ]
    roof = box((-1.5, 0, 3.1), (4.5, 1.7, 0.26), Material.CARGO)
    stripe = box((0, 0, 0.72), (11.62, 2.54, 0.22), Material.ACCENT)
    sign = box((5.79, 0, 2.78), (0.05, 1.7, 0.28), Material.LAMP_AMBER)
    doors = [box((x, -1.25, 1.35), (1.15, 0.06, 2.0), Material.GLASS) for x in (4.7, 0.95)]
    lamps = _lamps(5.8, -5.8, 0.95, 0.66)
    return join([low, top, windows, *pillars, roof, stripe, sign, *doors, *lamps, *_axles((-3.4, 3.3), 0.48)])


@cache
def coach_mesh() -> Mesh:
    """Build a minibus of 7.2 m with a slanted front."""
    outline = [(-3.6, 0.5), (-3.6, 2.7), (-3.3, 2.85), (2.6, 2.8), (3.3, 1.6), (3.6, 1.2), (3.6, 0.5)]
    skin = prism(outline, 1.08, Material.PAINT)
    windows = box((-0.3, 0, 2.05), (5.4, 2.2, 0.72), Material.GLASS)
    front = tilt(box((3.0, 0, 2.2), (0.06, 1.9, 1.3), Material.GLASS), -0.53, (3.0, 0, 2.2))
    lamps = _lamps(3.6, -3.6, 0.9, 0.5)
    return join([skin, windows, front, *lamps, *_axles((-2.2, 2.3), 0.4, 0.95)])


@cache
def caravan_mesh() -> Mesh:
    """Build a small trailer of 4.6 m: a caravan."""
    outline = [(-2.2, 0.55), (-2.3, 1.6), (-1.9, 2.5), (1.5, 2.5), (2.1, 1.7), (2.1, 0.7), (1.8, 0.55)]
    skin = prism(outline, 1.05, Material.CARGO)
    windows = [box((x, 0, 1.75), (0.9, 2.13, 0.55), Material.GLASS) for x in (-1.2, 0.9)]
    stripe = box((-0.1, 0, 1.0), (4.2, 2.12, 0.18), Material.ACCENT)
    bar = box((2.35, 0, 0.5), (0.6, 0.1, 0.1), Material.METAL)
    lamps = [box((-2.28, side * 0.8, 0.8), (0.06, 0.25, 0.2), Material.LAMP_RED) for side in (1, -1)]
    return join([skin, *windows, stripe, bar, *lamps, *_axles((-0.3,), 0.32, 0.9)])


@cache
def excavator_mesh() -> Mesh:
    """Build a tracked excavator with its arm folded in front."""
    outline = [(-1.5, 0.1), (-1.75, 0.45), (-1.4, 0.8), (1.4, 0.8), (1.75, 0.45), (1.5, 0.1)]
    undercarriage = prism(outline, 0.28, Material.RUBBER)
    tracks = [box((0, side * 1.0, 0.42), (3.1, 0.5, 0.6), Material.RUBBER) for side in (1, -1)]
    house = box((-0.5, 0, 1.45), (2.5, 2.3, 0.9), Material.PAINT)
    cab = box((0.55, 0.6, 2.1), (1.3, 0.95, 1.5), Material.GLASS)
    cab_roof = box((0.55, 0.6, 2.88), (1.4, 1.05, 0.1), Material.PAINT)
    boom = tilt(box((2.1, -0.2, 2.3), (3.0, 0.35, 0.45), Material.PAINT), -0.55, (0.8, 0, 1.7))
    arm = tilt(box((3.4, -0.2, 2.3), (0.35, 0.3, 2.2), Material.PAINT), 0.25, (3.3, 0, 2.9))
    bucket = prism([(3.1, 0.5), (3.2, 1.3), (3.8, 1.3), (4.0, 0.7), (3.6, 0.3)], 0.5, Material.METAL)
    return join([undercarriage, *tracks, house, cab, cab_roof, boom, arm, bucket])


def _cab(front: float, width: float, height: float) -> list[Mesh]:
    """Build a cab from x = `front` forward, with a big windscreen."""
    half = width / 2
    outline = [(front, 0.55), (front, height + 0.25), (front + 1.35, height + 0.2), (front + 1.85, 1.65),
               (front + 1.95, 0.55)]  # fmt: skip
    screen = tilt(
        box((front + 1.68, 0, 2.05), (0.05, width - 0.3, 0.85), Material.GLASS), -0.5, (front + 1.66, 0, 2.05)
    )
    windows = [box((front + 0.9, side * half, 2.02), (0.8, 0.05, 0.7), Material.GLASS) for side in (1, -1)]
    mirrors = [
        box((front + 1.6, side * (half + 0.12), 2.0), (0.08, 0.2, 0.4), Material.DARK) for side in (1, -1)
    ]
    grille = box((front + 1.95, 0, 1.1), (0.06, width * 0.55, 0.5), Material.DARK)
    lamps = _lamps(front + 1.96, front - 6.0, half - 0.25, 0.75)[:2]
    return [prism(outline, half, Material.PAINT), screen, *windows, *mirrors, grille, *lamps]


def _chassis(rear: float, front: float) -> list[Mesh]:
    """Build the frame below a truck."""
    frame = box(((rear + front) / 2, 0, 0.72), (front - rear, 0.9, 0.26), Material.DARK)
    return [
        frame,
        *_lamps(front, rear, 0.9, 0.8)[2:],
        box((rear - 0.03, 0, 0.55), (0.08, 2.2, 0.12), Material.METAL),
    ]


def _lamps(front: float, rear: float, half: float, height: float) -> list[Mesh]:
    """Build the lamps of a truck."""
    white = [box((front, side * half, height), (0.08, 0.34, 0.2), Material.LAMP_WHITE) for side in (1, -1)]
    red = [box((rear, side * half, height + 0.15), (0.08, 0.26, 0.24), Material.LAMP_RED) for side in (1, -1)]
    return white + red


def _axles(places: tuple[float, ...], radius: float, half_track: float = 1.1) -> list[Mesh]:
    """Build the wheels of a truck."""
    return wheels([(x, half_track) for x in places], radius, 0.28)

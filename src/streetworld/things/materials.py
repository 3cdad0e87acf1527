"""What surfaces are made of, and which class of the truth images each belongs to."""

from enum import IntEnum

import numpy as np


class Material(IntEnum):
    """Kinds of surface; `surfaces` says how each looks."""

    ROAD = 0
    ASPHALT = 1
    KERB = 2
    SIDEWALK = 3
    GRASS = 4
    PAVING = 5
    CAR_PARK = 6
    MEDIAN = 7
    PAINT = 10
    GLASS = 11
    RUBBER = 12
    METAL = 13
    LAMP_WHITE = 14
    LAMP_RED = 15
    LAMP_AMBER = 16
    PLATE = 17
    CARGO = 18
    FACADE = 20
    ROOF = 21
    WALL = 22
    CONCRETE = 23
    BARK = 30
    LEAF = 31
    HEDGE = 32
    SKIN = 40
    CLOTH = 41
    TROUSERS = 42
    HAIR = 43
    PLASTIC = 50
    ACCENT = 51
    WOOD = 52
    CORRUGATED = 53
    POSTER = 54
    STRIPES = 55
    SIGN = 56
    SIGNAL = 57
    STREET_LAMP = 58
    DARK = 59


CLASSES: tuple[str, ...] = (
    "sky",
    "road",
    "sidewalk",
    "terrain",
    "building",
    "vegetation",
    "vehicle",
    "pedestrian",
    "pole",
    "clutter",
    "rider",
)
"""Names of the classes of the truth images, by number."""

GROUND_CLASS: dict[int, int] = {
    Material.ROAD: 1,
    Material.ASPHALT: 1,
    Material.CAR_PARK: 1,
    Material.KERB: 2,
    Material.SIDEWALK: 2,
    Material.PAVING: 2,
    Material.GRASS: 3,
    Material.MEDIAN: 3,
}
"""Class of materials that lie on the ground; everything else has the class of its object."""

GROUND_CLASS_TABLE = np.array([GROUND_CLASS.get(number, 0) for number in range(64)], dtype=np.uint8)
"""`GROUND_CLASS` as a table by material number; 0 for what does not lie on the ground."""

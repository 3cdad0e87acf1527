"""Four towns: families of layouts and styles. A split can hold out a whole town.

They bear the names of nuScenes' four places, because nuscenes-devkit opens maps of no other name; nothing
else is taken from those places. Colours are linear RGB in 0-1.
"""

from dataclasses import dataclass

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Town:
    """What makes a town look like itself."""

    name: str
    """Name of the place in the `log` table and of its map files."""
    number: int
    """Seeds of different towns differ by it."""
    drives_left: bool
    spacing_m: tuple[float, float]
    """Mean distance of junctions along x and y."""
    turn_deg: float
    """How far junctions are turned against the grid, which bends the roads."""
    bow_m: float
    """How far the middle of a road may lie off the straight way."""
    missing: float
    """Share of roads left out, which makes T-junctions."""
    lanes: tuple[tuple[int, int], ...]
    """Lanes along and against a road, drawn evenly from this list."""
    lane_m: tuple[float, float]
    median: float
    """Share of the wide roads that have a planted median."""
    parking: float
    """Share of road sides with a parking strip."""
    verge_m: tuple[float, float]
    sidewalk_m: tuple[float, float]
    setback_m: tuple[float, float]
    """Distance of the buildings from the sidewalk."""
    storeys: tuple[int, int]
    facades: tuple[int, ...]
    """Styles of facades: 0 brick, 1 plaster, 2 ribbon windows, 3 curtain wall, 4 panels."""
    walls: tuple[Color, ...]
    gabled: float
    """Share of gabled roofs."""
    trees: float
    """Share of the places for trees that are planted."""
    conifers: float
    open_lots: float
    """Share of lots that are parks, car parks and yards."""
    paved: float
    """Share of blocks with gravel instead of lawn."""
    yellow_lines: bool
    """Centre lines are yellow."""


BRICKS: tuple[Color, ...] = ((0.32, 0.12, 0.08), (0.40, 0.20, 0.12), (0.25, 0.10, 0.08), (0.45, 0.33, 0.22))
PLASTERS: tuple[Color, ...] = ((0.62, 0.55, 0.42), (0.70, 0.68, 0.62), (0.55, 0.40, 0.30), (0.42, 0.50, 0.45))
GREYS: tuple[Color, ...] = ((0.42, 0.42, 0.42), (0.55, 0.54, 0.52), (0.26, 0.29, 0.33), (0.62, 0.60, 0.55))

TOWNS: tuple[Town, ...] = (
    Town(
        "boston-seaport",
        0,
        drives_left=False,
        spacing_m=(125.0, 140.0),
        turn_deg=10.0,
        bow_m=10.0,
        missing=0.15,
        lanes=((1, 1), (2, 2), (2, 1), (2, 2)),
        lane_m=(3.2, 3.6),
        median=0.3,
        parking=0.85,
        verge_m=(0.0, 1.6),
        sidewalk_m=(2.2, 4.2),
        setback_m=(0.2, 3.0),
        storeys=(3, 9),
        facades=(0, 0, 2, 3),
        walls=BRICKS + GREYS,
        gabled=0.1,
        trees=0.6,
        conifers=0.1,
        open_lots=0.25,
        paved=0.45,
        yellow_lines=True,
    ),
    Town(
        "singapore-onenorth",
        1,
        drives_left=True,
        spacing_m=(145.0, 125.0),
        turn_deg=22.0,
        bow_m=14.0,
        missing=0.25,
        lanes=((1, 1), (2, 2), (1, 1), (2, 1)),
        lane_m=(3.1, 3.5),
        median=0.5,
        parking=0.65,
        verge_m=(0.8, 2.4),
        sidewalk_m=(1.8, 3.0),
        setback_m=(3.0, 9.0),
        storeys=(2, 12),
        facades=(1, 2, 4),
        walls=PLASTERS + GREYS,
        gabled=0.0,
        trees=0.9,
        conifers=0.0,
        open_lots=0.35,
        paved=0.15,
        yellow_lines=False,
    ),
    Town(
        "singapore-hollandvillage",
        2,
        drives_left=True,
        spacing_m=(115.0, 120.0),
        turn_deg=16.0,
        bow_m=11.0,
        missing=0.3,
        lanes=((1, 1), (1, 1), (2, 1)),
        lane_m=(3.0, 3.4),
        median=0.2,
        parking=0.75,
        verge_m=(0.4, 2.0),
        sidewalk_m=(1.6, 2.8),
        setback_m=(2.0, 7.0),
        storeys=(1, 4),
        facades=(1, 0, 1),
        walls=PLASTERS + BRICKS,
        gabled=0.7,
        trees=0.8,
        conifers=0.25,
        open_lots=0.3,
        paved=0.1,
        yellow_lines=False,
    ),
    Town(
        "singapore-queenstown",
        3,
        drives_left=True,
        spacing_m=(135.0, 135.0),
        turn_deg=18.0,
        bow_m=12.0,
        missing=0.2,
        lanes=((2, 2), (1, 1), (2, 1)),
        lane_m=(3.2, 3.6),
        median=0.35,
        parking=0.7,
        verge_m=(0.0, 2.2),
        sidewalk_m=(2.0, 3.6),
        setback_m=(0.5, 6.0),
        storeys=(2, 8),
        facades=(4, 1, 0, 2),
        walls=GREYS + PLASTERS,
        gabled=0.3,
        trees=0.75,
        conifers=0.15,
        open_lots=0.3,
        paved=0.3,
        yellow_lines=False,
    ),
)

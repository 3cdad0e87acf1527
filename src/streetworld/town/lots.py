"""The land of a town along its roads: lots with buildings, parks, yards and car parks.

Lots belong to the town, not to a scene: every scene of a town sees the same houses, and car parks are on
its map.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from streetworld.town.blocks import block_outlines, triangulate
from streetworld.town.network import Network, Road
from streetworld.town.roads import build_network
from streetworld.town.towns import TOWNS, Color

CAR_PARK_DEPTH_M = 16.5
"""A row of bays either side of an aisle."""


@dataclass(frozen=True)
class Lot:
    """A rectangle of land beside a road."""

    kind: str
    """`house`, `park`, `yard` (storage, building site) or `car_park`."""
    road: int
    side: int
    way_m: tuple[float, float]
    """Where it lies along the road."""
    center: Float[np.ndarray, "2"]
    yaw_rad: float
    """Direction of its width; its front looks towards -y of that frame, to the road."""
    size_m: tuple[float, float]
    """Width along the road and depth."""
    setback_m: float
    """Distance of its front from the sidewalk."""
    height_m: float = 0.0
    facade: int = 0
    color: Color = (0.5, 0.5, 0.5)
    gabled: bool = False
    seed: int = 0

    @cached_property
    def circle(self) -> tuple[float, float, float]:
        """The circle through its corners: x and y of the centre, and the radius."""
        return *self.center.tolist(), math.hypot(*self.size_m) / 2

    @cached_property
    def corners(self) -> Float[np.ndarray, "4 2"]:
        """Its corners, counter-clockwise from the front left."""
        return self.points(CORNERS)

    def corner(self, along: float, deep: float) -> Float[np.ndarray, "2"]:
        """Return a point of the lot; `along` (to the right) and `deep` (to the back) go from -0.5 to 0.5."""
        return self.points(np.array([[along, deep]]))[0]

    def points(self, shares: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
        """Return the points of the lot, as `corner`."""
        x, y = (shares * np.array(self.size_m)).T
        cosine, sine = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return self.center + np.stack((cosine * x - sine * y, sine * x + cosine * y), axis=-1)


COUNTRY_M = 1500.0
"""How far the country reaches from the middle of a town, along x and y."""
CELL_M = 45.0
"""Lots farther apart than this never meet."""
CORNERS = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
"""Corners of a lot, counter-clockwise from the front left, as `Lot.points` takes them."""
_INSIDE = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 5), np.linspace(-0.5, 0.5, 4)), -1).reshape(-1, 2)


@dataclass(frozen=True)
class Block:
    """Land between roads."""

    triangles: Float[np.ndarray, "T 3 2"]
    paved: bool


@dataclass(frozen=True)
class TownPlan:
    """A town's roads and lots."""

    network: Network
    lots: tuple[Lot, ...]
    trees: Float[np.ndarray, "T 2"]
    """Places of trees on the land behind the houses."""
    blocks: tuple[Block, ...]


@dataclass(frozen=True, order=True)
class TownRequest:
    """What a town is made from; equal requests give equal towns."""

    number: int
    """Its number in `towns.TOWNS`."""
    seed: int
    size: int
    """Junctions along each of its sides."""


@cache
def plan_town(request: TownRequest) -> TownPlan:
    """Plan a town."""
    number, seed = request.number, request.seed
    network = build_network(TOWNS[number], seed, request.size)
    clearance, points = _keep_clear(network)
    lots: list[Lot] = []
    cells: dict[tuple[int, int], list[Lot]] = {}
    for road in network.roads:
        for side in (1, -1):
            rng = np.random.default_rng((seed, number, 2, road.index, side + 1))
            way = rng.uniform(1.0, 4.0)
            while way < road.curve.length_m - 8:
                lot = _draw_lot(network, road, side, way, rng)
                fits = lot.way_m[1] < road.curve.length_m - 0.5 and _is_free(lot, cells, points, clearance)
                if fits:
                    lots.append(lot)
                    cell = int(lot.center[0] // CELL_M), int(lot.center[1] // CELL_M)
                    cells.setdefault(cell, []).append(lot)
                way = lot.way_m[1] + rng.choice((0.3, 1.5, 4.0)) if fits else way + 3.0
    trees = _plant_gardens(network, cells, points, clearance, np.random.default_rng((seed, number, 3)))
    blocks = _cut_blocks(network, np.random.default_rng((seed, number, 4)))
    return TownPlan(network, tuple(lots), trees, blocks)


def _cut_blocks(network: Network, rng: np.random.Generator) -> tuple[Block, ...]:
    """Cut the land between the roads into blocks."""
    *blocks, country = block_outlines(network)
    x, y = network.size_m
    horizon = COUNTRY_M * np.array([(-1.0, -1), (1, -1), (1, 1), (-1, 1)]) + np.array((x / 2, y / 2))
    land = [Block(triangulate([outline]), bool(rng.random() < network.town.paved)) for outline in blocks]
    return (*land, Block(triangulate([country, horizon]), False))


def _plant_gardens(
    network: Network,
    cells: dict[tuple[int, int], list[Lot]],
    points: Float[np.ndarray, "P 2"],
    clearance: Float[np.ndarray, " P"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "T 2"]:
    """Plant about a tree every 500 square metres of land that nothing else stands on."""
    width, height = network.size_m
    tried = rng.uniform((0, 0), (width, height), (int(width * height / 500), 2))
    tried = tried[_is_off_roads(tried, points, clearance + 2)]
    return np.array([spot for spot in tried if _is_off_lots(float(spot[0]), float(spot[1]), cells)])


def _is_off_roads(
    spots: Float[np.ndarray, "N 2"], points: Float[np.ndarray, "P 2"], clearance_m: Float[np.ndarray, " P"]
) -> Bool[np.ndarray, " N"]:
    """Return which spots are farther from all points, sorted by x, than these demand."""
    reach = float(clearance_m.max())
    free = np.empty(len(spots), dtype=bool)
    from_left = np.argsort(spots[:, 0])
    for rows in np.array_split(from_left, len(spots) // 50 + 1):  # neighbours have the same few points near
        x, y = spots[rows].T
        first, end = np.searchsorted(points[:, 0], (x[0] - reach, x[-1] + reach))
        gaps = np.hypot(x[:, None] - points[first:end, 0], y[:, None] - points[first:end, 1])
        free[rows] = (gaps > clearance_m[first:end]).all(axis=1)
    return free


def _is_off_lots(x: float, y: float, cells: dict[tuple[int, int], list[Lot]]) -> bool:
    """Tell whether a point lies on no lot, nor near one."""
    return not any(_holds(lot, x, y, 2.0) for lot in _around(cells, x, y))


def _around(cells: dict[tuple[int, int], list[Lot]], x: float, y: float) -> Iterator[Lot]:
    """Return the lots whose middle lies in the same cell or one beside it."""
    i, j = int(x // CELL_M), int(y // CELL_M)
    for di, dj in itertools.product((-1, 0, 1), repeat=2):
        yield from cells.get((i + di, j + dj), ())


def _holds(lot: Lot, x: float, y: float, border_m: float) -> bool:
    """Tell whether a point lies on a lot or near its border."""
    middle_x, middle_y, radius = lot.circle
    dx, dy = x - middle_x, y - middle_y
    if math.hypot(dx, dy) > radius + 2 * border_m:
        return False
    cosine, sine = math.cos(lot.yaw_rad), math.sin(lot.yaw_rad)
    along, deep = abs(cosine * dx + sine * dy), abs(cosine * dy - sine * dx)
    return along < lot.size_m[0] / 2 + border_m and deep < lot.size_m[1] / 2 + border_m


def _draw_lot(network: Network, road: Road, side: int, way: float, rng: np.random.Generator) -> Lot:
    """Draw what stands on a lot beside a road, and how large it is."""
    town, profile = network.town, road.profile
    kind = "house"
    if rng.random() < town.open_lots:
        kind = ("park", "yard", "yard", "car_park", "car_park", "car_park")[rng.integers(6)]
    width = float(rng.uniform(10, 23))
    depth = float(rng.uniform(9, 15))
    setback = float(rng.uniform(*town.setback_m))
    if kind == "car_park":
        width, depth, setback = float(rng.choice((20.0, 25.0, 30.0))), CAR_PARK_DEPTH_M, 1.0
    elif kind != "house":
        width, depth, setback = width + 6, 16.0, 0.3
    front = profile.kerb_m(side) + 0.18 + profile.verge_m[side < 0] + profile.sidewalk_m[side < 0]
    x, y, heading = road.curve.frame(way + width / 2)
    deep = side * (front + setback + depth / 2)
    center = np.array([x - math.sin(heading) * deep, y + math.cos(heading) * deep])
    yaw = heading + (0 if side > 0 else math.pi)
    storeys = int(rng.integers(town.storeys[0], town.storeys[1] + 1))
    tint = np.array(town.walls[rng.integers(len(town.walls))]) * rng.uniform(0.8, 1.2)
    return Lot(
        kind, road.index, side, (way, way + width), center, yaw, (width, depth), setback,
        height_m=storeys * 3.1 + 0.6,
        facade=int(town.facades[rng.integers(len(town.facades))]),
        color=(float(tint[0]), float(tint[1]), float(tint[2])),
        gabled=bool(storeys <= 4 and rng.random() < town.gabled),
        seed=int(rng.integers(1 << 30)),
    )  # fmt: skip


def _keep_clear(network: Network) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, "P 2"]]:
    """Return how far land is from the points of roads and corners, and these, sorted by x."""
    points, clearance = [], []
    for road in network.roads:
        profile = road.profile
        reach = max(
            profile.kerb_m(side) + profile.verge_m[side < 0] + profile.sidewalk_m[side < 0]
            for side in (1, -1)
        )
        points.append(road.curve.points)
        clearance.append(np.full(len(road.curve.points), reach + 0.15))
    for junction in network.junctions:
        points.append(junction.outline)
        clearance.append(np.full(len(junction.outline), 3.4))
    places = np.concatenate(points)
    from_left = np.argsort(places[:, 0])
    return np.concatenate(clearance)[from_left], places[from_left]


def _near(points: Float[np.ndarray, "P 2"], x: float, y: float, reach_m: float) -> Int[np.ndarray, " N"]:
    """Return the numbers of the points, sorted by their x, in the square around a place."""
    first, end = np.searchsorted(points[:, 0], (x - reach_m, x + reach_m))
    return first + np.flatnonzero(np.abs(points[first:end, 1] - y) < reach_m)


def _is_free(
    lot: Lot,
    cells: dict[tuple[int, int], list[Lot]],
    points: Float[np.ndarray, "P 2"],
    clearance: Float[np.ndarray, " P"],
) -> bool:
    """Tell whether a lot touches neither a road nor another lot."""
    x, y = float(lot.center[0]), float(lot.center[1])
    if any(_overlap(lot, other) for other in _around(cells, x, y)):
        return False
    near = _near(points, x, y, 42.0)
    inside = lot.points(_INSIDE)
    gaps = np.hypot(inside[:, :1] - points[near, 0], inside[:, 1:] - points[near, 1])
    return not (gaps < clearance[near]).any()


def _overlap(first: Lot, second: Lot) -> bool:
    """Tell whether two rectangles meet, by the separating axis theorem, with 0.4 m between them."""
    (x, y, radius), (u, v, other_radius) = first.circle, second.circle
    if math.hypot(x - u, y - v) > radius + other_radius + 0.4:
        return False
    a, b = first.corners, second.corners
    angles = np.array([lot.yaw_rad + turn for lot in (first, second) for turn in (0, math.pi / 2)])
    axes = np.stack((np.cos(angles), np.sin(angles)))
    seen_a, seen_b = a @ axes, b @ axes
    apart = (seen_a.min(axis=0) > seen_b.max(axis=0) + 0.4) | (seen_b.min(axis=0) > seen_a.max(axis=0) + 0.4)
    return not apart.any()


def near_route(
    points: Float[np.ndarray, "N 2"], route: Float[np.ndarray, "R 2"], reach_m: float
) -> Bool[np.ndarray, " N"]:
    """Return which points lie within reach of any point of a route."""
    gaps = np.hypot(points[:, :1] - route[:, 0], points[:, 1:] - route[:, 1])
    return (gaps < reach_m).any(axis=1)

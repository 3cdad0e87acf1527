"""The land of a town along its roads: lots with buildings, parks, yards and car parks.

Lots belong to the town, not to a scene: every scene of a town sees the same houses, and car parks are on its map.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float

from occfeat.world.network import Network, Road, build_network
from occfeat.world.towns import TOWNS, Color

CAR_PARK_DEPTH_M = 33.0
"""Two rows of bays either side of an aisle, twice."""


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

    def corner(self, along: float, deep: float) -> Float[np.ndarray, "2"]:
        """A point of the lot: `along` and `deep` run from -0.5 to 0.5, from left to right and front to back."""
        x, y = along * self.size_m[0], deep * self.size_m[1]
        cosine, sine = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return self.center + np.array([cosine * x - sine * y, sine * x + cosine * y])


@dataclass(frozen=True)
class TownPlan:
    """A town's roads and lots."""

    network: Network
    lots: tuple[Lot, ...]


@cache
def plan_town(number: int, seed: int) -> TownPlan:
    """Lay out town `number` of `towns.TOWNS`; kept in memory for the next scene."""
    network = build_network(TOWNS[number], seed)
    clearance, points = _keep_clear(network)
    lots: list[Lot] = []
    for road in network.roads:
        for side in (1, -1):
            rng = np.random.default_rng((seed, number, 2, road.index, side + 1))
            way = rng.uniform(1.0, 4.0)
            while way < road.curve.length_m - 8:
                lot = _draw_lot(network, road, side, way, rng)
                fits = lot.way_m[1] < road.curve.length_m - 0.5 and _is_free(lot, lots, points, clearance)
                if fits:
                    lots.append(lot)
                way = lot.way_m[1] + rng.choice((0.3, 1.5, 4.0)) if fits else way + 3.0
    return TownPlan(network, tuple(lots))


def _draw_lot(network: Network, road: Road, side: int, way: float, rng: np.random.Generator) -> Lot:
    town, profile = network.town, road.profile
    kind = "house"
    if rng.random() < town.open_lots:
        kind = ("park", "yard", "car_park")[rng.choice(3, p=(0.35, 0.3, 0.35))]
    width = float(rng.uniform(10, 23))
    depth = float(rng.uniform(9, 15))
    setback = float(rng.uniform(*town.setback_m))
    if kind == "car_park":
        width, depth, setback = float(rng.choice((20.0, 25.0, 30.0))), CAR_PARK_DEPTH_M / 2, 1.0
    elif kind != "house":
        width, depth, setback = width + 6, 16.0, 0.3
    front = profile.kerb_m(side) + 0.18 + profile.verge_m[side < 0] + profile.sidewalk_m[side < 0]
    middle = np.array([way + width / 2])
    center = road.curve.beside(middle, side * (front + setback + depth / 2))[0]
    heading = road.curve.direction(middle)[0]
    yaw = math.atan2(heading[1], heading[0]) + (0 if side > 0 else math.pi)
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
    """Points along all roads and corners, and how far from each of them land begins."""
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
    return np.concatenate(clearance), np.concatenate(points)


def _is_free(
    lot: Lot, lots: list[Lot], points: Float[np.ndarray, "P 2"], clearance: Float[np.ndarray, " P"]
) -> bool:
    steps = np.linspace(-0.5, 0.5, 5)
    border = np.array([lot.corner(a, d) for a in steps for d in steps])
    near = (np.abs(points - lot.center) < 45).all(axis=1)
    gaps = np.hypot(*(border[:, None] - points[None, near]).transpose(2, 0, 1))
    if (gaps < clearance[near]).any():
        return False
    x, y = lot.center
    return not any(
        abs(other.center[0] - x) < 45 and abs(other.center[1] - y) < 45 and _overlap(lot, other)
        for other in reversed(lots)
    )


def _overlap(first: Lot, second: Lot) -> bool:
    """Whether two rectangles meet, by the separating axis theorem, with 0.4 m between them."""
    corners = [
        np.array([lot.corner(a, d) for a, d in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))])
        for lot in (first, second)
    ]
    for lot in (first, second):
        for angle in (lot.yaw_rad, lot.yaw_rad + math.pi / 2):
            axis = np.array([math.cos(angle), math.sin(angle)])
            a, b = (points @ axis for points in corners)
            if a.min() > b.max() + 0.4 or b.min() > a.max() + 0.4:
                return False
    return True


def near_route(
    points: Float[np.ndarray, "N 2"], route: Float[np.ndarray, "R 2"], reach_m: float
) -> Bool[np.ndarray, " N"]:
    """Which points lie within reach of any point of a route."""
    gaps = np.hypot(*(points[:, None] - route[None]).transpose(2, 0, 1))
    return (gaps < reach_m).any(axis=1)

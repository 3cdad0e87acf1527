"""The roads of a town: junctions on a shaken grid, curved roads between them, lanes and ways through junctions.

Everything lies in the town's own frame (nuScenes' global frame: x east, y north, metres, all positive).
`side` is +1 for the left of a road seen along it and -1 for its right. Traffic along a road keeps to the side
`Network.along_side`. Crossings and stop lines belong to the ends of roads.
"""

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from occfeat.world.curves import Curve, bezier
from occfeat.world.towns import Town

GRID = 8
"""Junctions along each side of a town."""
MARGIN_M = 170.0
"""Country around the outermost junctions."""
CROSSING_M = (1.2, 4.2)
"""Where crossings lie, from the end of a road."""
KERBSTONE_M = 0.18
"""Width of the stones between road and verge or sidewalk."""
MEDIAN_END_M = 6.5
"""Distance of planted medians from the ends of a road."""
STOP_LINE_M = (5.0, 5.4)
"""Where stop lines lie, from the end of a road."""


@dataclass(frozen=True)
class Profile:
    """Cross-section of a road, in metres; pairs are (left, right) seen along the road."""

    lanes: tuple[int, int]
    lane_m: float
    median_m: float
    parking_m: tuple[float, float]
    verge_m: tuple[float, float]
    sidewalk_m: tuple[float, float]

    def lane_edge_m(self, side: int) -> float:
        """Distance of the outermost lane's outer edge from the middle of the road."""
        return self.median_m / 2 + self.lanes[side < 0] * self.lane_m

    def kerb_m(self, side: int) -> float:
        """Distance of the kerb from the middle of the road."""
        return self.lane_edge_m(side) + self.parking_m[side < 0]

    @property
    def median_edge_m(self) -> float:
        """Distance of a planted median's kerb from the middle of the road."""
        return self.median_m / 2 - 0.15

    @property
    def planted(self) -> bool:
        """Whether the median is a raised strip of green."""
        return self.median_m > 1


@dataclass(frozen=True)
class Road:
    """A road between two junctions, up to the borders of their areas."""

    index: int
    ends: tuple[int, int]
    """Junctions at its start and end."""
    curve: Curve
    profile: Profile
    crossings: tuple[bool, bool]
    """Whether pedestrians cross at its start and end."""

    def kerb(self, side: int) -> Curve:
        """The kerb of one side, along the road."""
        return self.curve.offset(side * self.profile.kerb_m(side))

    @property
    def outline(self) -> Float[np.ndarray, "P 2"]:
        """Border of its surface, between the kerbs."""
        return np.concatenate((self.kerb(1).points, self.kerb(-1).points[::-1]))

    @property
    def median_curve(self) -> Curve:
        """Middle of the planted median, which ends before the road does."""
        return self.curve.part(MEDIAN_END_M, self.curve.length_m - MEDIAN_END_M)

    @property
    def median(self) -> Float[np.ndarray, "P 2"] | None:
        """Border of the planted median, if it has one."""
        if not self.profile.planted:
            return None
        edges = [self.median_curve.offset(side * self.profile.median_edge_m).points for side in (1, -1)]
        return np.concatenate((edges[0], edges[1][::-1]))


@dataclass(frozen=True)
class Arm:
    """A road as seen from one of its junctions."""

    road: int
    at_start: bool
    """Whether the junction is at the road's start."""
    direction: Float[np.ndarray, "2"]
    """Unit vector out of the junction."""
    point: Float[np.ndarray, "2"]
    """Middle of the road at the junction's border."""
    left_m: float
    right_m: float
    """Distances of the kerbs, seen out of the junction."""


@dataclass(frozen=True)
class Corner:
    """The kerb from one arm of a junction round to the next, junction on its left."""

    curve: Curve
    arms: tuple[int, int]
    """Positions in `Junction.arms` of the arms where it starts and ends."""


@dataclass(frozen=True)
class Junction:
    """Where roads meet."""

    index: int
    center: Float[np.ndarray, "2"]
    arms: tuple[Arm, ...]
    """In counter-clockwise order."""
    corners: tuple[Corner, ...]

    @property
    def signals(self) -> bool:
        """Whether it has traffic lights."""
        return len(self.arms) > 2

    def is_left_of(self, corner: Corner) -> bool:
        """Whether a corner bends away from the junction's middle, as corners of less than half a turn do."""
        first, last = (self.arms[number].direction for number in corner.arms)
        return bool(first[0] * last[1] - first[1] * last[0] > 0)

    @cached_property
    def outline(self) -> Float[np.ndarray, "P 2"]:
        """Border of the drivable area, counter-clockwise."""
        return np.concatenate([corner.curve.points for corner in self.corners])


@dataclass(frozen=True)
class Lane:
    """A lane of a road, or a way through a junction (`road` is None), in driving direction."""

    index: int
    curve: Curve
    width_m: float
    road: int | None
    position: int
    """Lanes between this one and the middle of the road."""
    junction: int
    """The junction it leads to, or crosses."""
    arm: int
    """Position in the junction's arms of the arm by which it is entered."""


@dataclass(frozen=True)
class Network:
    """All roads of a town."""

    town: Town
    junctions: tuple[Junction, ...]
    roads: tuple[Road, ...]
    lanes: tuple[Lane, ...]
    following: tuple[tuple[int, ...], ...]
    """Lanes that a vehicle may drive on after each lane."""
    size_m: tuple[float, float]
    """Extent of the town's map along x and y."""

    @property
    def along_side(self) -> int:
        """Side of a road on which traffic goes along it: -1 right, +1 left."""
        return 1 if self.town.drives_left else -1


def corner_sides(
    network: Network, junction: Junction, corner: Corner
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """Widths of verge and sidewalk along a corner: from those of one road to those of the next.

    Where the corner is too tight for them they are narrower, so that their borders never cross.
    """
    count = len(corner.curve.points)
    ends = []
    for arm_number, hand in zip(corner.arms, (1, -1), strict=True):
        # A corner begins on the left of its first arm (seen outwards) and ends on the right of its second.
        arm = junction.arms[arm_number]
        right = (hand if arm.at_start else -hand) < 0
        profile = network.roads[arm.road].profile
        ends.append((profile.verge_m[right], profile.sidewalk_m[right]))
    verge, walk = (np.linspace(ends[0][i], ends[1][i], count) for i in (0, 1))
    room = 0.95 * corner.curve.smallest_radius_m - KERBSTONE_M
    shrink = min(1.0, room / float((verge + walk).max())) if junction.is_left_of(corner) else 1.0
    return verge * shrink, walk * shrink


def build_network(town: Town, seed: int) -> Network:
    """Lay out a town; the same seed gives the same town."""
    rng = np.random.default_rng((seed, town.number, 1))
    centers, turns = _place_junctions(town, rng)
    links = _choose_links(town, rng)
    profiles = [_draw_profile(town, rng) for _ in links]
    bows = rng.uniform(-town.bow_m, town.bow_m, len(links))
    full = [_lay_curve(centers, turns, link, float(bow)) for link, bow in zip(links, bows, strict=True)]
    cuts = _cut_lengths(links, full, profiles)
    degree = np.bincount(np.ravel(links), minlength=GRID * GRID)
    roads = []
    for index, (link, curve, profile, cut) in enumerate(zip(links, full, profiles, cuts, strict=True)):
        crossings = tuple(bool(degree[end] > 2 and rng.random() < 0.85) for end in link)
        part = curve.part(cut[0], curve.length_m - cut[1]).resample(2.5)
        roads.append(Road(index, link, part, profile, (crossings[0], crossings[1])))
    junctions = tuple(_make_junction(index, centers[index], roads) for index in range(GRID * GRID))
    lanes, following = _make_lanes(town, roads, junctions)
    extent = centers.max(axis=0) + MARGIN_M
    return Network(
        town,
        junctions,
        tuple(roads),
        lanes,
        following,
        (float(np.ceil(extent[0])), float(np.ceil(extent[1]))),
    )


def _place_junctions(
    town: Town, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "J 2"], Float[np.ndarray, " J"]]:
    grid = np.stack(np.meshgrid(np.arange(GRID), np.arange(GRID), indexing="ij"), -1).reshape(-1, 2)
    spacing = np.array(town.spacing_m)
    shaken = grid + rng.uniform(-0.13, 0.13, grid.shape)
    centers = shaken * spacing
    centers += MARGIN_M - centers.min(axis=0)
    return centers, np.radians(rng.uniform(-town.turn_deg, town.turn_deg, len(grid)))


def _choose_links(town: Town, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Grid neighbours, less some; every junction keeps at least three arms, the town's four corners two."""
    links = [(x * GRID + y, (x + 1) * GRID + y) for x in range(GRID - 1) for y in range(GRID)]
    links += [(x * GRID + y, x * GRID + y + 1) for x in range(GRID) for y in range(GRID - 1)]
    degree = np.bincount(np.ravel(links), minlength=GRID * GRID)
    kept = set(links)
    for position in rng.permutation(len(links))[: round(town.missing * len(links))]:
        a, b = links[position]
        if degree[a] > 3 and degree[b] > 3:
            kept.remove((a, b))
            degree[[a, b]] -= 1
    return [link for link in links if link in kept]


def _draw_profile(town: Town, rng: np.random.Generator) -> Profile:
    lanes = town.lanes[rng.integers(len(town.lanes))]
    lanes = lanes if rng.random() < 0.5 else lanes[::-1]
    wide = sum(lanes) >= 3 and rng.random() < town.median
    parking = tuple(2.3 if rng.random() < town.parking else 0.0 for _ in range(2))
    verge, sidewalk = (
        tuple(float(rng.uniform(*limits)) for _ in range(2)) for limits in (town.verge_m, town.sidewalk_m)
    )
    median = float(rng.uniform(1.6, 3.2)) if wide else 0.3
    return Profile(
        lanes,
        float(rng.uniform(*town.lane_m)),
        median,
        (parking[0], parking[1]),
        (verge[0] if verge[0] > 0.7 else 0.0, verge[1] if verge[1] > 0.7 else 0.0),
        (sidewalk[0], sidewalk[1]),
    )


def _outward(link: tuple[int, int], at_start: bool, turn: float) -> Float[np.ndarray, "2"]:
    along_x = link[1] - link[0] == GRID
    angle = (0.0 if along_x else math.pi / 2) + (0 if at_start else math.pi) + turn
    return np.array([math.cos(angle), math.sin(angle)])


def _lay_curve(
    centers: Float[np.ndarray, "J 2"],
    turns: Float[np.ndarray, " J"],
    link: tuple[int, int],
    bow_m: float,
) -> Curve:
    """From junction to junction through a point `bow_m` to the left of the middle."""
    start, end = centers[link[0]], centers[link[1]]
    chord = end - start
    length = math.hypot(*chord)
    middle = (start + end) / 2 + bow_m / length * np.array([-chord[1], chord[0]])
    out_of_start = 0.22 * length * _outward(link, True, float(turns[link[0]]))
    out_of_end = 0.22 * length * _outward(link, False, float(turns[link[1]]))
    halves = (
        bezier(start, out_of_start, -0.17 * chord, middle, 81),
        bezier(middle, 0.17 * chord, out_of_end, end, 81),
    )
    return Curve(np.concatenate((halves[0].points, halves[1].points[1:])))


def _cut_lengths(
    links: list[tuple[int, int]], curves: list[Curve], profiles: list[Profile]
) -> list[tuple[float, float]]:
    """How much of each road's two ends belongs to the junctions: corners must be round, arms apart."""
    arms: dict[int, list[tuple[float, int, int]]] = {}
    for index, (link, curve) in enumerate(zip(links, curves, strict=True)):
        for end in (0, 1):
            direction = curve.tangents[0] if end == 0 else -curve.tangents[-1]
            angle = math.atan2(direction[1], direction[0])
            arms.setdefault(link[end], []).append((angle, index, end))
    cuts = [[9.0, 9.0] for _ in links]
    for meeting in arms.values():
        ordered = sorted(meeting)
        for (angle, road, end), (next_angle, next_road, next_end) in itertools.pairwise(
            [*ordered, (ordered[0][0] + 2 * math.pi, *ordered[0][1:])]
        ):
            between = next_angle - angle
            if between > math.radians(150):
                continue
            left = profiles[road].kerb_m(1 if end == 0 else -1)
            right = profiles[next_road].kerb_m(-1 if next_end == 0 else 1)
            round_m = 6.5 / math.tan(between / 2)
            need = (right + left * math.cos(between)) / math.sin(between) + round_m
            next_need = (left + right * math.cos(between)) / math.sin(between) + round_m
            cuts[road][end] = max(cuts[road][end], need)
            cuts[next_road][next_end] = max(cuts[next_road][next_end], next_need)
    return [(cut[0], cut[1]) for cut in cuts]


def _make_junction(index: int, center: Float[np.ndarray, "2"], roads: list[Road]) -> Junction:
    arms = []
    for road in roads:
        for end in (0, 1):
            if road.ends[end] != index:
                continue
            curve, profile, start = road.curve, road.profile, end == 0
            direction = curve.tangents[0] if start else -curve.tangents[-1]
            left, right = profile.kerb_m(1 if start else -1), profile.kerb_m(-1 if start else 1)
            arms.append(Arm(road.index, start, direction, curve.points[0 if start else -1], left, right))
    arms.sort(key=lambda arm: math.atan2(*arm.direction[::-1]))
    pairs = [(i, (i + 1) % len(arms)) for i in range(len(arms))]
    corners = tuple(Corner(_corner_curve(arms[a], arms[b]), (a, b)) for a, b in pairs)
    return Junction(index, center, tuple(arms), corners)


def _corner_curve(arm: Arm, following: Arm) -> Curve:
    start = arm.point + arm.left_m * np.array([-arm.direction[1], arm.direction[0]])
    end = following.point + following.right_m * np.array([following.direction[1], -following.direction[0]])
    gap = math.hypot(*(end - start))
    cosine = float(arm.direction @ following.direction)
    handle = gap * (0.39 if cosine > -0.8 else 0.33)
    return bezier(start, -handle * arm.direction, -handle * following.direction, end, 13)


def _make_lanes(
    town: Town, roads: list[Road], junctions: tuple[Junction, ...]
) -> tuple[tuple[Lane, ...], tuple[tuple[int, ...], ...]]:
    along_side = 1 if town.drives_left else -1
    lanes: list[Lane] = []
    arriving: dict[tuple[int, int], list[int]] = {}
    leaving: dict[tuple[int, int], list[int]] = {}
    for road in roads:
        for along in (True, False):
            side = along_side if along else -along_side
            goal, source = (road.ends[1], road.ends[0]) if along else road.ends
            arm = _arm_of(junctions[goal], road.index, at_start=not along)
            back = _arm_of(junctions[source], road.index, at_start=along)
            for position in range(road.profile.lanes[side < 0]):
                middle = road.profile.median_m / 2 + (position + 0.5) * road.profile.lane_m
                curve = road.curve.offset(side * middle)
                curve = curve if along else curve.reverse()
                arriving.setdefault((goal, arm), []).append(len(lanes))
                leaving.setdefault((source, back), []).append(len(lanes))
                lanes.append(Lane(len(lanes), curve, road.profile.lane_m, road.index, position, goal, arm))
    following: list[tuple[int, ...]] = [() for _ in lanes]
    for junction in junctions:
        for arm in range(len(junction.arms)):
            for lane in arriving[junction.index, arm]:
                targets = _targets(junction, arm, lanes[lane], arriving, leaving, along_side)
                connectors = []
                for target in targets:
                    connectors.append(len(lanes))
                    lanes.append(_connect(lanes[lane], lanes[target], len(lanes), junction.index, arm))
                    following.append((target,))
                following[lane] = tuple(connectors)
    return tuple(lanes), tuple(following)


def _arm_of(junction: Junction, road: int, at_start: bool) -> int:
    return next(i for i, arm in enumerate(junction.arms) if arm.road == road and arm.at_start == at_start)


def _targets(
    junction: Junction,
    arm: int,
    lane: Lane,
    arriving: dict[tuple[int, int], list[int]],
    leaving: dict[tuple[int, int], list[int]],
    along_side: int,
) -> list[int]:
    """Lanes to drive on to: straight on from every lane, turns from the lane next to the turn."""
    incoming = -junction.arms[arm].direction
    count = len(arriving[junction.index, arm])
    targets = []
    for other, out in enumerate(junction.arms):
        if other == arm:
            continue
        lanes = leaving[junction.index, other]
        turn = incoming[0] * out.direction[1] - incoming[1] * out.direction[0]
        if abs(turn) < 0.5:
            targets.append(lanes[min(lane.position, len(lanes) - 1)])
        elif (turn > 0) == (along_side > 0):
            if lane.position == count - 1:
                targets.append(lanes[-1])
        elif lane.position == 0:
            targets.append(lanes[0])
    if not targets:
        others = [other for other in range(len(junction.arms)) if other != arm]
        lanes = leaving[junction.index, others[0]]
        targets.append(lanes[min(lane.position, len(lanes) - 1)])
    return targets


def _connect(source: Lane, target: Lane, index: int, junction: int, arm: int) -> Lane:
    start, end = source.curve.points[-1], target.curve.points[0]
    handle = 0.4 * math.hypot(*(end - start))
    curve = bezier(start, handle * source.curve.tangents[-1], -handle * target.curve.tangents[0], end, 17)
    return Lane(index, curve, min(source.width_m, target.width_m), None, source.position, junction, arm)

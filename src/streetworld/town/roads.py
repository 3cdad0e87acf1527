"""How the roads of a town are laid: junctions on a shaken grid, curved roads between neighbours."""

import itertools
import math

import numpy as np
from jaxtyping import Float

from streetworld.town.curves import Curve, bezier
from streetworld.town.lanes import make_lanes
from streetworld.town.network import Arm, Corner, Junction, Network, Profile, Road
from streetworld.town.towns import Town

MARGIN_M = 170.0
"""Country around the outermost junctions."""


def build_network(town: Town, seed: int, size: int) -> Network:
    """Lay out a town of `size` x `size` junctions; the same seed gives the same town."""
    rng = np.random.default_rng((seed, town.number, 1))
    centers, turns = _place_junctions(town, size, rng)
    links = _choose_links(town, size, rng)
    profiles = [_draw_profile(town, rng) for _ in links]
    bows = rng.uniform(-town.bow_m, town.bow_m, len(links))
    full = [_lay_curve(centers, turns, link, float(bow)) for link, bow in zip(links, bows, strict=True)]
    cuts = _cut_lengths(links, full, profiles)
    degree = np.bincount(np.ravel(links), minlength=size * size)
    roads = []
    for index, (link, curve, profile, cut) in enumerate(zip(links, full, profiles, cuts, strict=True)):
        crossings = tuple(bool(degree[end] > 2 and rng.random() < 0.85) for end in link)
        part = curve.part(cut[0], curve.length_m - cut[1]).resample(2.5)
        roads.append(Road(index, link, part, profile, (crossings[0], crossings[1])))
    junctions = tuple(_make_junction(index, centers[index], roads) for index in range(size * size))
    lanes, following = make_lanes(town, roads, junctions)
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
    town: Town, size: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "J 2"], Float[np.ndarray, " J"]]:
    """Place the junctions, and turn each a little."""
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), -1).reshape(-1, 2)
    spacing = np.array(town.spacing_m)
    shaken = grid + rng.uniform(-0.13, 0.13, grid.shape)
    centers = shaken * spacing
    centers += MARGIN_M - centers.min(axis=0)
    return centers, np.radians(rng.uniform(-town.turn_deg, town.turn_deg, len(grid)))


def _choose_links(town: Town, size: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return the links of the grid, less some; junctions keep three arms, the town's corners two."""
    links = [(x * size + y, (x + 1) * size + y) for x in range(size - 1) for y in range(size)]
    links += [(x * size + y, x * size + y + 1) for x in range(size) for y in range(size - 1)]
    degree = np.bincount(np.ravel(links), minlength=size * size)
    kept = set(links)
    for position in rng.permutation(len(links))[: round(town.missing * len(links))]:
        a, b = links[position]
        if degree[a] > 3 and degree[b] > 3:
            kept.remove((a, b))
            degree[[a, b]] -= 1
    return [link for link in links if link in kept]


def _draw_profile(town: Town, rng: np.random.Generator) -> Profile:
    """Draw the cross-section of a road."""
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
    """Return the direction in which a road leaves a junction."""
    along_x = link[1] - link[0] > 1  # junctions are numbered along y first
    angle = (0.0 if along_x else math.pi / 2) + (0 if at_start else math.pi) + turn
    return np.array([math.cos(angle), math.sin(angle)])


def _lay_curve(
    centers: Float[np.ndarray, "J 2"],
    turns: Float[np.ndarray, " J"],
    link: tuple[int, int],
    bow_m: float,
) -> Curve:
    """Lay a curve between two junctions through a point `bow_m` to the left of the middle."""
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
    """Return how much of each road's two ends belongs to the junctions: corners must be round, arms apart."""
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
    """Make a junction of the roads that meet there."""
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
    """Return the kerb between two neighbouring arms of a junction."""
    start = arm.point + arm.left_m * np.array([-arm.direction[1], arm.direction[0]])
    end = following.point + following.right_m * np.array([following.direction[1], -following.direction[0]])
    gap = math.hypot(*(end - start))
    cosine = float(arm.direction @ following.direction)
    handle = gap * (0.39 if cosine > -0.8 else 0.33)
    return bezier(start, -handle * arm.direction, -handle * following.direction, end, 13)

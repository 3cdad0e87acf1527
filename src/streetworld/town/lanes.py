"""Lanes along the roads, and the ways through junctions that join them."""

import math

from streetworld.town.curves import bezier
from streetworld.town.network import Junction, Lane, Road
from streetworld.town.towns import Town


def make_lanes(
    town: Town, roads: list[Road], junctions: tuple[Junction, ...]
) -> tuple[tuple[Lane, ...], tuple[tuple[int, ...], ...]]:
    """Make all lanes of a town, and list which may be driven on after each."""
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
    """Return the number of the arm of a junction that belongs to a road."""
    return next(i for i, arm in enumerate(junction.arms) if arm.road == road and arm.at_start == at_start)


def _targets(
    junction: Junction,
    arm: int,
    lane: Lane,
    arriving: dict[tuple[int, int], list[int]],
    leaving: dict[tuple[int, int], list[int]],
    along_side: int,
) -> list[int]:
    """Return lanes to drive on to: straight on from every lane, turns from the lane next to the turn."""
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
    """Make the lane across a junction from one lane to another."""
    start, end = source.curve.points[-1], target.curve.points[0]
    handle = 0.4 * math.hypot(*(end - start))
    curve = bezier(start, handle * source.curve.tangents[-1], -handle * target.curve.tangents[0], end, 17)
    return Lane(index, curve, min(source.width_m, target.width_m), None, source.position, junction, arm)

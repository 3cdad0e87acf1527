"""People on foot: along the sidewalks, and over the crossings while the traffic waits."""

import numpy as np
from jaxtyping import Float

from streetworld.actors.traffic import STEP_S, WARM_UP_S, Motion, Signals, step_count
from streetworld.layout.ground import KERB_M
from streetworld.town.curves import Curve
from streetworld.town.lots import near_route
from streetworld.town.network import CROSSING_M, Network, Road


def people_near(
    network: Network,
    signals: Signals,
    rng: np.random.Generator,
    route: Float[np.ndarray, "R 2"],
    duration_s: float,
) -> list[tuple[float, Motion]]:
    """Draw people near a route: height of the ground below each, and its way."""
    found: list[tuple[float, Motion]] = []
    crowd = float(rng.choice((0.4, 1.0, 2.2)))
    for road in network.roads:
        if not near_route(road.curve.points[::5], route, 60.0).any():
            continue
        for side in (1, -1):
            for _ in range(rng.poisson(1.6 * crowd)):
                found.append((KERB_M, _walk_along(road, side, rng, duration_s)))
        for at_start in (True, False):
            crossing = road.crossings[0 if at_start else 1]
            if crossing and _red_at(network, signals, road, at_start, duration_s / 2):
                for _ in range(rng.poisson(1.0 * crowd)):
                    found.append((0.0, _walk_across(road, at_start, rng, duration_s)))
    return [item for item in found if near_route(item[1].points[::20], route, 70.0).any()]


def _red_at(network: Network, signals: Signals, road: Road, at_start: bool, time_s: float) -> bool:
    """Tell whether the light at an end of a road stays red around a moment, so that people may cross."""
    junction = network.junctions[road.ends[0 if at_start else 1]]
    arm = next(
        i for i, arm in enumerate(junction.arms) if arm.road == road.index and arm.at_start == at_start
    )
    return all(signals.state(junction.index, arm, time_s + dt) == 0 for dt in (-2, 0, 2))


def _walk_along(road: Road, side: int, rng: np.random.Generator, duration_s: float) -> Motion:
    """Walk along a sidewalk."""
    profile = road.profile
    inner = profile.kerb_m(side) + 0.18 + profile.verge_m[side < 0]
    line = road.curve.offset(side * (inner + float(rng.uniform(0.35, 0.65))))
    if rng.random() < 0.5:
        line = line.reverse()
    speed = 0.0 if rng.random() < 0.25 else float(rng.uniform(0.9, 1.7))
    start = float(rng.uniform(0, line.length_m))
    turn = float(rng.uniform(-3, 3)) if speed == 0 else 0.0
    return _walk(line, start, speed, turn, duration_s)


def _walk_across(road: Road, at_start: bool, rng: np.random.Generator, duration_s: float) -> Motion:
    """Walk across a road on a crossing."""
    deep = float(rng.uniform(CROSSING_M[0] + 0.4, CROSSING_M[1] - 0.4))
    way = np.array([deep if at_start else road.curve.length_m - deep])
    left = road.curve.beside(way, road.profile.kerb_m(1) - 0.3)[0]
    right = road.curve.beside(way, 0.3 - road.profile.kerb_m(-1))[0]
    line = Curve(np.stack((left, right) if rng.random() < 0.5 else (right, left)))
    speed = float(rng.uniform(1.1, 1.7))
    middle = float(rng.uniform(0.1, 0.9)) * line.length_m
    return _walk(line, middle - (WARM_UP_S + duration_s / 2) * speed, speed, 0.0, duration_s)


def _walk(line: Curve, start_m: float, speed: float, turn_rad: float, duration_s: float) -> Motion:
    """Walk a line at an even pace; wait at its ends."""
    way = start_m + np.arange(step_count(duration_s)) * STEP_S * speed
    inside = np.clip(way, 0, line.length_m)
    direction = line.direction(inside)
    yaw = np.unwrap(np.arctan2(direction[:, 1], direction[:, 0])) + turn_rad
    pace = np.where((way > 0) & (way < line.length_m), speed, 0.0)
    return Motion(-WARM_UP_S, STEP_S, line.position(inside), yaw, pace)

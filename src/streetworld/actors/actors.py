"""Who moves in a scene: vehicles with their drivers, people on foot, and the ego vehicle.

Vehicles are numbered after everything that stands still. Times are seconds from the first key frame.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from streetworld.actors.people import people_near
from streetworld.actors.traffic import (
    CITY_SPEED_MPS,
    WARM_UP_S,
    Driver,
    Motion,
    Signals,
    make_signals,
    random_way,
    simulate,
    step_count,
)
from streetworld.layout.street import annotation_of
from streetworld.rendering.labels import Pose
from streetworld.things.cycles import GAITS, STRIDE_M, person_mesh
from streetworld.things.objects import Annotation, ObjectList
from streetworld.things.shapes import Mesh
from streetworld.things.vehicles import VEHICLES, draw_kind, draw_paint, draw_scale
from streetworld.town.lots import near_route
from streetworld.town.network import Network

TRAFFIC_M = 95.0
"""How far from the ego vehicle's way others are put on the road."""
EGO_LENGTH_M, EGO_WIDTH_M = 4.1, 1.75
GREEN_WAVE = 0.75
"""Share of scenes whose first traffic lights let the ego vehicle pass, so that most scenes move."""


@dataclass(frozen=True)
class Mover:
    """Something that moves, or could."""

    object_id: int
    annotation: Annotation
    motion: Motion
    height_m: float
    person: bool

    def pose(self, time_s: float) -> Pose:
        """Return where it is."""
        x, y, yaw, _ = self.motion.at(time_s)
        return Pose(x, y, self.height_m, yaw)

    def speed_mps(self, time_s: float) -> float:
        """Return how fast it is."""
        return self.motion.at(time_s)[3]

    def mesh(self, time_s: float) -> Mesh:
        """Return its template: people walk."""
        if not self.person:
            return self.annotation.mesh
        if self.speed_mps(time_s) < 0.2:
            return person_mesh(GAITS)
        way = (time_s + WARM_UP_S) * self.speed_mps(time_s) + self.object_id
        return person_mesh(int(way / STRIDE_M * GAITS) % GAITS)

    def attribute(self, time_s: float) -> str:
        """Return the nuScenes attribute at a time."""
        moving = self.speed_mps(time_s) > 0.3
        if self.person:
            return "pedestrian.moving" if moving else "pedestrian.standing"
        if self.annotation.category in ("vehicle.bicycle", "vehicle.motorcycle"):
            return "cycle.with_rider"
        return "vehicle.moving" if moving else "vehicle.stopped"


@dataclass(frozen=True)
class Cast:
    """Everybody who moves, before they get object numbers."""

    ego: Motion
    vehicles: tuple[tuple[str, tuple[float, float, float], Motion], ...]
    """Kind, scale and motion of each vehicle."""
    people: tuple[tuple[float, Motion], ...]
    """Height above the road and motion of each person."""
    signals: Signals


def direct(network: Network, rng: np.random.Generator, duration_s: float) -> Cast:
    """Choose a way for the ego vehicle, fill the streets around it, and let everybody move."""
    signals = make_signals(network, rng)
    ego = _ego_driver(network, rng, duration_s)
    if rng.random() < GREEN_WAVE:
        _turn_green(network, signals, ego, rng)
    reach = ego.start_m + np.arange(0, (duration_s + WARM_UP_S) * ego.speed_mps + 30, 8.0)
    route = ego.path.position(reach)
    drivers, kinds = _fill_lanes(network, rng, ego, route, duration_s)
    walkers = people_near(network, signals, rng, route, duration_s)
    steps = step_count(duration_s)
    spots = np.stack([motion.points for _, motion in walkers], axis=1) if walkers else np.zeros((steps, 0, 2))
    motions = simulate(network, signals, [ego, *drivers], spots, duration_s)
    vehicles = [(name, scale, motion) for (name, scale), motion in zip(kinds, motions[1:], strict=True)]
    return Cast(motions[0], tuple(vehicles), tuple(walkers), signals)


def enlist(cast: Cast, objects: ObjectList, rng: np.random.Generator) -> tuple[Mover, ...]:
    """Give everybody an object number, a colour and a box."""
    movers = []
    for name, scale, motion in cast.vehicles:
        kind = VEHICLES[name]
        what = "rider" if kind.cycle else "vehicle"
        number = objects.add(what, draw_paint(rng), draw_paint(rng), kind.paint, len(objects))
        annotation = annotation_of(kind.make(), scale, kind.category, None)
        movers.append(Mover(number, annotation, motion, 0.0, person=False))
    for height, motion in cast.people:
        tall = float(rng.uniform(0.9, 1.08))
        wide = tall * float(rng.uniform(0.95, 1.15))
        clothes = rng.uniform(0.02, 0.6, 3) ** 1.5, rng.uniform(0.02, 0.35, 3)
        colors = [(float(c[0]), float(c[1]), float(c[2])) for c in clothes]
        number = objects.add("pedestrian", colors[0], colors[1], seed=len(objects))
        category = "human.pedestrian.adult"
        annotation = annotation_of(person_mesh(1), (wide, wide, tall), category, None)
        movers.append(Mover(number, annotation, motion, height, person=True))
    return tuple(movers)


def _ego_driver(network: Network, rng: np.random.Generator, duration_s: float) -> Driver:
    """Choose the lane and the speed of the ego vehicle."""
    lanes = [lane for lane in network.lanes if lane.road is not None and lane.curve.length_m > 40]
    lane = lanes[rng.integers(len(lanes))]
    speed = float(rng.uniform(0.75, 1.15)) * CITY_SPEED_MPS
    path, numbers = random_way(
        network, lane.index, lane.curve.length_m + (duration_s + WARM_UP_S) * 13 + 80, rng
    )
    start = float(rng.uniform(4.0, lane.curve.length_m - 15))
    return Driver(path, start, speed, EGO_LENGTH_M, EGO_WIDTH_M, lanes=numbers)


def _turn_green(network: Network, signals: Signals, ego: Driver, rng: np.random.Generator) -> None:
    """Start the lights of the next junctions so that they are green when the ego vehicle arrives."""
    way = 0.0
    for number in ego.lanes:
        lane = network.lanes[number]
        way += lane.curve.length_m
        turns = signals.turn[lane.junction]
        if lane.road is None or not turns:
            continue
        arrival_s = (way - ego.start_m) / ego.speed_mps - WARM_UP_S
        wanted = turns[lane.arm] * signals.half_s + float(rng.uniform(3.0, 6.0))
        signals.start_s[lane.junction] = wanted - arrival_s


def _fill_lanes(
    network: Network,
    rng: np.random.Generator,
    ego: Driver,
    route: Float[np.ndarray, "R 2"],
    duration_s: float,
) -> tuple[list[Driver], list[tuple[str, tuple[float, float, float]]]]:
    """Fill lanes near the route with vehicles at random distances, away from the ego vehicle."""
    drivers: list[Driver] = []
    kinds: list[tuple[str, tuple[float, float, float]]] = []
    mean_gap = float(rng.choice((11.0, 18.0, 34.0)))
    start = ego.path.position(np.array([ego.start_m]))[0]
    for lane in network.lanes:
        if lane.road is None or not near_route(lane.curve.points[::6], route, TRAFFIC_M).any():
            continue
        way = float(rng.uniform(2, mean_gap))
        while way < lane.curve.length_m - 8:
            name = draw_kind(rng, driving=True)
            kind = VEHICLES[name]
            scale = draw_scale(rng, kind.varies)
            low, high = kind.make().bounds
            length, width = float((high - low)[0]) * scale[0], float((high - low)[1]) * scale[1]
            point = lane.curve.position(np.array([way]))
            if near_route(point, route, TRAFFIC_M)[0] and np.hypot(*(point[0] - start)) > 13 + length:
                speed = CITY_SPEED_MPS * kind.speed * float(rng.uniform(0.75, 1.2))
                needed = way + (duration_s + WARM_UP_S) * speed + 45
                path, numbers = random_way(network, lane.index, needed, rng)
                edge = (lane.width_m / 2 - 0.7) * network.along_side if name == "bicycle" else 0.0
                offset = edge + float(rng.normal(0, 0.12))
                drivers.append(Driver(path, way, speed, length, width, offset, numbers))
                kinds.append((name, scale))
            way += length + 4 + float(rng.exponential(mean_gap))
    return drivers, kinds


def ego_pose(motion: Motion, time_s: float) -> Float[np.ndarray, "4 4"]:
    """Return the pose of the ego vehicle, with a little pitch and roll of the body."""
    x, y, yaw, speed = motion.at(time_s)
    before, after = motion.at(time_s - 0.2), motion.at(time_s + 0.2)
    braking = (before[3] - after[3]) / 0.4
    turning = (after[2] - before[2]) / 0.4 * speed
    bumps = min(speed / 8, 1.0)
    pitch = math.radians(0.28 * braking + 0.15 * bumps * math.sin(2.9 * time_s + x * 0.7))
    roll = math.radians(0.30 * turning + 0.12 * bumps * math.sin(2.1 * time_s + y * 0.9))
    cz, sz, cy, sy, cx, sx = (
        math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch), math.cos(roll), math.sin(roll),
    )  # fmt: skip
    pose = np.eye(4)
    pose[:3, :3] = (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    )
    pose[:3, 3] = x, y, 0.0
    return pose

"""Who moves how: vehicles that follow lanes, keep their distance and stop at red lights.

Positions are in the town's frame, times in seconds from the first key frame. Axes: `N` vehicles, `T` time
steps, `M` metres along a path, `A` distances looked ahead, `C` circles that stand for other road users.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from streetworld.town.curves import Curve
from streetworld.town.network import STOP_LINE_M, Network

STEP_S = 0.1
"""Time step of the simulation."""
WARM_UP_S = 5.0
"""Time simulated before the first key frame, in which everybody finds a distance."""
CITY_SPEED_MPS = 10.5
"""Mean speed wanted on an empty road."""
BRAKING_MPS2 = 2.5
COMFORT_MPS2 = 1.6
SIDEWAYS_MPS2 = 2.2
"""Sideways acceleration wanted in curves."""
AHEAD_M = np.arange(1.0, 31.0, 2.0)
"""Where before its front a vehicle looks whether its way is free."""
AROUND_MIDDLE_M = 16.0
"""No place a vehicle looks at is farther than this from the one in their middle."""


@dataclass(frozen=True)
class Signals:
    """Traffic lights: each junction lets its arms drive in two turns."""

    turn: tuple[tuple[int, ...], ...]
    """Turn of each arm, 0 or 1, by junction."""
    start_s: Float[np.ndarray, " J"]
    green_s: float = 9.0
    amber_s: float = 2.0

    @property
    def half_s(self) -> float:
        """Time from the green of one turn to that of the other."""
        return self.green_s + self.amber_s + 1.0

    def state(self, junction: int, arm: int, time_s: float) -> int:
        """Return 0 for red, 1 for amber and 2 for green."""
        if not self.turn[junction]:
            return 2
        half = self.half_s
        phase = (time_s + float(self.start_s[junction])) % (2 * half) - half * self.turn[junction][arm]
        if phase < 0 or phase > self.green_s + self.amber_s:
            return 0
        return 2 if phase < self.green_s else 1


@dataclass(frozen=True)
class Driver:
    """A vehicle's way before it is simulated."""

    path: Curve
    start_m: float
    speed_mps: float
    """Speed wanted on an empty road."""
    length_m: float
    width_m: float
    offset_m: float = 0.0
    """Distance it keeps to the left of the middle of its lane."""
    lanes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Motion:
    """Poses over time, evenly sampled."""

    start_s: float
    step_s: float
    points: Float[np.ndarray, "T 2"]
    yaw_rad: Float[np.ndarray, " T"]
    """Continuous: it does not jump by a full turn."""
    speed_mps: Float[np.ndarray, " T"]

    def at(self, time_s: float) -> tuple[float, float, float, float]:
        """Return (x, y, yaw, speed) at a time, interpolated."""
        place = (time_s - self.start_s) / self.step_s
        index = min(max(math.floor(place), 0), len(self.points) - 2)
        share = place - index
        before, after = self._samples[index], self._samples[index + 1]
        x, y, yaw, speed = (a * (1 - share) + b * share for a, b in zip(before, after, strict=True))
        return x, y, yaw, speed

    @cached_property
    def _samples(self) -> list[tuple[float, float, float, float]]:
        """(x, y, yaw, speed) of every time step: numbers of arrays would take several times as long."""
        x, y = self.points.T.tolist()
        return list(zip(x, y, self.yaw_rad.tolist(), self.speed_mps.tolist(), strict=True))


def make_signals(network: Network, rng: np.random.Generator) -> Signals:
    """Make traffic lights with drawn starting times; opposite arms drive together."""
    turns = []
    for junction in network.junctions:
        first = junction.arms[0].direction
        turns.append(
            tuple(int(abs(float(arm.direction @ first)) < 0.7) for arm in junction.arms)
            if junction.signals
            else ()
        )
    return Signals(tuple(turns), rng.uniform(0, 24, len(network.junctions)))


def random_way(
    network: Network, lane: int, length_m: float, rng: np.random.Generator
) -> tuple[Curve, tuple[int, ...]]:
    """Draw a way of at least `length_m` from the start of a lane on, turning at random."""
    lanes = [lane]
    points = [network.lanes[lane].curve.points]
    total = network.lanes[lane].curve.length_m
    while total < length_m:
        choices = network.following[lanes[-1]]
        lanes.append(choices[rng.integers(len(choices))])
        curve = network.lanes[lanes[-1]].curve
        points.append(curve.points[1:])
        total += curve.length_m
    return Curve(np.concatenate(points)), tuple(lanes)


def simulate(
    network: Network,
    signals: Signals,
    drivers: list[Driver],
    people: Float[np.ndarray, "T P 2"],
    duration_s: float,
) -> list[Motion]:
    """Let everybody drive from `WARM_UP_S` before the first key frame until `duration_s` after it.

    `people` are positions at the same time steps; vehicles brake for them.
    """
    paths = _sample_paths(drivers)
    limits = _speed_limits(paths, drivers)
    stops = [_stop_lines(network, driver) for driver in drivers]
    way = np.array([driver.start_m for driver in drivers])
    speed = np.minimum(
        np.array([driver.speed_mps for driver in drivers]), limits[np.arange(len(way)), way.astype(int)]
    )
    steps = step_count(duration_s)
    ways, speeds = np.empty((steps, len(way))), np.empty((steps, len(way)))
    for step in range(steps):
        ways[step], speeds[step] = way, speed
        time_s = step * STEP_S - WARM_UP_S
        gap = np.minimum(
            _gap_to_others(paths, way, drivers, people[step]),
            _gap_to_red(signals, stops, drivers, way, speed, time_s),
        )
        wanted = limits[np.arange(len(way)), np.minimum(way.astype(int), limits.shape[1] - 1)]
        speed = np.clip(speed + STEP_S * _acceleration(speed, wanted, gap), 0.0, None)
        way = way + STEP_S * speed
    return [_motion(driver, ways[:, i], speeds[:, i]) for i, driver in enumerate(drivers)]


def step_count(duration_s: float) -> int:
    """Return the number of time steps from the warm-up until `duration_s` after the first key frame."""
    return math.ceil((WARM_UP_S + duration_s) / STEP_S) + 2


def _sample_paths(drivers: list[Driver]) -> Float[np.ndarray, "N M 2"]:
    """Sample the paths of all drivers at every metre."""
    longest = math.ceil(max(driver.path.length_m for driver in drivers)) + 1
    return np.stack([driver.path.position(np.arange(longest, dtype=float)) for driver in drivers])


def _speed_limits(paths: Float[np.ndarray, "N M 2"], drivers: list[Driver]) -> Float[np.ndarray, "N M"]:
    """Return the speed wanted at every metre: slower in curves and a little before them."""
    step = np.diff(paths, axis=1, append=paths[:, -1:])
    heading = np.unwrap(np.arctan2(step[..., 1], step[..., 0]), axis=1)
    bend = np.abs(np.diff(heading, axis=1, append=heading[:, -1:]))
    kernel = np.ones(7) / 7
    smooth = np.stack([np.convolve(row, kernel, mode="same") for row in bend])
    ahead = np.stack([np.roll(smooth, -shift, axis=1) for shift in (0, 4, 8)]).max(axis=0)
    wanted = np.array([driver.speed_mps for driver in drivers])
    return np.minimum(wanted[:, None], np.sqrt(SIDEWAYS_MPS2 / np.maximum(ahead, 1e-4)).clip(2.5))


def _stop_lines(network: Network, driver: Driver) -> list[tuple[float, int, int]]:
    """Return (way, junction, arm) of the stop lines on a way, before which vehicles stop."""
    found, way = [], 0.0
    for number in driver.lanes:
        lane = network.lanes[number]
        way += lane.curve.length_m
        if lane.road is not None:
            found.append((way - STOP_LINE_M[1] - 0.5, lane.junction, lane.arm))
    return found


def _gap_to_others(
    paths: Float[np.ndarray, "N M 2"],
    way: Float[np.ndarray, " N"],
    drivers: list[Driver],
    people: Float[np.ndarray, "P 2"],
) -> Float[np.ndarray, " N"]:
    """Return the free way before each vehicle's front; 99 m if nothing is near."""
    rows = np.arange(len(way))
    lengths = np.array([driver.length_m for driver in drivers])
    widths = np.array([driver.width_m for driver in drivers])
    circles, owner, radius = _circles(paths, way, drivers)
    circles = np.concatenate((circles, people))
    owner = np.concatenate((owner, np.full(len(people), -1)))
    radius = np.concatenate((radius, np.full(len(people), 0.5)))
    index = np.minimum((way + lengths / 2)[:, None] + AHEAD_M, paths.shape[1] - 1).astype(int)
    reach = radius + widths[:, None] / 2 + 0.35
    nobody_blocks_itself = np.where(owner == rows[:, None], -np.inf, reach)
    blocked = blocked_places(paths[rows[:, None], index], circles, nobody_blocks_itself)
    first: Int[np.ndarray, " N"] = blocked.argmax(axis=1)
    return np.where(blocked.any(axis=1), np.maximum(AHEAD_M[first] - 1.5, 0.1), 99.0)


def blocked_places(
    places: Float[np.ndarray, "N A 2"], circles: Float[np.ndarray, "C 2"], reach_m: Float[np.ndarray, "N C"]
) -> Bool[np.ndarray, "N A"]:
    """Return which places ahead of each vehicle are nearer to a circle than its reach.

    Most circles are far from all places of a vehicle. A look at the place in the middle sorts them out.
    """
    x, y = np.moveaxis(places, -1, 0)
    middle, window = len(AHEAD_M) // 2, reach_m + AROUND_MIDDLE_M
    near = np.abs(x[:, middle, None] - circles[:, 0]) < window
    near &= np.abs(y[:, middle, None] - circles[:, 1]) < window
    vehicle, circle = np.nonzero(near)
    gaps = np.hypot(x[vehicle] - circles[circle, 0, None], y[vehicle] - circles[circle, 1, None])
    pair, place = np.nonzero(gaps < reach_m[vehicle, circle, None])
    blocked = np.zeros(x.shape, dtype=bool)
    blocked[vehicle[pair], place] = True
    return blocked


def _circles(
    paths: Float[np.ndarray, "N M 2"], way: Float[np.ndarray, " N"], drivers: list[Driver]
) -> tuple[Float[np.ndarray, "C 2"], Int[np.ndarray, " C"], Float[np.ndarray, " C"]]:
    """Return three circles along every vehicle: where, whose, how large."""
    centers, owners, radii = [], [], []
    for share in (-0.36, 0.0, 0.36):
        index = np.array([w + share * d.length_m for w, d in zip(way, drivers, strict=True)])
        index = np.clip(index, 0, paths.shape[1] - 1).astype(int)
        centers.append(paths[np.arange(len(way)), index])
        owners.append(np.arange(len(way)))
        radii.append(np.array([driver.width_m / 2 for driver in drivers]))
    return np.concatenate(centers), np.concatenate(owners), np.concatenate(radii)


def _gap_to_red(
    signals: Signals,
    stops: list[list[tuple[float, int, int]]],
    drivers: list[Driver],
    way: Float[np.ndarray, " N"],
    speed: Float[np.ndarray, " N"],
    time_s: float,
) -> Float[np.ndarray, " N"]:
    """Return the free way to a red light, or to an amber one that can be stopped at; 99 m if none is near."""
    gaps = np.full(len(way), 99.0)
    for i, (lines, driver) in enumerate(zip(stops, drivers, strict=True)):
        for line, junction, arm in lines:
            gap = line - way[i] - driver.length_m / 2
            if gap > 40:
                break
            if gap < -0.5:
                continue
            state = signals.state(junction, arm, time_s)
            can_stop = gap > speed[i] ** 2 / (2 * 3.5)
            if state == 0 or (state == 1 and can_stop):
                gaps[i] = max(gap, 0.1)
            break
    return gaps


def _acceleration(
    speed: Float[np.ndarray, " N"], wanted: Float[np.ndarray, " N"], gap: Float[np.ndarray, " N"]
) -> Float[np.ndarray, " N"]:
    """Follow the intelligent driver model (Treiber 2000), the leader standing at half our speed."""
    desired = 2.0 + speed * 1.1 + speed * speed * 0.5 / (2 * math.sqrt(COMFORT_MPS2 * BRAKING_MPS2))
    free = 1 - (speed / np.maximum(wanted, 0.1)) ** 4
    return np.clip(COMFORT_MPS2 * (free - (desired / np.maximum(gap, 0.3)) ** 2), -7.0, COMFORT_MPS2)


def _motion(driver: Driver, way: Float[np.ndarray, " T"], speed: Float[np.ndarray, " T"]) -> Motion:
    """Return the motion of one driver."""
    direction = driver.path.direction(way)
    yaw = np.unwrap(np.arctan2(direction[:, 1], direction[:, 0]))
    return Motion(-WARM_UP_S, STEP_S, driver.path.beside(way, driver.offset_m), yaw, speed)

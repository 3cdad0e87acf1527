import numpy as np
import pytest
import shapely

from streetworld.actors.actors import EGO_LENGTH_M, EGO_WIDTH_M, Cast, direct, ego_pose
from streetworld.actors.traffic import (
    AHEAD_M,
    WARM_UP_S,
    Driver,
    Motion,
    Signals,
    blocked_places,
    make_signals,
    random_way,
    simulate,
    step_count,
)
from streetworld.things.vehicles import VEHICLES
from streetworld.town.curves import Curve
from streetworld.town.roads import build_network
from streetworld.town.towns import TOWNS

NETWORK = build_network(TOWNS[0], 3, 5)
STRAIGHT = Curve(np.array([[0.0, 0.0], [400.0, 0.0]]))
NOBODY = np.zeros((step_count(10.0), 0, 2))


def no_lights() -> Signals:
    return Signals(tuple(() for _ in NETWORK.junctions), np.zeros(len(NETWORK.junctions)))


def drive(*drivers: Driver, people: np.ndarray = NOBODY, signals: Signals | None = None) -> list[Motion]:
    return simulate(NETWORK, signals or no_lights(), list(drivers), people, 10.0)


def test_alone_on_a_straight_road_everybody_drives_as_fast_as_they_like() -> None:
    motion = drive(Driver(STRAIGHT, 5.0, 12.0, 4.5, 1.8))[0]
    assert motion.speed_mps[-1] == pytest.approx(12.0, rel=0.04)
    assert motion.points[-1, 0] == pytest.approx(5 + 12 * (WARM_UP_S + 10), rel=0.1)


def test_a_slow_vehicle_is_followed_at_a_distance() -> None:
    slow, fast = drive(Driver(STRAIGHT, 60.0, 4.0, 4.5, 1.8), Driver(STRAIGHT, 5.0, 14.0, 4.5, 1.8))
    gap = slow.points[:, 0] - fast.points[:, 0] - 4.5
    assert (gap > 1.0).all()
    assert fast.speed_mps[-1] == pytest.approx(4.0, abs=1.0)


def test_vehicles_stop_for_people() -> None:
    people = np.tile([[[100.0, 0.2]]], (step_count(10.0), 1, 1))
    motion = drive(Driver(STRAIGHT, 5.0, 12.0, 4.5, 1.8), people=people)[0]
    assert motion.points[:, 0].max() + 2.25 < 100
    assert motion.speed_mps[-1] < 0.5


def test_blocked_places_are_those_of_all_distances() -> None:
    rng = np.random.default_rng(0)
    lanes = rng.integers(len(NETWORK.lanes), size=60)
    ways = [random_way(NETWORK, int(lane), 60.0, rng)[0] for lane in lanes]
    places = np.stack([way.position(AHEAD_M + rng.uniform(0, 25)) for way in ways])
    circles = rng.permutation(places.reshape(-1, 2))[:300] + rng.normal(0, 2, (300, 2))
    reach = np.where(rng.random((60, 300)) < 0.1, -np.inf, rng.uniform(0.5, 3, (60, 300)))
    gaps = np.hypot(*np.moveaxis(places[:, :, None] - circles, -1, 0))
    plain = (gaps < reach[:, None]).any(axis=2)
    np.testing.assert_array_equal(blocked_places(places, circles, reach), plain)
    assert 0.1 < plain.mean() < 0.9


def test_red_lights_hold_vehicles_behind_the_stop_line() -> None:
    lane = next(lane for lane in NETWORK.lanes if lane.road is not None and lane.curve.length_m > 80)
    path, lanes = random_way(NETWORK, lane.index, 250.0, np.random.default_rng(0))
    turn = tuple(tuple(0 for _ in junction.arms) for junction in NETWORK.junctions)
    for start_s, passes in ((WARM_UP_S + 12.5, False), (WARM_UP_S, True)):
        signals = Signals(
            turn, np.full(len(NETWORK.junctions), start_s), green_s=11.0 if not passes else 60.0
        )
        driver = Driver(path, lane.curve.length_m - 60, 9.0, 4.5, 1.8, lanes=lanes)
        motion = simulate(NETWORK, signals, [driver], np.zeros((step_count(3.0), 0, 2)), 3.0)[0]
        beyond = np.hypot(*(motion.points - path.points[0]).T).max() > lane.curve.length_m
        assert beyond == passes


def test_a_light_is_never_green_for_crossing_arms() -> None:
    signals = make_signals(NETWORK, np.random.default_rng(0))
    for junction in NETWORK.junctions:
        if not junction.signals:
            continue
        for time_s in np.arange(0, 30, 0.5):
            states = [signals.state(junction.index, arm, float(time_s)) for arm in range(len(junction.arms))]
            turns = signals.turn[junction.index]
            assert not any(
                a and b and turns[i] != turns[j] for i, a in enumerate(states) for j, b in enumerate(states)
            )


@pytest.mark.parametrize("seed", range(3))
def test_a_cast_moves_smoothly_and_hardly_ever_collides(seed: int) -> None:
    cast = direct(NETWORK, np.random.default_rng(seed), 3.0)
    motions = [cast.ego, *(motion for _, _, motion in cast.vehicles)]
    for motion in motions:
        steps = np.hypot(*np.diff(motion.points, axis=0).T)
        assert (steps < 2.0).all()
        assert (np.abs(np.diff(motion.yaw_rad)) < 0.2).all()
    hit = np.concatenate([collided(cast, time_s) for time_s in np.arange(0.0, 3.1, 0.5)])
    assert len(hit) > 200
    assert hit.mean() < 0.02


def collided(cast: Cast, time_s: float) -> np.ndarray:
    """Whose box meets another one."""
    boxes = [(EGO_LENGTH_M, EGO_WIDTH_M, cast.ego)]
    for name, scale, motion in cast.vehicles:
        low, high = VEHICLES[name].make().bounds
        boxes.append(((high - low)[0] * scale[0], (high - low)[1] * scale[1], motion))
    corners = []
    for length, width, motion in boxes:
        x, y, yaw, _ = motion.at(time_s)
        turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
        square = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
        corners.append((square * (length, width)) @ turn + (x, y))
    polygons = shapely.polygons(corners)
    first, second = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    return np.isin(np.arange(len(boxes)), first[first != second])


def test_a_motion__is_interpolated_between_its_time_steps() -> None:
    rng = np.random.default_rng(0)
    points, yaw, speed = rng.random((6, 2)), rng.random(6), rng.random(6)
    motion = Motion(-1.0, 0.5, points, yaw, speed)
    times = -1.0 + 0.5 * np.arange(6)
    for time_s in (-1.0, -0.9, 0.0, 1.3, 1.5):
        expected = [np.interp(time_s, times, column) for column in (*points.T, yaw, speed)]
        assert motion.at(time_s) == pytest.approx(expected)


def test_the_ego_pose_stands_on_the_ground_and_follows_the_way() -> None:
    cast = direct(NETWORK, np.random.default_rng(1), 3.0)
    poses = [ego_pose(cast.ego, t) for t in (0.0, 0.05)]
    for pose in poses:
        assert pose[2, 3] == 0
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        assert pose[2, 2] > 0.995
    moved = poses[1][:2, 3] - poses[0][:2, 3]
    speed = cast.ego.at(0.0)[3]
    assert np.hypot(*moved) == pytest.approx(0.05 * speed, abs=0.02)

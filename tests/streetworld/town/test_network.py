import cv2
import numpy as np
import pytest

from streetworld.town.lots import CORNERS, Lot, TownRequest, plan_town
from streetworld.town.network import Network, corner_sides
from streetworld.town.roads import build_network
from streetworld.town.towns import TOWNS


@pytest.fixture(scope="module", params=range(len(TOWNS)), ids=[town.name for town in TOWNS])
def network(request: pytest.FixtureRequest) -> Network:
    return build_network(TOWNS[request.param], 5, 6)


def area(outline: np.ndarray) -> float:
    x, y = outline.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def test_the_same_seed_gives_the_same_town_and_another_another() -> None:
    first, again, other = (build_network(TOWNS[0], seed, 4) for seed in (1, 1, 2))
    for a, b in zip(first.roads, again.roads, strict=True):
        np.testing.assert_array_equal(a.curve.points, b.curve.points)
    assert len(first.roads) != len(other.roads) or not np.allclose(
        first.roads[0].curve.points[0], other.roads[0].curve.points[0]
    )


def test_it_has_three_and_four_way_junctions_curves_and_several_widths(network: Network) -> None:
    assert {3, 4} <= {len(junction.arms) for junction in network.junctions}
    assert len({sum(road.profile.lanes) for road in network.roads}) >= 2
    bends = [
        road.curve.length_m / np.hypot(*(road.curve.points[-1] - road.curve.points[0]))
        for road in network.roads
    ]
    assert min(bends) < 1.002
    assert max(bends) > 1.015
    assert all(road.curve.smallest_radius_m > 22 for road in network.roads)
    assert any(road.median is not None for road in network.roads)


def test_roads_have_room_and_lie_within_the_map(network: Network) -> None:
    for road in network.roads:
        assert road.curve.length_m > 35
        assert (road.outline > 0).all()
        assert (road.outline < network.size_m).all()
        assert area(road.outline) < 0  # left kerb forward, right kerb back: clockwise


def test_junctions_are_closed_by_the_roads_that_meet(network: Network) -> None:
    for junction in network.junctions:
        assert area(junction.outline) > 20
        for arm in junction.arms:
            road = network.roads[arm.road]
            ends = [road.kerb(side).points[0 if arm.at_start else -1] for side in (1, -1)]
            for end in ends:
                assert np.hypot(*(junction.outline - end).T).min() < 1e-6


def test_lanes_join_end_to_end(network: Network) -> None:
    for lane, following in zip(network.lanes, network.following, strict=True):
        assert following
        for other in following:
            np.testing.assert_allclose(lane.curve.points[-1], network.lanes[other].curve.points[0], atol=1e-6)
            assert lane.curve.tangents[-1] @ network.lanes[other].curve.tangents[0] > 0.97


def test_traffic_keeps_to_the_side_of_the_town(network: Network) -> None:
    for lane in network.lanes:
        if lane.road is not None:
            road = network.roads[lane.road]
            middle = lane.curve.points[len(lane.curve.points) // 2]
            nearest = np.hypot(*(road.curve.points - middle).T).argmin()
            forward = road.curve.tangents[nearest]
            along = lane.curve.tangents[len(lane.curve.points) // 2] @ forward > 0
            gap = middle - road.curve.points[nearest]
            left = forward[0] * gap[1] - forward[1] * gap[0] > 0
            assert left == (network.town.drives_left == along)


def test_sidewalks_round_corners_never_cross_themselves(network: Network) -> None:
    for junction in network.junctions:
        for corner in junction.corners:
            verge, walk = corner_sides(network, junction, corner)
            outer = corner.curve.offset(-(verge + walk + 0.18)).points
            steps = np.diff(outer, axis=0)
            assert ((steps * corner.curve.tangents[:-1]).sum(axis=1) > -0.05).all()


def lot_polygon(lot: Lot, shrink: float) -> np.ndarray:
    return (lot.points(CORNERS * shrink) * 10).astype(np.float32)


def test_lots_stand_on_no_road_and_on_no_other_lot() -> None:
    plan = plan_town(TownRequest(1, 5, 5))
    width, height = (int(extent * 2) for extent in plan.network.size_m)
    roads = np.zeros((height, width), dtype=np.uint8)
    for outline in [r.outline for r in plan.network.roads] + [j.outline for j in plan.network.junctions]:
        cv2.fillPoly(roads, [np.rint(outline * 2).astype(np.int32)], 1)
    shares = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, 25), np.linspace(-0.5, 0.5, 25)), -1).reshape(-1, 2)
    for lot in plan.lots:
        column, row = np.rint(lot.points(shares) * 2).astype(int).T
        assert not roads[row, column].any()
    centers = np.array([lot.center for lot in plan.lots])
    near = np.abs(centers[:, None] - centers[None]).max(axis=-1) < 40
    for i, j in zip(*np.nonzero(np.triu(near, 1)), strict=True):
        met, _ = cv2.intersectConvexConvex(lot_polygon(plan.lots[i], 0.99), lot_polygon(plan.lots[j], 0.99))
        assert met < 1


def test_a_town_has_every_kind_of_lot() -> None:
    assert {lot.kind for lot in plan_town(TownRequest(1, 5, 5)).lots} == {"house", "park", "yard", "car_park"}


def test_trees_stand_wherever_there_is_neither_road_nor_lot() -> None:
    plan = plan_town(TownRequest(1, 5, 5))
    network = plan.network
    width, height = network.size_m
    drawn = np.random.default_rng((5, 1, 3)).uniform((0, 0), (width, height), (int(width * height / 500), 2))
    taken = np.zeros(len(drawn), dtype=bool)
    borders = [(junction.outline, 3.4) for junction in network.junctions]
    for road in network.roads:
        one = road.profile
        sides = [one.kerb_m(side) + one.verge_m[side < 0] + one.sidewalk_m[side < 0] for side in (1, -1)]
        borders.append((road.curve.points, max(sides) + 0.15))
    for points, reach_m in borders:
        taken |= (np.linalg.norm(drawn[:, None] - points, axis=-1) <= reach_m + 2).any(axis=1)
    for lot in plan.lots:
        cosine, sine = np.cos(lot.yaw_rad), np.sin(lot.yaw_rad)
        along, deep = np.abs((drawn - lot.center) @ np.array([(cosine, -sine), (sine, cosine)])).T
        taken |= (along < lot.size_m[0] / 2 + 2) & (deep < lot.size_m[1] / 2 + 2)
    np.testing.assert_array_equal(plan.trees, drawn[~taken])

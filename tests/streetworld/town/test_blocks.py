import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetworld.request import SceneRequest
from streetworld.scene import build_scene
from streetworld.things.materials import CLASSES
from streetworld.town.blocks import block_outlines, triangulate
from streetworld.town.lots import TownRequest, plan_town

PLAN = plan_town(TownRequest(1, 2, 4))


def area(triangles: np.ndarray) -> float:
    a, b, c = triangles.transpose(1, 0, 2)
    return float(np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum() / 2)


@given(st.integers(0, 10_000), st.integers(3, 12))
def test_triangles_cover_a_random_star_exactly(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    # One corner per sector and less than half a turn between neighbours: a star around the origin.
    turn = (np.arange(count) + rng.uniform(0, 0.45, count)) * 2 * np.pi / count
    star = rng.uniform(1, 9, count)[:, None] * np.stack((np.cos(turn), np.sin(turn)), axis=-1)
    x, y = star.T
    expected = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)
    triangles = triangulate([star])
    assert area(triangles) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    for middle in triangles.mean(axis=1):
        distance = cv2.pointPolygonTest(star.astype(np.float32), (float(middle[0]), float(middle[1])), True)
        assert distance > -1e-3


def test_an_outline_within_another_is_a_hole() -> None:
    outer = np.array([(0, 0), (10, 0), (10, 10), (0, 10)], dtype=float)
    assert area(triangulate([outer, outer * 0.4 + 3])) == pytest.approx(100 - 16)


def test_blocks_roads_and_junctions_share_the_town_between_them() -> None:
    network = PLAN.network
    *blocks, country = block_outlines(network)
    assert len(blocks) == len(network.roads) - len(network.junctions) + 1  # Euler
    inside = sum(area(triangulate([outline])) for outline in blocks)
    paved = [road.outline for road in network.roads] + [junction.outline for junction in network.junctions]
    streets = sum(area(triangulate([outline])) for outline in paved)
    assert inside + streets == pytest.approx(area(triangulate([country])), rel=1e-3)


@pytest.mark.parametrize("number", range(3))
def test_nothing_grows_on_a_lane(number: int) -> None:
    town = TownRequest(number, 2, 4)
    scene = build_scene(SceneRequest("here", town, 1, 1, "nuscenes", (32, 48), ("noon",), 0, False))
    lanes = [lane.curve.points[2:-2] for lane in plan_town(town).network.lanes]
    points = np.concatenate(lanes) - scene.origin_m[:2]
    points = points[np.abs(points).max(axis=1) < 90]
    above = np.insert(points, 2, 0.7, axis=1).astype(np.float32)
    down = np.broadcast_to(np.float32([[0, 0, -1]]), above.shape)
    hits = scene.still.hit(above, down)
    np.testing.assert_allclose(hits.distance_m, 0.7, atol=1e-3)
    classes = scene.appearance.class_id[scene.still.mesh.object_id[hits.face]]
    assert (classes == CLASSES.index("road")).all()

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streetworld.output.expansion import expand_map
from streetworld.output.lane_records import arc_path
from streetworld.output.map_records import LAYERS
from streetworld.town.curves import thin
from streetworld.town.lots import TownRequest, plan_town
from streetworld.town.network import Network

PLAN = plan_town(TownRequest(2, 0, 3))


@pytest.fixture(scope="module")
def expansion() -> dict:
    return expand_map(PLAN)


def network() -> Network:
    return PLAN.network


def test_every_layer_is_there_and_every_token_is_its_own(expansion: dict) -> None:
    assert expansion["version"] == "1.3"
    assert expansion["canvas_edge"] == list(network().size_m)
    tokens = [record["token"] for layer in LAYERS for record in expansion[layer]]
    assert all(expansion[layer] for layer in LAYERS)
    assert len(set(tokens)) == len(tokens)


def test_what_records_name_exists(expansion: dict) -> None:
    known = {layer: {record["token"] for record in expansion[layer]} for layer in LAYERS}
    for polygon in expansion["polygon"]:
        assert set(polygon["exterior_node_tokens"]) <= known["node"]
    for layer in LAYERS:
        for record in expansion[layer]:
            for field, target in record.items():
                if field in ("polygon_token", "line_token", "road_segment_token", "road_block_token"):
                    assert target in known[field.removesuffix("_token")]
    for line in expansion["stop_line"]:
        assert set(line["ped_crossing_tokens"]) <= known["ped_crossing"]
        assert set(line["traffic_light_tokens"]) <= known["traffic_light"]


def test_lanes_are_connected_both_ways(expansion: dict) -> None:
    links = expansion["connectivity"]
    lanes = {record["token"] for layer in ("lane", "lane_connector") for record in expansion[layer]}
    assert set(links) == set(expansion["arcline_path_3"]) == lanes
    for token, link in links.items():
        assert all(token in links[other]["incoming"] for other in link["outgoing"])


def test_arcs_follow_the_lane() -> None:
    for lane in network().lanes[::29]:
        for piece in arc_path(lane.curve):
            x, y, yaw = piece["start_pose"]
            first, straight, _ = piece["segment_length"]
            if straight:
                end = (x + straight * np.cos(yaw), y + straight * np.sin(yaw))
            else:
                turn = first / piece["radius"] * (1 if piece["shape"] == "LSL" else -1)
                middle = yaw + turn / 2
                chord = 2 * piece["radius"] * np.sin(abs(turn) / 2)
                end = (x + chord * np.cos(middle), y + chord * np.sin(middle))
            assert np.hypot(*np.subtract(end, piece["end_pose"][:2])) < 0.2


def test_thinning_keeps_corners_and_stays_near() -> None:
    square = np.array([(0, 0), (1, 0), (2, 0), (2, 1), (2, 2), (1, 2), (0, 2)], dtype=float)
    kept = thin(square)
    assert {(0, 0), (2, 0), (2, 2), (0, 2)} <= {(float(x), float(y)) for x, y in kept}
    assert len(kept) < len(square)
    outline = network().roads[3].outline
    steps = np.linspace(0, 1, 40)[:, None, None]
    kept = thin(outline)
    dense = (kept[:-1] + steps * (kept[1:] - kept[:-1])).reshape(-1, 2)
    gaps = np.hypot(*(outline[:, None] - dense[None]).transpose(2, 0, 1)).min(axis=1)
    assert gaps.max() < 0.3


def test_the_base_map_is_white_on_roads_and_black_on_lots(
    street_world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # nuScenes' maps are as large
    record = json.loads((street_world / "v1.0-street" / "map.json").read_text())[0]
    pixels = np.asarray(Image.open(street_world / record["filename"]))
    assert pixels.dtype == np.uint8
    assert set(np.unique(pixels)) == {0, 255}
    logs = json.loads((street_world / "v1.0-street" / "log.json").read_text())
    assert set(record["log_tokens"]) == {log["token"] for log in logs}

    def look(points: np.ndarray) -> np.ndarray:
        column, row = np.floor(points * 10).astype(int).T
        return pixels[pixels.shape[0] - 1 - row, column]

    middles = np.concatenate([lane.curve.points[5:-5] for lane in network().lanes if lane.road is not None])
    assert (look(middles) == 255).all()
    assert (look(np.array([lot.center for lot in PLAN.lots])) == 0).all()

"""A street world in nuscenes-devkit, which runs in an environment of its own."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from streetworld.build import build_world
from streetworld.config import WorldConfig

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def devkit_answers(tmp_path_factory: pytest.TempPathFactory) -> dict:
    python = os.environ.get("OCCFEAT_DEVKIT_PYTHON", "")
    if not Path(python).is_file():
        pytest.skip("set OCCFEAT_DEVKIT_PYTHON to an interpreter that has nuscenes-devkit 1.2")
    folder = tmp_path_factory.mktemp("devkit")
    config = WorldConfig(
        out=folder / "world",
        scenes=1,
        val_scenes=1,
        test_scenes=0,
        key_frames=2,
        image_size=(90, 160),
        workers=1,
    )
    world = build_world(config)
    script, answers = Path(__file__).with_name("world_devkit.py"), folder / "answers.json"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run([python, str(script), str(world), str(answers)], check=True, env=environment)
    assert answers.with_suffix(".png").is_file()
    assert answers.with_suffix(".map.png").is_file()
    return json.loads(answers.read_text())


def test_the_devkit_finds_the_same_points_in_the_boxes(devkit_answers: dict) -> None:
    assert devkit_answers["samples"] == 2
    assert devkit_answers["boxes"] > 20
    assert devkit_answers["mismatched"] == 0


def test_the_devkit_reads_every_layer_of_the_map(devkit_answers: dict) -> None:
    assert devkit_answers["invalid"] == 0
    assert len(devkit_answers["filled"]) >= 10
    assert devkit_answers["filled"]["drivable_area"] > 0.05
    assert devkit_answers["filled"]["walkway"] > 0.01
    assert devkit_answers["lane"] > 5


def test_the_ego_vehicle_is_on_the_road_of_both_maps(devkit_answers: dict) -> None:
    assert devkit_answers["on_road"]
    assert devkit_answers["on_base_map"]

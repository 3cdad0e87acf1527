"""Sweeps between key frames: at their rate, and with everybody where they are then."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streetworld import build
from streetworld.config import WorldConfig
from streetworld.output.scene_files import write_scene
from streetworld.request import SceneRequest
from streetworld.scene import build_scene
from streetworld.town.lots import TownRequest

REQUEST = SceneRequest("here", TownRequest(2, 0, 3), 1, 2, "nuscenes", (16, 24), ("noon",), 0, False)


def test_sweeps__at_10_hz_fill_the_time_between_key_frames(tmp_path: Path) -> None:
    write_scene(replace(REQUEST, sweeps=4, sweep_hz=10), tmp_path)
    stamps = sorted(int(path.name.split("__")[2].split(".")[0]) for path in tmp_path.rglob("LIDAR_TOP/*.bin"))
    assert np.diff(stamps).tolist() == [100_000] * 5


def test_sweeps__show_movers_where_they_are_then() -> None:
    scene = build_scene(REQUEST)
    mover = max(scene.movers, key=lambda one: min(one.speed_mps(0.0), one.speed_mps(0.4)))
    first, then = scene.pose_of(mover, 0.0), scene.pose_of(mover, 0.4)
    way_m = math.hypot(then.x - first.x, then.y - first.y)
    assert way_m == pytest.approx(0.4 * mover.speed_mps(0.2), rel=0.2)
    assert way_m > 1


def test_settings__more_sweeps_than_there_is_time_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected at most 4 sweeps at sweep_hz 10, got 5"):
        WorldConfig(out=tmp_path, sweeps=5, sweep_hz=10)


def test_description__of_worlds_at_20_hz_is_as_before(tmp_path: Path) -> None:
    assert b"sweep_hz" not in build._description(WorldConfig(out=tmp_path))
    assert b'"sweep_hz": 10' in build._description(WorldConfig(out=tmp_path, sweep_hz=10))

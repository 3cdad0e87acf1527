"""Speeds of annotated objects."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occfeat.data.index.index import Index
from occfeat.data.index.motion import LONGEST_S, speeds_mps
from occfeat.settings.sections import DataConfig


def plain_speeds(
    row: np.ndarray, track: np.ndarray, center: np.ndarray, time_us: np.ndarray, scene: np.ndarray
) -> list[float]:
    """Box by box, as `NuScenes.box_velocity` looks at the annotations before and after."""
    speeds = []
    for own in range(len(row)):
        same = [
            other
            for other in range(len(row))
            if track[own] >= 0 and track[other] == track[own] and scene[row[other]] == scene[row[own]]
        ]
        earlier = [other for other in same if time_us[row[other]] < time_us[row[own]]]
        later = [other for other in same if time_us[row[other]] > time_us[row[own]]]
        first = max(earlier, key=lambda other: time_us[row[other]], default=own)
        last = min(later, key=lambda other: time_us[row[other]], default=own)
        span_s = (time_us[row[last]] - time_us[row[first]]) / 1e6
        longest_s = LONGEST_S * (bool(earlier) + bool(later))
        way_m = math.dist(center[first][:2], center[last][:2])
        speeds.append(way_m / span_s if 0 < span_s <= longest_s else math.nan)
    return speeds


@settings(deadline=None)
@given(st.data())
def test_speeds__are_those_of_a_plain_loop(data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.sampled_from([250_000, 500_000, 2_000_000]), min_size=1, max_size=6))
    time_us, count = np.cumsum(steps, dtype=np.int64), len(steps)
    scene = np.sort(data.draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    pairs = st.lists(st.tuples(st.integers(0, count - 1), st.integers(-1, 2)), max_size=12, unique=True)
    row, track = np.array(data.draw(pairs), dtype=np.int64).reshape(-1, 2).T
    center = np.random.default_rng(0).uniform(-50, 50, (len(row), 3))
    found = speeds_mps(row, track, center, time_us, scene)
    expected = plain_speeds(row, track, center, time_us, scene)
    # Boxes of no known object have no speed, however many of them a key frame holds.
    np.testing.assert_allclose(found, np.array(expected, dtype=np.float32), rtol=1e-5)


def test_speeds__two_boxes_of_one_object_at_one_time_have_none() -> None:
    row, track = np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)
    times, center = np.array([0]), np.array([[0.0, 0, 0], [5, 0, 0]])
    assert np.isnan(speeds_mps(row, track, center, times, np.array([0]))).all()


def test_index__knows_who_moves_on_the_street(street_world: Path) -> None:
    """Speeds are not affected by the motion of the car, and cover what stands and what drives."""
    index = Index.open(DataConfig(root=street_world))
    rows = index.rows("all")
    assert index.knows_motion(rows)
    speeds = np.concatenate([index.key_frame(int(row)).boxes.speed_mps.numpy() for row in rows])
    assert np.isfinite(speeds).mean() > 0.8
    assert (speeds < 0.01).any()
    assert 2 < np.nanmax(speeds) < 25


@pytest.mark.data
def test_index__speeds_of_a_real_scene_are_those_of_the_chains_of_its_records() -> None:
    root = Path(os.environ.get("OCCFEAT_TEST_SCENE") or pytest.skip("set OCCFEAT_TEST_SCENE"))
    tables = {
        name: {
            record["token"]: record
            for record in json.loads((root / "v1.0-mini" / f"{name}.json").read_text())
        }
        for name in ("sample_annotation", "sample")
    }
    annotations, samples = tables["sample_annotation"], tables["sample"]
    index, differ, known = Index.open(DataConfig(root=root)), 0, 0
    for row in index.rows("all"):
        boxes = index.key_frame(int(row)).boxes
        for token, speed_mps in zip(boxes.tokens, boxes.speed_mps.tolist(), strict=True):
            own = annotations[token]
            first, last = (annotations[own[name]] if own[name] else own for name in ("prev", "next"))
            span_s = (
                samples[last["sample_token"]]["timestamp"] - samples[first["sample_token"]]["timestamp"]
            ) / 1e6
            longest_s = LONGEST_S * (bool(own["prev"]) + bool(own["next"]))
            if 0 < span_s <= longest_s:
                way_m = math.dist(last["translation"][:2], first["translation"][:2])
                differ += speed_mps != pytest.approx(way_m / span_s, rel=1e-4, abs=1e-4)
                known += 1
    assert known > 2000
    assert differ == 0

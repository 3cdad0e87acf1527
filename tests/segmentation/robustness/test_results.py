import json
from pathlib import Path
from typing import Any

import pytest

from occfeat.data.corruptions.corruptions import SEVERITIES
from occfeat.errors import RunError, SettingsError
from occfeat.runs.folder import ROBUSTNESS
from occfeat.segmentation.metrics import known_metrics
from occfeat.segmentation.robustness.results import (
    RobustnessResults,
    read_baseline,
    require_comparable,
    tables,
)

METRIC = "vehicle_iou/visible"


def results(**changes: Any) -> RobustnessResults:
    severities = dict(zip(SEVERITIES, ({METRIC: 0.3}, {METRIC: 0.2}, {METRIC: 0.1}), strict=True))
    values = {
        "split": "val",
        "key_frames": 3,
        "data_fingerprint": "abc",
        "images": "generated",
        "seed": 0,
        "clean": {METRIC: 0.4},
        "corrupted": {"Fog": severities, "Snow": severities},
        "scores": {},
        **changes,
    }
    return RobustnessResults.model_validate(values)


def test_known_metrics() -> None:
    assert known_metrics({"a": 0.5, "b": float("nan")}) == {"a": 0.5, "b": None}


def test_read_baseline__file_written_and_read_is_the_same(tmp_path: Path) -> None:
    written = results().scored(results())
    (tmp_path / ROBUSTNESS).write_text(written.model_dump_json(indent=2))
    assert read_baseline(tmp_path, "val") == written
    inside = tmp_path / "run" / "robustness-val"
    inside.mkdir(parents=True)
    (inside / ROBUSTNESS).write_text(written.model_dump_json())
    assert read_baseline(tmp_path / "run", "val") == written
    with pytest.raises(RunError, match=r"does not hold robustness\.json of train"):
        read_baseline(tmp_path / "run", "train")


@pytest.mark.parametrize(
    ("stage", "hint"),
    [
        ("pretraining", "Give a fine-tuning run"),
        ("segmentation", "Make them first: occfeat evaluate"),
    ],
)
def test_read_baseline__the_hint_can_be_followed(tmp_path: Path, stage: str, hint: str) -> None:
    card = {"stage": stage, "student": {}, "grid": {}, "view": {}}
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(RunError) as caught:
        read_baseline(tmp_path, "val")
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", results().model_dump_json().replace('"Fog"', '"Frogs"'), '{"format": 2}'],
)
def test_read_baseline__damaged(tmp_path: Path, content: str) -> None:
    (tmp_path / ROBUSTNESS).write_text(content)
    with pytest.raises(RunError, match="is damaged or of another version"):
        read_baseline(tmp_path, "val")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split": "train"}, "split: the baseline has train, this run val"),
        ({"key_frames": 4}, "key_frames: the baseline has 4, this run 3"),
        ({"data_fingerprint": "xyz"}, "data_fingerprint"),
        ({"images": "released"}, "images: the baseline has released, this run generated"),
        ({"seed": 1}, "seed: the baseline has 1, this run 0"),
        ({"clean": {"walkway_iou/map": 0.1}}, "has no vehicle_iou/visible"),
        ({"corrupted": {"Snow": {"easy": {METRIC: 0.1}}}}, "not evaluated under Fog, Snow"),
    ],
)
def test_require_comparable(changes: dict[str, Any], said: str) -> None:
    require_comparable(results(), results(), ("Fog", "Snow"))
    with pytest.raises(SettingsError, match=said):
        require_comparable(results(), results(**changes), ("Fog", "Snow"))


def test_require_comparable__released_images_know_no_seed() -> None:
    require_comparable(results(images="released"), results(images="released", seed=1), ("Fog",))


def test_flat__names_what_is_known() -> None:
    flat = results().scored(None).flat()
    assert flat == {
        f"{METRIC}/Fog": pytest.approx(0.2),
        f"{METRIC}/Snow": pytest.approx(0.2),
        f"{METRIC}/mRR": pytest.approx(0.5),
    }
    assert results().scored(results()).flat()[f"{METRIC}/mCE"] == pytest.approx(1)


def test_tables__are_markdown_with_every_metric() -> None:
    text = tables(results(baseline="runs/none").scored(results()))
    assert "0.4000 on clean images. CE against runs/none." in text
    rows = [line.split("|") for line in text.splitlines() if line.startswith("|")]
    cells = {row[1].strip(): [cell.strip() for cell in row[2:-1]] for row in rows}
    assert cells["Fog"] == ["0.3000", "0.2000", "0.1000", "0.2000", "0.5000", "1.0000"]
    assert cells["weather"] == ["0.2000", "0.5000", "1.0000"]
    assert cells["mean (mRR, mCE)"] == ["", "", "", "0.2000", "0.5000", "1.0000"]
    assert {len(row) for row in rows} == {6, 9}

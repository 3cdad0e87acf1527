"""A street in Argoverse 2's format: pretrained, fine-tuned with map layers, evaluated and reported."""

import json
from pathlib import Path

import pytest

from occfeat.cli import main
from tests.support.argoverse_folder import build_argoverse_folder
from tests.support.small_runs import Flags

pytestmark = pytest.mark.slow

CLASSES = ("vehicle", "drivable_area", "ped_crossing", "divider")
NAMES = {"vehicle_iou/all", *(f"{name}_iou/map" for name in CLASSES[1:])}


def test_argoverse__from_pretraining_to_report(
    flags: Flags, folder: Path, street_world: Path, tmp_path: Path
) -> None:
    sensor = build_argoverse_folder(street_world, tmp_path / "sensor")

    def words_of(command: str, run: Path, *more: str) -> list[str]:
        """Flags of a run of three steps on this street."""
        moved = {str(folder): str(sensor), "mini_train": "val"}
        words = [moved.get(word, word) for word in flags(command, run, *more)]
        return [*words, "--optim.batch-size", "2", "--optim.epochs", "3"]

    pretrained, tuned = tmp_path / "pretrained", tmp_path / "tuned"
    assert main(words_of("pretrain", pretrained)) == 0
    rows = [json.loads(line) for line in (pretrained / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) >= 3
    words = words_of("finetune", tuned, "--start", str(pretrained), "--classes", *CLASSES)
    assert main([*words, "--val-split", "val"]) == 0
    last = json.loads((tuned / "metrics.jsonl").read_text().splitlines()[-1])
    assert {name for name in last if "_iou/" in name} == NAMES
    results = tmp_path / "results"
    words = ["evaluate", str(tuned), "--data", str(sensor), "--split", "val", "--engine.workers", "0"]
    assert main([*words, "--out", str(results)]) == 0
    metrics = json.loads((results / "results.json").read_text())["metrics"]
    assert set(metrics) == NAMES | {"mean_iou/map"}
    page = tmp_path / "report.html"
    assert main(["report", str(tuned), "--data", str(sensor), "--out", str(page)]) == 0
    text = page.read_text()
    assert "vehicle_iou/all" in text
    assert "/visible" not in text

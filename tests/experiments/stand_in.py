"""Training that only notes what is asked of it, and writes results that depend on the draw."""

import json
from pathlib import Path
from typing import Any

import pytest

from occfeat.runs.folder import ANALYSIS, RESULTS, RunFolder
from tests.experiments.scripts import load

comparison, study = load("harness.comparison"), load("harness.study")
VEHICLE, MAP = comparison.METRICS
ANALYSED = {
    "probe_auc": {"bev": {"car": 0.8, "mean": 0.7}},
    "probe_auc_by_distance": {"bev": {"car": {"0-10 m": 0.9}}},
    "cosine_by_class": {"all": 0.5},
    "occupancy_by_distance": {"0-10 m": {"iou": 0.4, "recall": 0.6}},
}


class Runs:
    """Stands in for training: notes what is called, and writes results that depend on arm, seed and draw."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.called: list[tuple[str, dict[str, Any]]] = []
        monkeypatch.setattr(study.Study, "build_world", lambda self: True)
        monkeypatch.setattr(study.Study, "fill_cache", lambda self, arm: True)
        monkeypatch.setattr(comparison.jobs, "pretrain", self.pretrain)
        monkeypatch.setattr(comparison.jobs, "finetune", self.finetune)
        monkeypatch.setattr(comparison.jobs, "is_pretrained", Path.is_dir)
        monkeypatch.setattr(comparison.occfeat, "evaluate", self.evaluate)
        monkeypatch.setattr(comparison.occfeat, "analyse", self.analyse)

    def pretrain(self, out: Path, **settings: Any) -> bool:
        """Note it."""
        self.called.append((out.name, settings))
        out.mkdir()
        return True

    def finetune(self, out: Path, split: None, /, **settings: Any) -> bool:
        """Note it; evaluations follow, one for each town."""
        assert split is None
        self.called.append((out.name, settings))
        return True

    def evaluate(self, run: Path, *, split: str, out: Path, motion: bool, **settings: Any) -> None:
        """Write metrics: in the validation town those of the draw, in the other town 50 %."""
        assert motion
        self.write(out / RESULTS, 5 if split == "test" else int(run.name.rsplit("-", 1)[1]))

    @staticmethod
    def analyse(run: Path, *, split: str, **settings: Any) -> None:
        """Write what a pretraining learned."""
        file = RunFolder(run).analysis(split) / ANALYSIS
        file.parent.mkdir()
        file.write_text(json.dumps(ANALYSED))

    @staticmethod
    def write(file: Path, draw: int) -> None:
        """Write metrics; one of them is of nothing."""
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"metrics": {VEHICLE: 0.1 * draw, MAP: 0.5, "stop_line_iou/map": None}}))

"""The first three experiments: what is trained, with which settings, and what a ledger spares."""

import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from occfeat.commands.layers import base_layer
from occfeat.settings.commands import FinetuneConfig, PretrainConfig
from occfeat.settings.layers import build, merge
from occfeat.settings.sections import TeacherConfig
from tests.experiments.scripts import load

jobs = load("harness.jobs")
plans = load("concluded.first_three.plan")
script = load("concluded.first_three.work")

PART = ("--arms", "none", "both", "--seeds", "0", "--shares", "1%", "--modes", "full", "frozen")


def plan_of(runs: Path, seeds: tuple[int, ...] = plans.SEEDS) -> "plans.Plan":  # type: ignore[name-defined]
    chosen = (tuple(plans.ARMS), seeds, tuple(plans.LABELS), tuple(plans.MODES))
    return plans.Plan(runs / "street", runs, "val", *chosen)


class Made:
    """Settings of what would be trained; every job leaves what a finished run leaves."""

    def __init__(self) -> None:
        self.pretrained: dict[str, PretrainConfig] = {}
        self.tuned: dict[str, FinetuneConfig] = {}

    def pretrain(self, *, recipe: str, **settings: object) -> None:
        config = build(PretrainConfig, merge(base_layer(PretrainConfig, recipe=recipe), settings))
        self.pretrained[config.out.name] = config
        _write(config.out / "pictures" / "occupancy.png", "")

    def finetune(self, *, recipe: str | None = None, start: Path | None = None, **settings: object) -> None:
        layer = base_layer(FinetuneConfig, recipe=recipe)
        if start is not None:
            layer |= self.pretrained[start.name].model_dump(include={"student", "grid", "view"})
        config = build(FinetuneConfig, merge(layer, {"start": start, **settings}))
        self.tuned[config.out.name] = config
        (config.out / "checkpoints").mkdir(parents=True)
        metrics = {"vehicle_iou/visible": 0.9, "vehicle_iou/all": 0.8, "mean_iou/map": 0.7}
        _write(jobs.results_file(config.out, config.val_split[0]), json.dumps({"metrics": metrics}))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Nothing is trained: what would be is built as settings."""
    made = Made()
    monkeypatch.setattr(jobs.occfeat, "pretrain", made.pretrain)
    monkeypatch.setattr(jobs.occfeat, "finetune", made.finetune)
    return made


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
    module.main()


def test_round__settings_of_every_job_are_valid(tmp_path: Path, made: Made) -> None:
    plan = plan_of(tmp_path)
    assert script.one_round(plan)
    assert made.tuned.keys() == {tuning.name for tuning in plan.tunings()}
    assert len(made.tuned) == 2 * (8 * 3 - 1) * (5 + 1 + 1)
    assert len(made.pretrained) == 2 * 7
    made.pretrained.clear()
    made.tuned.clear()
    assert script.one_round(plan)
    assert not made.pretrained
    assert not made.tuned


def test_round__arms_are_pretrained_by_what_they_are_called(tmp_path: Path, made: Made) -> None:
    script.one_round(plan_of(tmp_path, seeds=(1,)))
    weights = {name: (one.loss.occupancy, one.loss.features) for name, one in made.pretrained.items()}
    assert weights["pretrained-occupancy-1"] == (1, 0)
    assert weights["pretrained-features-1"] == (0, 1)
    assert weights["pretrained-both-1"] == (1, 0.01)
    oracle, branch = made.pretrained["pretrained-oracle-1"], made.pretrained["pretrained-branch-1"]
    assert oracle.teacher == TeacherConfig(**script.TRUTH)
    assert branch.teacher == TeacherConfig(**script.PACKAGED)
    assert oracle.teacher_cache == (tmp_path / "oracle-cache",)
    assert branch.teacher_cache == (tmp_path / "teacher-cache",)
    assert oracle.loss == branch.loss
    assert oracle.head.feature_channels == branch.head.feature_channels == 64
    assert made.pretrained["pretrained-centered-1-1"].head.feature_channels is None
    assert (branch.optim.epochs, branch.engine.seed) == (6, 1)


def test_round__modes_and_shares_are_fine_tuned_by_what_they_are_called(tmp_path: Path, made: Made) -> None:
    script.one_round(plan_of(tmp_path, seeds=(1,)))
    assert made.tuned["none-1-full-1-0"].start is None
    gentle, frozen = made.tuned["both-1-gentle-1-4"], made.tuned["both-1-frozen-100-0"]
    assert gentle.start == frozen.start == tmp_path / "pretrained-both-1"
    assert (gentle.label_fraction, gentle.label_seed, gentle.optim.epochs) == (0.01, 4, 60)
    assert (frozen.label_fraction, frozen.label_seed, frozen.optim.epochs) == (1, 0, 2)
    assert (gentle.freeze, gentle.optim.student_rate) == (False, 0.1)
    assert (frozen.freeze, frozen.optim.student_rate) == (True, 1)
    assert gentle.classes == script.CLASSES
    assert Counter(one.freeze for one in made.tuned.values()) == {True: 8 * 7, False: (8 * 2 - 1) * 7}


def test_round__waits_for_a_pretraining_that_somebody_else_is_at(tmp_path: Path, made: Made) -> None:
    plan = plan_of(tmp_path, seeds=(1,))
    with jobs.claim(plan.pretrained("both", 1)):
        assert not script.one_round(plan)
    assert "pretrained-both-1" not in made.pretrained
    late = {tuning.name for tuning in plan.tunings()} - made.tuned.keys()
    assert late == {tuning.name for tuning in plan.tunings() if tuning.arm == "both"}


def test_main__trains_everything_whatever_the_ledger_has(
    tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(script, monkeypatch, tmp_path / "street", tmp_path, "--split", "test", *PART)
    assert made.pretrained.keys() == {"pretrained-both-0"}
    assert len(made.tuned) == 2 * 2 * 5
    own = json.loads(jobs.results_file(tmp_path / "none-0-full-1-0", "test").read_text())
    assert own["metrics"]["mean_iou/map"] == 0.7


def test_main__from_ledger_nothing_is_left_to_do(
    tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(script, monkeypatch, tmp_path / "street", tmp_path, "--split", "test", *PART, "--from-ledger")
    assert not made.pretrained
    assert not made.tuned
    assert len(list(tmp_path.glob("*/evaluation-test/results.json"))) == 2 * 2 * 5  # of the part alone
    assert plans.lacking(plans.read_ledger(plans.LEDGER)) == []  # so is nothing of the whole


def test_main__from_ledger_is_refused_for_another_split(
    tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        _run(script, monkeypatch, tmp_path / "street", tmp_path / "runs", "--split", "val", "--from-ledger")
    assert stopped.value.code == 2
    assert "--from-ledger needs --split test" in capsys.readouterr().err
    assert not made.tuned
    assert not (tmp_path / "runs").exists()

"""The paper's first table: what is run for each of its cells, and how it is written down."""

import json
from pathlib import Path

import pytest

from occfeat.commands.layers import base_layer
from occfeat.settings.commands import FinetuneConfig, PretrainConfig
from occfeat.settings.layers import build, merge
from occfeat.settings.sections import PretrainLossConfig
from tests.experiments.scripts import load

jobs = load("harness.jobs")
table1 = load("table1.work")
report = load("table1.report")


def plan_of(runs: Path, **changes: object) -> "table1.Plan":  # type: ignore[name-defined]
    plan = {
        "data": runs / "data",
        "runs": runs,
        "split": "val",
        "recipes": table1.RECIPES,
        "objectives": tuple(table1.OBJECTIVES),
        "tasks": tuple(table1.TASKS),
        "epochs": {0.01: 3, 1.0: 2},
        "seeds": (0,),
        "draws": (0, 1, 2),
    }
    return table1.Plan(**{**plan, **changes})


def test_plan__has_a_folder_for_every_cell(tmp_path: Path) -> None:
    tunings = plan_of(tmp_path).tunings()
    assert len({tuning.name for tuning in tunings}) == len(tunings) == 4 * 5 * 2 * (3 + 1)


def test_round__settings_of_every_cell_are_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained: what would be is built as settings."""
    losses: dict[str, PretrainLossConfig] = {}
    tuned: dict[str, FinetuneConfig] = {}

    def pretrain(out: Path, *, recipe: str, **settings: object) -> bool:
        layer = merge(base_layer(PretrainConfig, recipe=recipe), {"out": out, **settings})
        del layer["config"]
        losses[out.name] = build(PretrainConfig, layer).loss
        return True

    def finetune(out: Path, split: str, *, recipe: str, **settings: object) -> bool:
        layer = merge(base_layer(FinetuneConfig, recipe=recipe), {"out": out, "val_split": split, **settings})
        del layer["config"]
        tuned[out.name] = build(FinetuneConfig, layer)
        return False

    monkeypatch.setattr(jobs, "pretrain", pretrain)
    monkeypatch.setattr(jobs, "finetune", finetune)
    plan = plan_of(tmp_path)
    assert not table1.one_round(plan)
    assert set(tuned) == {tuning.name for tuning in plan.tunings()}
    assert tuned["paper-bevformer-r50-none-0-map-1pct-2"].start is None
    last = tuned["paper-bevformer-r50-occfeat-0-map-1pct-2"]
    assert last.start == tmp_path / "paper-bevformer-r50-occfeat-0"
    assert (last.label_fraction, last.label_seed, last.optim.epochs) == (0.01, 2, 3)
    assert len(losses) == 4 * 4
    name = "paper-simplebev-b0"
    assert losses[f"{name}-occfeat-0"] == PretrainLossConfig()
    assert losses[f"{name}-occupancy-0"].features == 0
    assert losses[f"{name}-distillation-0"].occupancy == 0
    also = losses[f"{name}-img-also-0"]
    assert (also.occupancy, also.features, also.queries) == (0, 0, 1)


def test_table__stands_beside_the_papers_numbers(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    for tuning in plan.tunings():
        if tuning.recipe == "paper-simplebev-b0" and tuning.task == "vehicle":
            file = plan.results(tuning)
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps({"metrics": {"vehicle_iou/visible": 0.2 + 0.01 * tuning.draw}}))
    rows = report.table(plan, "vehicle").splitlines()
    assert rows[0] == "| vehicle_iou/visible | pretraining | 1 % | 100 % | paper, 1 % |"
    assert "| paper-simplebev-b0 | OccFeat | 21.0 ± 2.5 | 20.0 | 24.6 |" in rows
    assert "| paper-bevformer-r50 | Img-ALSO | - | - | - |" in rows
    assert len(rows) == 2 + 4 * 5

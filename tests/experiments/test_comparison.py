"""Comparisons on the street: what is run once, what a ledger keeps, tables and plots."""

import json
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from occfeat.commands.layers import base_layer
from occfeat.settings.commands import FinetuneConfig, PretrainConfig
from occfeat.settings.layers import build, merge
from tests.experiments.scripts import load

comparison, claim, study, ledger = (load(name) for name in ("comparison", "claim", "study", "ledger"))
VEHICLE, MAP = comparison.METRICS
TITLES = {"none": "nothing", "occupancy": "occupancy", "both": "both"}


class _Runs:
    """Stands in for training: notes what is called, and writes results that depend on arm, seed and draw."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.called: list[tuple[str, dict[str, Any]]] = []
        monkeypatch.setattr(study, "build_world", lambda runs: True)
        monkeypatch.setattr(study, "fill_cache", lambda runs, arm: True)
        monkeypatch.setattr(comparison.jobs, "pretrain", self.pretrain)
        monkeypatch.setattr(comparison.jobs, "finetune", self.finetune)
        monkeypatch.setattr(comparison.jobs, "is_pretrained", Path.is_dir)
        monkeypatch.setattr(comparison.occfeat, "evaluate", self.evaluate)

    def pretrain(self, out: Path, **settings: Any) -> bool:
        """Note it."""
        self.called.append((out.name, settings))
        out.mkdir()
        return True

    def finetune(self, out: Path, split: str, /, **settings: Any) -> bool:
        """Note it, and write its metrics."""
        self.called.append((out.name, settings))
        self.write(out, split, settings["label_seed"])
        return True

    def evaluate(self, run: Path, *, split: str, **settings: Any) -> SimpleNamespace:
        """Write metrics."""
        self.write(run, split, 5)
        return SimpleNamespace()

    @staticmethod
    def write(run: Path, split: str, draw: int) -> None:
        """Write metrics."""
        file = comparison.jobs.results_file(run, split)
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"metrics": {VEHICLE: 0.1 * draw, MAP: 0.5}}))


def _main(monkeypatch: pytest.MonkeyPatch, runs: Path, *words: object) -> None:
    """Ask the paper's claim of two arms, with one seed and two draws."""
    few = ("--arms", "none", "both", "--modes", "fine-tuned", "--seeds", "0", "--draws", "0", "1")
    monkeypatch.setattr("sys.argv", ["claim.py", str(runs), *few, *map(str, words)])
    comparison.main("about", claim.ARMS, runs / "rows.jsonl", "claim.png")


def test_main__runs_once_what_the_rows_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = _Runs(monkeypatch)
    _main(monkeypatch, tmp_path)
    names = [name for name, _ in runs.called]
    assert names == [
        "none-fine-tuned-0-0",
        "pretrained-both-0",
        "both-fine-tuned-0-0",
        "none-fine-tuned-0-1",
        "both-fine-tuned-0-1",
    ]
    rows = ledger.Ledger(tmp_path / "rows.jsonl", comparison.Result).read()
    assert rows[comparison.Result("both", "fine-tuned", 0, 1, "test")][VEHICLE] == 0.5
    assert rows[comparison.Result("both", "fine-tuned", 0, 1, "val")][VEHICLE] == 0.1
    assert rows[comparison.Result("both", "pretraining", 0, 0, "train")]["cpu_s"] >= 0
    assert (tmp_path / "claim.png").stat().st_size > 10_000
    assert "| both, centred, λ 0.3, own branch | 2 | 5.0 ± - / -" in capsys.readouterr().out
    _main(monkeypatch, tmp_path)
    assert len(runs.called) == len(names)
    _main(monkeypatch, tmp_path, "--split", "test")
    assert "| 2 | 50.0 ± - / -" in capsys.readouterr().out


def test_main__what_was_pretrained_learns_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = _Runs(monkeypatch)
    _main(monkeypatch, tmp_path)
    told = dict(runs.called)
    none, both = told["none-fine-tuned-0-0"], told["both-fine-tuned-0-1"]
    assert "student_rate" not in none["optim"]
    assert both["optim"]["student_rate"] == 0.1
    assert both["start"] == tmp_path / "pretrained-both-0"
    assert (none["label_seed"], both["label_seed"], both["label_fraction"]) == (0, 1, 0.01)
    assert told["pretrained-both-0"]["loss"] == {"features": 0.3, "center": "mean"}
    assert told["pretrained-both-0"]["optim"] == {"epochs": study.EPOCHS}


def test_study__arms_have_their_own_teachers_and_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = _Runs(monkeypatch)
    for name in ("occupancy", "oracle", "blocks", "long"):
        study.pretrain(tmp_path, tmp_path / name, claim.ARMS[name], 3)
    told = dict(runs.called)
    assert "teacher" not in told["occupancy"]
    assert (told["oracle"]["teacher"], told["oracle"]["teacher_cache"].name) == (study.TRUTH, "oracle-cache")
    assert told["blocks"]["teacher_cache"].name == "cache-blocks"
    assert told["blocks"]["teacher"]["block"] == claim.BLOCKS
    assert (told["long"]["optim"]["epochs"], told["long"]["engine"]["seed"]) == (2 * study.EPOCHS, 3)


@pytest.mark.parametrize("name", [name for name, arm in claim.ARMS.items() if arm])
def test_claim__arms_are_settings_that_pretraining_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = _Runs(monkeypatch)
    study.pretrain(tmp_path, tmp_path / name, claim.ARMS[name], 0)
    told = {**runs.called[0][1], "out": tmp_path / name}
    recipe = told.pop("recipe")
    config = build(PretrainConfig, merge(base_layer(PretrainConfig, recipe=recipe, above=told), told))
    assert config.loss.occupancy == (0 if name == "features" else 1)
    assert (config.teacher_cache == (None,)) == (config.loss.features == 0)


def _rate(told: dict[str, Any]) -> float:
    """Learning rate of a fine-tuning with these settings."""
    above = {name: value for name, value in told.items() if name not in ("recipe", "start", "val_split")}
    config = build(FinetuneConfig, merge(base_layer(FinetuneConfig, recipe=told["recipe"]), above))
    return config.optim.learning_rate


def test_tune__a_pretrained_network_learns_at_the_rates_of_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = _Runs(monkeypatch)
    arms = {"none": None, "occupancy": study.OCCUPANCY}
    rows = ledger.Ledger(tmp_path / "rows.jsonl", comparison.Result)
    compared = comparison.Comparison(arms, rows, tmp_path)
    rates = {}
    for tuning in comparison.planned([*arms], ["fine-tuned", "linear"], [0], [0]):
        compared.tune(tuning)
        rates[tuning.arm, tuning.mode] = _rate({**dict(runs.called)[tuning.name], "out": tmp_path / "run"})
    assert rates["none", "fine-tuned"] == rates["occupancy", "fine-tuned"] == 3e-3
    assert rates["none", "linear"] == rates["occupancy", "linear"] == 0.1


def test_planned__has_all_arms_of_a_draw_first() -> None:
    plan = comparison.planned(["none", "both"], ["linear"], [0, 1], [0, 1])
    assert [(one.seed, one.draw) for one in plan[::2]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [one.arm for one in plan] == ["none", "both"] * 4


def test_table__compares_equal_seeds_and_draws() -> None:
    rows = {}
    for arm, seed, draw in product(TITLES, range(3), range(3)):
        value = 0.2 + 0.1 * (arm != "none") + 0.02 * (arm == "both") + 0.01 * seed + 0.03 * draw
        rows[comparison.Result(arm, "linear", seed, draw, "val")] = {VEHICLE: value, MAP: 0.5}
        rows[comparison.Result(arm, "linear", seed, draw, "test")] = {VEHICLE: 0, MAP: 0}
    lines = comparison.table(rows, TITLES, "linear", "val").splitlines()
    assert lines[2].startswith("| nothing | 9 | 24.0 ± 2.5 / 7.5 | 50.0 ± 0.0 / 0.0 | - |")
    assert "| +12.0 ± 0.0 / 0.0 | +0.0 ± 0.0 / 0.0 | +2.0 ± 0.0 / 0.0 |" in lines[4]


def test_hours__are_those_of_two_cores() -> None:
    rows = {
        comparison.Result("both", "pretraining", 0, 0, "train"): {"cpu_s": 7200.0},
        comparison.Result("both", "linear", 0, 0, "val"): {"cpu_s": 3600.0, VEHICLE: 0.2},
        comparison.Result("both", "linear", 0, 0, "test"): {VEHICLE: 0.2},
    }
    assert comparison.hours(rows) == 1.5

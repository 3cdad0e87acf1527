"""Comparisons on the street: what is run once, what a ledger keeps, tables and plots."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from occfeat.commands.layers import base_layer
from occfeat.settings.commands import FinetuneConfig, PretrainConfig
from occfeat.settings.layers import build, merge
from tests.experiments.scripts import load
from tests.experiments.stand_in import Runs

comparison, question, study, ledger = (
    load(f"harness.{name}") for name in ("comparison", "question", "study", "ledger")
)
claim, weight, amount, times = map(load, ("claim", "weight", "amount", "times"))
VEHICLE, MAP = comparison.METRICS
ASKED_OF_THREE = question.Question("", {"none": None, "occupancy": study.OCCUPANCY, "both": study.BOTH}, "")


def _main(monkeypatch: pytest.MonkeyPatch, runs: Path, *words: object) -> None:
    """Ask the paper's claim of two arms, with one seed and two draws."""
    few = ("--arms", "none", "both", "--modes", "fine-tuned", "--seeds", "0", "--draws", "0", "1")
    monkeypatch.setattr("sys.argv", ["claim.py", str(runs), *few, *map(str, words)])
    monkeypatch.setattr(question, "LEDGERS", runs)
    question.ask(question.Question("about", claim.ARMS, "claim.png"))


def test_ask__runs_once_what_the_rows_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Runs(monkeypatch)
    _main(monkeypatch, tmp_path)
    names = [name for name, _ in runs.called]
    assert names == [
        "none-fine-tuned-0-0",
        "pretrained-both-0",
        "both-fine-tuned-0-0",
        "none-fine-tuned-0-1",
        "both-fine-tuned-0-1",
    ]
    rows = ledger.Ledger(tmp_path / "street.jsonl", comparison.Result).read()
    assert rows[comparison.Result("both", "fine-tuned", 0, 1, "test")][VEHICLE] == 0.5
    assert rows[comparison.Result("both", "fine-tuned", 0, 1, "val")][VEHICLE] == 0.1
    learned = rows[comparison.Result("both", "pretraining", 0, 0, "val")]
    assert learned.pop("cpu_s") >= 0
    probed = {"probe_auc/bev/car": 0.8, "probe_auc/bev/mean": 0.7}
    probed["probe_auc/bev/car/0-10 m"] = 0.9
    assert learned == {**probed, "cosine/all": 0.5, "occupancy_iou/0-10 m": 0.4}
    assert (tmp_path / "claim.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "| both, centred, λ 0.3, own branch | 2 | 5.0 ± - / -" in said
    assert "| both, centred, λ 0.3, own branch | 80.0 | 70.0 | - | - | 40.0 | - |" in said
    _main(monkeypatch, tmp_path)
    assert len(runs.called) == len(names)
    _main(monkeypatch, tmp_path, "--split", "test")
    assert "| 2 | 50.0 ± - / -" in capsys.readouterr().out
    _main(monkeypatch, tmp_path, "--report", "--draws", "1", "--arms", "both")
    said = capsys.readouterr().out
    assert "| both, centred, λ 0.3, own branch | 1 |" in said
    assert "no BEV pretraining" not in said.replace("over no BEV pretraining", "")


def test_ask__what_was_pretrained_learns_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(monkeypatch)
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
    runs = Runs(monkeypatch)
    for name in ("occupancy", "oracle", "blocks", "long"):
        study.Study(study.STREET, tmp_path).pretrain(tmp_path / name, claim.ARMS[name], 3)
    told = dict(runs.called)
    assert "teacher" not in told["occupancy"]
    assert (told["oracle"]["teacher"], told["oracle"]["teacher_cache"].name) == (study.TRUTH, "oracle-cache")
    assert told["blocks"]["teacher_cache"].name == "cache-blocks"
    assert told["blocks"]["teacher"]["block"] == claim.BLOCKS
    assert (told["long"]["optim"]["epochs"], told["long"]["engine"]["seed"]) == (2 * study.EPOCHS, 3)


ASKED = {"claim": study.STREET, "weight": study.STREET, "amount": amount.LARGE, "times": times.SWEPT}
"""The world of each question."""


@pytest.mark.parametrize(
    ("asked", "name"), [(asked, name) for asked in ASKED for name, arm in load(asked).ARMS.items() if arm]
)
def test_questions__arms_are_settings_that_pretraining_takes(
    asked: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms, world = load(asked).ARMS, ASKED[asked]
    runs = Runs(monkeypatch)
    study.Study(world, tmp_path).pretrain(tmp_path / "run", arms[name], 0)
    told = {**runs.called[0][1], "out": tmp_path / "run"}
    recipe = told.pop("recipe")
    config = build(PretrainConfig, merge(base_layer(PretrainConfig, recipe=recipe, above=told), told))
    assert config.loss.occupancy == (0 if name in ("features", "times") else 1)
    assert (config.teacher_cache == (None,)) == (config.loss.features == 0)


def _rate(told: dict[str, Any]) -> float:
    """Learning rate of a fine-tuning with these settings."""
    above = {name: value for name, value in told.items() if name not in ("recipe", "start", "val_split")}
    config = build(FinetuneConfig, merge(base_layer(FinetuneConfig, recipe=told["recipe"]), above))
    return config.optim.learning_rate


def test_tune__a_pretrained_network_learns_at_the_rates_of_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(monkeypatch)
    arms = {"none": None, "occupancy": study.OCCUPANCY}
    rows = ledger.Ledger(tmp_path / "rows.jsonl", comparison.Result)
    compared = comparison.Comparison(arms, rows, study.Study(study.STREET, tmp_path))
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
    for arm, seed, draw in product(ASKED_OF_THREE.arms, range(3), range(3)):
        value = 0.2 + 0.1 * (arm != "none") + 0.02 * (arm == "both") + 0.01 * seed + 0.03 * draw
        rows[comparison.Result(arm, "linear", seed, draw, "val")] = {VEHICLE: value, MAP: 0.5}
        rows[comparison.Result(arm, "linear", seed, draw, "test")] = {VEHICLE: 0, MAP: 0}
    lines = question.table(rows, ASKED_OF_THREE, "linear", "val").splitlines()
    assert lines[2].startswith("| no BEV pretraining | 9 | 24.0 ± 2.5 / 7.5 | 50.0 ± 0.0 / 0.0 | - |")
    assert "| +12.0 ± 0.0 / 0.0 | +0.0 ± 0.0 / 0.0 | +2.0 ± 0.0 / 0.0 |" in lines[4]


def test_hours__are_those_of_two_cores() -> None:
    rows = {
        comparison.Result("both", "pretraining", 0, 0, "val"): {"cpu_s": 7200.0},
        comparison.Result("both", "linear", 0, 0, "val"): {"cpu_s": 3600.0, VEHICLE: 0.2},
        comparison.Result("both", "linear", 0, 0, "test"): {VEHICLE: 0.2},
    }
    assert question.hours(rows) == 1.5


def _optim_of(name: str) -> int:
    """Epochs of an arm on the large street."""
    return int(amount.ARMS[name].settings["optim"]["epochs"])


def test_amount__schedules_are_equal_in_steps_or_in_epochs() -> None:
    curve = amount.CURVES["both, equal steps"]
    assert {at * _optim_of(name) for at, name in curve.items()} == {2400}
    assert {_optim_of(name) for name in amount.CURVES["both, equal epochs"].values()} == {8}
    splits = {at: amount.ARMS[name].settings.get("split", "train") for at, name in curve.items()}
    assert splits == {
        75: "train-75",
        150: "train-150",
        300: "train-300",
        600: "train-600",
        1200: "train",
    }


def test_weight__ratios_lie_along_four_curves() -> None:
    loss = weight.ARMS[weight.CURVES["centred, own branch"][0.3]].settings["loss"]
    assert loss == {"features": "auto", "ratio": 0.3, "center": "mean"}
    assert weight.ARMS[weight.CURVES["raw, shared"][3.0]].settings["head"] == {}
    assert {len(curve) for curve in weight.CURVES.values()} == {5}


def test_draw__arms_along_an_axis_become_curves(tmp_path: Path) -> None:
    asked = question.Question("", weight.ARMS, "weight.png", curves=weight.CURVES, axis="ratio")
    rows = {
        comparison.Result(arm, "linear", seed, 0, "val"): {VEHICLE: 0.2 + 0.01 * seed, MAP: 0.5}
        for arm, seed in product(("occupancy", "ratio-0.3-raw-shared"), range(2))
    }
    asked.draw({}, ["linear"], "val", tmp_path / "none.png")
    asked.draw(rows, ["linear"], "val", tmp_path / "new" / "some.png")
    assert not (tmp_path / "none.png").exists()
    assert (tmp_path / "new" / "some.png").stat().st_size > 10_000


def test_build_world__a_large_street_has_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(out: Path, **settings: Any) -> None:
        (out / "v1.0-street").mkdir(parents=True)
        scenes = [str(number) for number in range(settings["scenes"] - 32)]
        (out / "v1.0-street" / "splits.json").write_text(json.dumps({"train": scenes, "val": ["v"]}))

    monkeypatch.setattr(study.occfeat, "build_world", build)
    large = study.Study(amount.LARGE, tmp_path)
    assert large.build_world()
    splits = json.loads((large.folder / "v1.0-street" / "splits.json").read_text())
    assert {name: 5 * len(scenes) for name, scenes in splits.items() if "train" in name} == {
        "train": 1200,
        "train-75": 75,
        "train-150": 150,
        "train-300": 300,
        "train-600": 600,
    }
    monkeypatch.setattr(study.occfeat, "build_world", lambda *_, **__: pytest.fail("it is there"))
    assert large.build_world()


def test_times__windows_hold_what_the_street_keeps() -> None:
    """The street has sweeps in all of the time between key frames."""
    assert times.SWEPT.settings == {"sweeps": 9}
    windows = {name: arm.settings["loss"].get("window_s") for name, arm in times.ARMS.items() if arm}
    assert windows["window"] == windows["window-all"] == windows["over-time"] == windows["path"] == 0.5
    assert (windows["window-1"], windows["both"], windows["times"]) == (1.0, None, None)
    assert times.ARMS["over-time"].settings["head"] == study.BOTH.settings["head"]

"""The experiment on noise: what is run, what a ledger keeps, and how far values vary."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from occfeat.runs.checkpoint import Checkpoint, save_checkpoint
from occfeat.runs.folder import RunFolder
from tests.experiments.scripts import load

noise = load("noise")
study = load("harness.study")
ledger = load("harness.ledger")
PLAIN = noise.planned(list(noise.STARTS), ["plain"])


def test_planned__any_beginning_has_all_starts_of_the_same_seeds_and_draws() -> None:
    assert (
        len({tuning.name for tuning in PLAIN}) == len(PLAIN) == len(noise.STARTS) * noise.SEEDS * noise.DRAWS
    )
    first = PLAIN[: 4 * len(noise.STARTS)]
    found = {start: [(t.seed, t.draw) for t in first if t.start == start] for start in noise.STARTS}
    assert set(map(tuple, found.values())) == {((0, 0), (0, 1), (1, 0), (1, 1))}


def _rows(tuning: Any, value: float) -> dict[Any, dict[str, float]]:
    """A row of averaged weights."""
    return {noise.weights_of(tuning, averaged=True): {noise.METRIC: value}}


def _run_with_averages(path: Path, prefix: str) -> None:
    """A folder whose checkpoint holds 1 as last weights, and which ships their average, 2."""
    folder = RunFolder(path)
    folder.checkpoint.parent.mkdir(parents=True)
    name, state = f"{prefix}student.weight", torch.get_rng_state()
    average = {name: torch.full((2,), 2.0)}
    last = {name: torch.ones(2), f"{prefix}trunk.weight": torch.ones(2)}
    save_checkpoint(folder.checkpoint, Checkpoint(3, last, {}, state, {}, 0, [], average=average))
    save_file({"student.weight": average[name]}, folder.weights)
    folder.card.write_text("{}")


def test_write_last_weights__are_those_before_averaging(tmp_path: Path) -> None:
    _run_with_averages(tmp_path / "run", "segmenter.")
    noise.write_last_weights(tmp_path / "run", tmp_path / "last", "segmenter.")
    assert load_file(RunFolder(tmp_path / "last").weights)["student.weight"].tolist() == [1, 1]
    assert load_file(RunFolder(tmp_path / "run").weights)["student.weight"].tolist() == [2, 2]
    assert RunFolder(tmp_path / "last").card.is_file()


def test_tune__evaluates_the_average_and_the_last_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}

    def finetune(out: Path, split: None, **settings: Any) -> bool:
        told.update(settings)
        _run_with_averages(out, "segmenter.")
        return True

    def evaluate(run: Path, out: Path, **settings: Any) -> None:
        weights = load_file(RunFolder(run).weights)["student.weight"]
        out.mkdir()
        metrics = {"vehicle_iou/visible": float(weights[0]) / 10}
        (out / "results.json").write_text(json.dumps({"metrics": metrics}))

    rows = ledger.Ledger(tmp_path / "rows.jsonl", noise.Weights)
    monkeypatch.setattr(noise, "LEDGER", rows)
    monkeypatch.setattr(noise.jobs, "finetune", finetune)
    monkeypatch.setattr(study.occfeat, "evaluate", evaluate)
    tuning = noise.Tuning("occupancy-averaged", "layers", 1, 2)
    noise.tune(tmp_path, tuning)
    assert rows.read() == {
        noise.weights_of(tuning, averaged=True): {"vehicle_iou/visible": 0.2},
        noise.weights_of(tuning, averaged=False): {"vehicle_iou/visible": 0.1},
    }
    assert told["start"] == tmp_path / "pretrained-occupancy-averaged"
    assert told["recipe"] == "cpu-small"
    assert (told["optim"]["layer_decay"], told["optim"]["ema"], told["optim"]["student_rate"]) == (
        0.7,
        0.2,
        0.1,
    )
    assert (told["engine"]["seed"], told["label_seed"]) == (1, 2)
    assert not (tmp_path / tuning.name).exists()


def test_main__runs_what_has_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = noise.planned(["none", "both"], ["plain"])
    rows = ledger.Ledger(tmp_path / "rows.jsonl", noise.Weights)
    monkeypatch.setattr(noise, "LEDGER", rows)
    for tuning in plan[3:]:
        rows.add(_rows(tuning, 0.1), tmp_path)
    ran: list[str] = []
    monkeypatch.setattr(noise.Study, "build_world", lambda self: True)
    monkeypatch.setattr(noise, "pretrain", lambda runs, start: ran.append(start) is None)

    def tune(runs: Path, tuning: Any) -> Any:
        ran.append(tuning.name)
        return _rows(tuning, 0.1)

    monkeypatch.setattr(noise, "tune", tune)
    monkeypatch.setattr(
        "sys.argv", ["noise.py", str(tmp_path), "--starts", "none", "both", "--ways", "plain"]
    )
    noise.main()
    assert ran == ["none-plain-0-0", "both", "both-plain-0-0", "none-plain-0-1"]


def test_deviation__over_seeds_is_pooled_over_draws() -> None:
    values = {
        (seed, draw): 10.0 * draw + step for draw in range(3) for seed, step in enumerate((-1.0, 0.0, 1.0))
    }
    pooled = noise.over_seeds(values)
    assert (pooled.value, pooled.degrees) == (pytest.approx(1.0), 6)
    assert str(pooled) == "1.0 (0.6 to 2.2)"
    assert noise.over_all(values).value == pytest.approx(np.std(list(values.values()), ddof=1))
    assert str(noise.over_seeds({(0, 0): 3.0})) == "-"


def test_table__compares_equal_seeds_and_draws() -> None:
    rows = {
        noise.weights_of(t, averaged=averaged): {noise.METRIC: 0.2}
        for t in PLAIN
        for averaged in (False, True)
    }
    for one, row in rows.items():
        row[noise.METRIC] += 0.01 * one.draw + 0.02 * one.averaged + 0.05 * (one.start == "occupancy")
    lines = {tuple(line.split(" | ")[:3]): line for line in noise.table(rows).splitlines()[2:]}
    assert "| +2.0 ± 0.0 | +5.0 ± 0.0 | 0.0 (0.0 to 0.0) |" in lines["| occupancy", "plain", "average"]
    assert "26.0 ± 0.7 | 0.0 (0.0 to 0.0) | 0.9 (" in lines["| occupancy", "plain", "last"]


def test_table_of_modes__is_of_what_varies_and_not_of_what_arms_share() -> None:
    rows = {}
    for arm, mode, seed, draw in product(
        ("none", "occupancy", "both"), noise.first_three.MODES, (0, 1), (0, 1)
    ):
        value = 0.2 + 0.03 * draw + 0.02 * seed + 0.1 * (arm == "both")
        tuning = noise.first_three.Tuning(arm, seed, mode, "1%", draw)
        rows[tuning] = {noise.METRIC: value if arm != "none" else 0.9 * seed, noise.MAPS: 0.5}
    lines = noise.table_of_modes(rows).splitlines()
    assert lines[2] == f"| {noise.METRIC} | full | 1.4 | 2.1 | 0.0 |"
    assert lines[-1] == f"| {noise.MAPS} | frozen | 0.0 | 0.0 | 0.0 |"

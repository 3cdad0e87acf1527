"""Several rigs: what pretrains on which, what is fine-tuned on which, and what the rows say."""

from itertools import product
from pathlib import Path

import pytest

from occfeat.commands.layers import base_layer
from occfeat.settings.commands import PretrainConfig
from occfeat.settings.layers import build, merge
from tests.experiments.scripts import load
from tests.experiments.stand_in import MAP, VEHICLE, Runs

rigs, ledger = load("rigs"), load("harness.ledger")


def _run(monkeypatch: pytest.MonkeyPatch, runs: Path, *words: str) -> Runs:
    """Ask it with one seed and one draw; what was called."""
    called = Runs(monkeypatch)
    monkeypatch.setattr(rigs, "LEDGER", ledger.Ledger(runs / "rigs.jsonl", rigs.Tuning))
    monkeypatch.setattr("sys.argv", ["rigs.py", str(runs), "--seeds", "0", "--draws", "1", *words])
    rigs.main()
    return called


def test_main__every_pretraining_meets_every_rig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = dict(_run(monkeypatch, tmp_path, "--arms", "none", "A", "AB-steps").called)
    assert set(told) == {
        "pretrained-A-0",
        "pretrained-AB-steps-0",
        *(f"{arm}-on-{rig}-0-1" for arm, rig in product(("none", "A", "AB-steps"), "ABC")),
    }
    assert "| vehicle, visible | C | A and B, equal steps | 1 | 10.0 ± - / - | +0.0 ± - / - |" in (
        capsys.readouterr().out
    )
    assert (tmp_path / "rigs.png").stat().st_size > 10_000
    assert told["A-on-C-0-1"]["data"].name == "rig-C"
    assert told["A-on-C-0-1"]["start"] == tmp_path / "pretrained-A-0"
    assert "start" not in told["none-on-C-0-1"]
    again = _run(monkeypatch, tmp_path, "--arms", "none", "A", "AB-steps")
    assert again.called == []


@pytest.mark.parametrize("name", [name for name, arm in rigs.ARMS.items() if arm.rigs])
def test_pretrain__takes_the_streets_and_caches_of_its_rigs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs(monkeypatch)
    rigs.pretrain(tmp_path, name, 0)
    told = {**runs.called[0][1], "out": tmp_path / "run"}
    recipe = told.pop("recipe")
    config = build(PretrainConfig, merge(base_layer(PretrainConfig, recipe=recipe, above=told), told))
    names = [Path(data.root).name for data in config.sources]
    assert names == [f"rig-{rig}" for rig in rigs.ARMS[name].rigs]
    assert [Path(cache).parent.name for cache in config.teacher_cache] == list(rigs.ARMS[name].rigs)
    steps = config.optim.epochs * len(names)
    assert steps == (2 * rigs.EPOCHS if name == "AB-epochs" else rigs.EPOCHS)
    assert (config.loss.unseen == "ignore") == (config.augment.lidar_beams > 0) == (name == "AB-sparing")
    assert config.augment.bev_flip


def test_table__gains_are_over_no_pretraining_on_the_same_rig() -> None:
    rows = {
        rigs.Tuning(arm, rig, seed, 0, "val"): {VEHICLE: value + 0.01 * seed, MAP: 0.2}
        for (arm, value), rig, seed in product({"none": 0.2, "B": 0.3}.items(), "AC", range(3))
    }
    lines = rigs.table(rows, "val").splitlines()
    assert "| vehicle, visible | C | B | 3 | 31.0 ± 2.5 / - | +10.0 ± 0.0 / - |" in lines
    assert rigs.table(rows, "test").count("\n") == 1

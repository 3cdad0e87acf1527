"""Runs with averaged weights: what is written, read again, resumed, fine-tuned from and evaluated."""

from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
import torch
from safetensors.torch import load_file

import occfeat
from occfeat.cli import main
from occfeat.errors import RunError
from occfeat.pretraining.restore import load_pretraining
from occfeat.runs.checkpoint import load_checkpoint, save_checkpoint
from occfeat.runs.folder import RunFolder
from tests.support.small_runs import Flags


@pytest.fixture(scope="module")
def averaged(flags: Flags, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("averaged") / "run"
    assert main(flags("pretrain", run, "--optim.epochs", "3", "--optim.ema", "0.5")) == 0
    return run


def test_pretrain__ships_the_average(averaged: Path) -> None:
    saved = load_checkpoint(RunFolder(averaged).checkpoint)
    shipped = load_file(RunFolder(averaged).weights)
    for name, value in shipped.items():
        assert torch.equal(value, saved.shipped[name]), name
    moved = [name for name in shipped if not torch.equal(shipped[name], saved.network[name])]
    assert any(name.endswith("running_mean") for name in moved)
    assert "student.bev_encoder.stem.0.weight" in moved


def test_load_pretraining__reads_the_average_of_student_and_head(averaged: Path) -> None:
    network, _ = load_pretraining(averaged)
    expected = load_checkpoint(RunFolder(averaged).checkpoint).shipped
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_resume__of_a_finished_run_ships_the_same(averaged: Path) -> None:
    before = RunFolder(averaged).weights.read_bytes()
    assert main(["pretrain", "--resume", str(averaged)]) == 0
    assert RunFolder(averaged).weights.read_bytes() == before


def test_resume__without_averages_in_the_checkpoint_is_refused(averaged: Path, tmp_path: Path) -> None:
    run = Path(copytree(averaged, tmp_path / "run"))
    file = RunFolder(run).checkpoint
    save_checkpoint(file, replace(load_checkpoint(file), average={}))
    with pytest.raises(RunError, match="expected averages of"):
        occfeat.pretrain(resume=run)


def test_finetune__evaluates_and_ships_the_average(averaged: Path, flags: Flags, tmp_path: Path) -> None:
    run = tmp_path / "tuned"
    words = ["--val-split", "mini_val", "--optim.ema", "1", "--optim.epochs", "2", "--pictures", "0"]
    words += ["--start", str(averaged)]
    given = flags("finetune", run, *words)
    assert main(given) == 0
    saved = load_checkpoint(RunFolder(run).checkpoint)
    shipped = load_file(RunFolder(run).weights)
    for name, value in shipped.items():
        assert torch.equal(value, saved.shipped[f"segmenter.{name}"]), name
    out = tmp_path / "again"
    words = ["evaluate", str(run), "--data", given[2], "--split", "mini_val", "--out", str(out)]
    assert main([*words, "--engine.workers", "0", "--pictures", "0"]) == 0
    results = [(run / "evaluation-mini_val" / "results.json"), out / "results.json"]
    assert results[0].read_bytes() == results[1].read_bytes()

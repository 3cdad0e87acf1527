"""Pretraining with every option that learns from the time around a key frame."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from occfeat.cli import main
from tests.end_to_end.forks import run_ranks
from tests.support.small_runs import Flags, rows_of, stopping_after

EVERY_OPTION = [
    *("--loss.window-s", "0.5", "--loss.features", "0.3", "--loss.features-window-s", "0.6"),
    *("--loss.times", "0.5", "--loss.times-s", "-0.5", "0", "0.5", "--loss.times-weights", "0.5", "1", "0.5"),
    *("--loss.center", "position", "--loss.path", "0.1", "--augment.bev-flip", "--optim.epochs", "4"),
]
METRICS = {
    *("loss/occupancy", "window_occupancy_iou", "window_sweeps", "loss/features", "centered_cosine"),
    *("loss/times", "occupancy_iou_at_-0.5s", "occupancy_iou_at_+0.5s", "times_present"),
    *("loss/path", "path_iou", "path_share"),
}


@pytest.fixture(scope="module")
def cache(folder: Path, teacher_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The teacher's features of all key frames."""
    path = tmp_path_factory.mktemp("caches") / "cache"
    words = ["cache", "--data", folder, "--out", path, "--split", "all", "--teacher.name", "test_vit"]
    words += ["--teacher.weights", teacher_weights, "--teacher.image-size", 64, 96, "--engine.workers", 0]
    assert main([*map(str, words), "--engine.device", "cpu"]) == 0
    return path


def test_every_option__a_run_that_was_stopped_ends_like_one_that_was_not(
    flags: Flags, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*EVERY_OPTION, "--teacher-cache", str(cache)]
    assert main(flags("pretrain", tmp_path / "whole", *words)) == 0
    rows = rows_of(tmp_path / "whole")
    assert rows[-1].keys() >= METRICS
    assert rows[-1]["window_sweeps"] > 3
    assert 0.5 < rows[-1]["times_present"] < 1  # the scene ends
    with stopping_after(2, monkeypatch):
        assert main(flags("pretrain", tmp_path / "stopped", *words)) != 0
    assert main(["pretrain", "--resume", str(tmp_path / "stopped")]) == 0
    first, second = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_every_option__two_processes_give_the_losses_of_one(
    flags: Flags, cache: Path, tmp_path: Path
) -> None:
    # each process averages over its own key frames, and these losses over what they know
    words = [*EVERY_OPTION, "--teacher-cache", str(cache), "--optim.batch-size", "2"]
    words += ["--student.backbone", "test_convnext", "--optim.micro-batch-size", "1"]
    assert main(flags("pretrain", tmp_path / "one", *words)) == 0
    run_ranks(flags("pretrain", tmp_path / "two", *words, "--engine.devices", "2"), tmp_path)
    alone, shared = rows_of(tmp_path / "one"), rows_of(tmp_path / "two")
    assert len(alone) == len(shared) == 6
    for one, two in zip(alone, shared, strict=True):
        for name in ("loss", "loss/occupancy", "loss/features", "loss/times", "loss/path"):
            assert two[name] == pytest.approx(one[name], rel=1e-4), name


def test_features_over_time__need_a_cache(
    flags: Flags, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--loss.window-s", "0.5", "--loss.features-window-s", "0.6"]
    assert main(flags("pretrain", tmp_path / "run", *words)) == 2
    said = capsys.readouterr().err
    assert "loss.features_window_s expects a teacher cache, got none" in said
    assert "occfeat cache" in said


def test_path__needs_the_size_of_a_car_that_is_not_known(
    flags: Flags, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = shutil.copytree(folder, tmp_path / "own")
    (own / "v1.0-mini").rename(own / "v1.0-own")
    words = ["--loss.occupancy", "0", "--loss.features", "0", "--loss.path", "1", "--data", str(own)]
    assert main(flags("pretrain", tmp_path / "run", *words)) == 2
    said = capsys.readouterr().err
    assert "loss.path expects loss.car_lower_m and loss.car_upper_m for v1.0-own, got none" in said
    assert "back right and front left corner" in said

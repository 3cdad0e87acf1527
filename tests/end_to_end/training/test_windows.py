"""Pretraining on windows of sweeps: resumed, shared by two processes, learned, or refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import occfeat
from occfeat.cli import main
from occfeat.data.index.index import Index
from occfeat.errors import Interrupted
from occfeat.settings.sections import DataConfig
from tests.end_to_end.forks import run_ranks
from tests.end_to_end.training.test_objectives import settings, stopped_after_two_steps
from tests.support.nuscenes_folder import build_nuscenes_folder
from tests.support.small_runs import Flags, rows_of

__all__ = ["settings", "stopped_after_two_steps"]

LOSS = {"features": 0, "window_s": 0.45}


def test_resume__ends_bit_for_bit_the_same(
    settings: dict[str, Any], tmp_path: Path, stopped_after_two_steps: pytest.MonkeyPatch
) -> None:
    more: dict[str, Any] = {**settings, "loss": LOSS, "augment": {"bev_flip": True, "bev_rotation_deg": 90}}
    more["engine"] = {**settings["engine"], "workers": 1}
    with pytest.raises(Interrupted):
        occfeat.pretrain(out=tmp_path / "run", **more)
    stopped_after_two_steps.undo()
    run = occfeat.pretrain(resume=tmp_path / "run").path
    whole = occfeat.pretrain(out=tmp_path / "whole", **more).path
    first, second = (load_file(one / "weights.safetensors") for one in (run, whole))
    assert all(torch.equal(first[name], second[name]) for name in first)
    last = rows_of(run)[-1]
    assert {"window_occupancy_iou", "window_share", "window_sweeps"} <= last.keys()
    assert 3 <= last["window_sweeps"] <= 5


@pytest.mark.slow
def test_two_processes__give_the_losses_of_one(flags: Flags, tmp_path: Path) -> None:
    words = ["--loss.features", "0", "--loss.window-s", "0.45", "--optim.epochs", "2"]
    words += ["--student.backbone", "test_convnext"]  # normalises within each image
    words += ["--optim.micro-batch-size", "1"]  # a loss is the mean over the known voxels of a micro-batch
    assert main(flags("pretrain", tmp_path / "one", *words)) == 0
    run_ranks(flags("pretrain", tmp_path / "two", *words, "--engine.devices", "2"), tmp_path)
    alone, shared = (rows_of(tmp_path / name) for name in ("one", "two"))
    assert [row["loss"] for row in shared] == pytest.approx([row["loss"] for row in alone], rel=1e-5)
    assert [row["window_sweeps"] for row in shared] == [row["window_sweeps"] for row in alone]


def test_eight_key_frames__are_learned(settings: dict[str, Any], tmp_path: Path) -> None:
    settings = {**settings, "data": build_nuscenes_folder(tmp_path / "data", key_frames=4), "split": "all"}
    settings["optim"] = {"epochs": 10, "batch_size": 4, "learning_rate": 0.01}
    rows = rows_of(occfeat.pretrain(out=tmp_path / "run", loss=LOSS, **settings).path)
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    assert rows[-1]["window_occupancy_iou"] > rows[0]["window_occupancy_iou"]


def test_lost_sweeps__are_left_out_and_counted(
    settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(folder, tmp_path / "data"))
    index = Index.open(DataConfig(root=data))
    for sweep in index.sweeps_within(1, 0.45):
        if not sweep.is_key:
            (data / sweep.path).unlink()
    settings = {**settings, "data": data, "optim": {"epochs": 1, "batch_size": 3}}
    (row,) = rows_of(occfeat.pretrain(out=tmp_path / "run", loss=LOSS, **settings).path)
    assert row["window_lost"] == pytest.approx((2 + 4 + 2) / 3)


def test_windows__without_other_sweeps_say_so_once(
    settings: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    occfeat.pretrain(out=tmp_path / "run", loss={**LOSS, "window_s": 0.01}, **settings)
    said = [record.message for record in caplog.records if "no other LiDAR sweep" in record.message]
    assert said == ["3 of 3 key frames have no other LiDAR sweep within 0.01 s: theirs stands alone."]


def test_windows__without_poses_are_refused_by_name(
    flags: Flags, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Index, "has_poses", lambda _, rows: rows < 0)
    assert main(flags("pretrain", tmp_path / "run", "--loss.features", "0", "--loss.window-s", "0.5")) == 2
    said = capsys.readouterr().err
    assert "ego poses of" in said
    assert "loss.window_s=0.5" in said

"""An objective that the package does not know, and what objectives find out before the first step."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import occfeat
from occfeat.cli import main
from occfeat.data.index.index import Index
from occfeat.errors import Interrupted, OccFeatError
from occfeat.pretraining.objectives.contract import HeadShape, Objective, Term
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.features import Features
from occfeat.runs.checkpoint import CHECKPOINT_VERSION
from occfeat.settings.sections import DataConfig
from occfeat.training.step import ratio_of
from tests.support.small_runs import rows_of, stopping_after


@dataclass(frozen=True)
class MeanHeight(Objective[nn.Conv2d, Tensor]):
    """Predict the mean height of the LiDAR returns above each BEV cell."""

    name = "mean_height"
    reads = "bev"
    weight: float = 0.1

    def build_output(self, shape: HeadShape) -> nn.Conv2d:
        return nn.Conv2d(shape.bev_channels, 1, kernel_size=1)

    def target(self, evidence: Evidence) -> Tensor:
        """Return the mean height (B, X, Y) in metres; NaN where there is no return."""
        points, grid = evidence.points, evidence.grid
        cell, inside = grid.cell_index(points.points_ego)
        x, y, _ = cell[inside].unbind(1)
        at, height_m = (points.key_frame[inside], x, y), points.points_ego[inside, 2]
        empty = height_m.new_zeros(len(evidence.batch), *grid.bev.shape)
        total_m = empty.index_put(at, height_m, accumulate=True)
        return total_m / empty.index_put(at, torch.ones_like(height_m), accumulate=True)

    def loss(self, output: nn.Conv2d, read: Tensor, target: Tensor) -> Term:
        """Return the mean absolute error over cells with returns."""
        known = ~target.isnan()
        error_m = (output(read)[:, 0].float() - target)[known].abs()
        metrics = {"mean_height_error_m": ratio_of(error_m.sum(), known.sum())}
        return Term(error_m.sum() / known.sum().clamp(min=1), metrics)


@pytest.fixture
def settings(folder: Path, teacher_weights: Path) -> dict[str, Any]:
    student = {"backbone": "test_efficientnet", "backbone_weights": "none"}
    return {
        "data": folder,
        "split": "mini_train",
        "view": {"image_size": (48, 80)},
        "grid": {"lower_m": (-16, -16, -1), "upper_m": (16, 16, 3), "cell_m": (1, 1, 1)},
        "student": {**student, "image_channels": 8, "bev_channels": 8},
        "teacher": {"name": "test_vit", "weights": str(teacher_weights), "image_size": (64, 96)},
        "head": {"channels": 8},
        "optim": {"epochs": 4, "batch_size": 2, "learning_rate": 0.01},
        "engine": {"workers": 0, "device": "cpu", "log_every": 1},
    }


@pytest.fixture
def stopped_after_two_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A signal that stops a run after its second step, until it is undone."""
    with stopping_after(2, monkeypatch) as patched:
        yield patched


def test_own_objective__is_learned_logged_and_needed_to_go_on(
    settings: dict[str, Any],
    folder: Path,
    tmp_path: Path,
    stopped_after_two_steps: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    loss = {"features": 0}
    with pytest.raises(Interrupted):
        occfeat.pretrain(out=tmp_path / "run", objectives=[MeanHeight()], loss=loss, **settings)
    stopped_after_two_steps.undo()
    assert main(["pretrain", "--resume", str(tmp_path / "run")]) == 2
    assert "of the settings, got []" in capsys.readouterr().err
    pytest.importorskip("sklearn", reason="comes with the extra `analysis`")
    run = occfeat.pretrain(resume=tmp_path / "run", objectives=[MeanHeight()]).path
    rows = rows_of(run)
    assert {"loss/occupancy", "loss/mean_height", "mean_height_error_m"} <= rows[-1].keys()
    total = rows[-1]["loss/occupancy"] + 0.1 * rows[-1]["loss/mean_height"]
    assert rows[-1]["loss"] == pytest.approx(total, rel=1e-5)
    assert rows[-1]["mean_height_error_m"] < rows[0]["mean_height_error_m"]
    whole = occfeat.pretrain(out=tmp_path / "whole", objectives=[MeanHeight()], loss=loss, **settings)
    first, second = (load_file(one / "weights.safetensors") for one in (run, whole.path))
    assert all(torch.equal(first[name], second[name]) for name in first)
    report = occfeat.analyse(run, data=folder, split="mini_train", clusters=3).path / "analysis.json"
    assert json.loads(report.read_text())["occupancy_by_distance"]  # opened without the objective


def test_own_objective__alone_trains_without_a_trunk(settings: dict[str, Any], tmp_path: Path) -> None:
    loss = {"features": 0, "occupancy": 0}
    run = occfeat.pretrain(out=tmp_path / "run", objectives=[MeanHeight()], loss=loss, **settings).path
    saved = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["network"]
    assert {name.split(".")[0] for name in saved} == {"student", "outputs"}
    assert {"loss", "loss/mean_height"} <= rows_of(run)[-1].keys()


@pytest.mark.parametrize("center", ["mean", "position"])
def test_centre__is_found_once_kept_and_read_by_the_analysis(
    center: str,
    settings: dict[str, Any],
    tmp_path: Path,
    folder: Path,
    stopped_after_two_steps: pytest.MonkeyPatch,
) -> None:
    settings = {**settings, "loss": {"features": 0.3, "center": center, "center_key_frames": 2}}
    with pytest.raises(Interrupted):
        occfeat.pretrain(out=tmp_path / "run", **settings)
    stopped_after_two_steps.undo()
    whole = occfeat.pretrain(out=tmp_path / "whole", **settings).path
    prepared = json.loads((tmp_path / "run" / "prepared.json").read_text())["features"]
    assert prepared["key_frames"] == 2
    assert 0 < prepared["constant_cosine"] < 1
    assert ("position_share" in prepared) == (center == "position")

    def refuse(*_: object) -> None:
        raise AssertionError("looked at targets again")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Features, "prepare", refuse)
        run = occfeat.pretrain(resume=tmp_path / "run").path
    saved = [torch.load(one / "checkpoints" / "last.pt", weights_only=True) for one in (run, whole)]
    assert saved[0]["step"] == saved[1]["step"] == 6
    for name, tensor in saved[0]["network"].items():
        assert torch.equal(tensor, saved[1]["network"][name]), name
    assert saved[0]["network"]["outputs.features.center"].tolist() == pytest.approx(prepared["mean"])
    if center == "position":
        assert saved[0]["network"]["outputs.features.position"].shape == (6, 64, 4, 6)
        assert saved[0]["network"]["outputs.features.position"].abs().sum() > 0
    pytest.importorskip("sklearn", reason="comes with the extra `analysis`")
    report = occfeat.analyse(run, data=folder, split="mini_train", clusters=3).path / "analysis.json"
    assert json.loads(report.read_text())["centered"] is True


def test_prepared__counts_the_key_frames_that_could_be_read(
    settings: dict[str, Any], tmp_path: Path, folder: Path
) -> None:
    data = Path(shutil.copytree(folder, tmp_path / "data"))
    index = Index.open(DataConfig(root=data))
    for camera in index.key_frame(int(index.rows("mini_train")[1])).cameras:
        (data / camera.path).write_bytes((data / camera.path).read_bytes()[:500])
    settings = {**settings, "data": data, "loss": {"features": 0.3, "center": "mean"}}
    settings["engine"] = {**settings["engine"], "max_broken": 1}
    run = occfeat.pretrain(out=tmp_path / "run", **settings).path
    assert json.loads((run / "prepared.json").read_text())["features"]["key_frames"] == 2


def test_checkpoint__of_an_older_version_is_refused(
    settings: dict[str, Any], tmp_path: Path, stopped_after_two_steps: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        occfeat.pretrain(out=tmp_path / "run", loss={"features": 0}, **settings)
    stopped_after_two_steps.undo()
    file = tmp_path / "run" / "checkpoints" / "last.pt"
    torch.save({**torch.load(file, weights_only=True), "version": 3}, file)
    said = rf"(?s)version 3, not {CHECKPOINT_VERSION}.*version of occfeat that wrote it"
    with pytest.raises(OccFeatError, match=said):
        occfeat.pretrain(resume=tmp_path / "run")

"""A module of the user's in the place of a student, from pretraining to prediction."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import occfeat
from occfeat.cli import main
from occfeat.data.sample.cameras import Cameras
from occfeat.errors import SettingsError, WeightsError
from occfeat.runs.card import read_card


class Colour(nn.Module):
    """The mean colour of all images in every cell."""

    def __init__(self, channels: int = 4, cells: int = 32) -> None:
        super().__init__()
        self.channels, self.cells = channels, cells
        self.mix = nn.Linear(3, channels)

    def forward(self, images: Tensor, cameras: Cameras) -> Tensor:
        mixed = self.mix(images.float().mean(dim=(1, 3, 4)) / 255)
        return mixed[:, :, None, None].expand(-1, -1, self.cells, self.cells)


@pytest.fixture
def settings(folder: Path) -> dict[str, Any]:
    return {
        "data": folder,
        "split": "mini_train",
        "view": {"image_size": (48, 80)},
        "grid": {"lower_m": (-16, -16, -1), "upper_m": (16, 16, 3), "cell_m": (1, 1, 1)},
        "optim": {"epochs": 3, "batch_size": 3, "learning_rate": 0.01},
        "engine": {"workers": 0, "device": "cpu"},
    }


def test_own_student__from_pretraining_to_evaluation(
    settings: dict[str, Any], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loss = {"features": 0}
    student = Colour()
    before = student.mix.weight.detach().clone()
    run = occfeat.pretrain(out=tmp_path / "pre", student=student, loss=loss, **settings)
    assert not torch.equal(student.mix.weight, before)
    assert read_card(run.path).student.name == "Colour"
    fresh = Colour()
    tuned = occfeat.finetune(
        out=tmp_path / "tuned", start=run.weights, student=fresh, freeze=True, val_split=None, **settings
    )
    assert torch.equal(fresh.mix.weight, student.mix.weight)  # loaded from the run, then frozen
    model = occfeat.load_model(tuned.path, student=Colour())
    assert torch.equal(model.segmenter.student.module.mix.weight, student.mix.weight)

    with pytest.raises(SettingsError, match="module of your own, Colour"):
        occfeat.load_model(tuned.path)
    with pytest.raises(SettingsError, match="module of your own, Colour"):
        occfeat.finetune(out=tmp_path / "other", start=run.weights, **settings)
    with pytest.raises(WeightsError, match=r"mix\.weight"):
        occfeat.load_model(tuned.path, student=Colour(channels=5))
    assert main(["evaluate", str(tuned.path), "--data", str(folder), "--split", "mini_val"]) == 2
    assert "pass the module as `student=…`" in capsys.readouterr().err
    words = {"data": folder, "split": "mini_val", "engine": {"workers": 0, "device": "cpu"}}
    result = occfeat.evaluate(tuned.path, student=Colour(), **words)
    assert 0 <= result.metrics["vehicle_iou/all"] <= 1
    occfeat.predict(tuned.path, student=Colour(), data=folder, out=tmp_path / "out", device="cpu")
    again = occfeat.pretrain(resume=run.path, student=Colour())
    assert again.path == run.path


def test_own_student__of_another_kind_than_the_run(settings: dict[str, Any], tmp_path: Path) -> None:
    run = occfeat.pretrain(out=tmp_path / "pre", student=Colour(), loss={"features": 0}, **settings)
    with pytest.raises(WeightsError, match=r"student\.kind: the run has own, these settings lss"):
        occfeat.finetune(out=tmp_path / "other", start=run.path, student={"kind": "lss"}, **settings)


def test_own_student__that_does_not_fit_the_grid(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\(3, 4, 32, 32\).*\(3, 4, 31, 31\)"):
        occfeat.pretrain(out=tmp_path / "pre", student=Colour(cells=31), loss={"features": 0}, **settings)


def test_resume__takes_a_module_but_no_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="uses the settings"):
        occfeat.pretrain(resume=tmp_path, student={"kind": "lss"})

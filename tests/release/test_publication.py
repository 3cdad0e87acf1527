"""Saving, loading and publishing the network that ships, without network."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import HfApi
from huggingface_hub import ModelCard as HubCard
from torch import nn

import occfeat
from occfeat.cli import main
from occfeat.errors import RunError, WeightsError
from occfeat.models.students.own import OwnStudent
from occfeat.release.shipped import write_model
from occfeat.runs.card import ModelCard
from occfeat.segmentation.head import SegmentationHead
from occfeat.segmentation.task import Segmenter
from occfeat.settings.sections import GridConfig, ViewConfig
from occfeat.settings.students import OwnStudentConfig
from tests.release.models import CLASSES, write_run
from tests.support.rigs import GRID, ring_of_cameras

SAVED = {"README.md", "model.json", "weights.safetensors"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A fine-tuning run that started from a pretraining run, both on somebody's machine."""
    pretraining, folder = tmp_path / "home" / "pre", write_run(tmp_path / "home" / "tuned", "simplebev")
    pretraining.mkdir()
    loss = {"loss": {"features": 0.01}, "teacher": {"name": "test_vit"}}
    (pretraining / "settings.yaml").write_text(yaml.safe_dump(loss))
    start = str(pretraining / "weights.safetensors")
    settings = {"data": str(tmp_path / "home" / "nuscenes"), "start": start, "label_fraction": 0.01}
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    environment = {"versions": {"torch": "2.9"}, "commit": "abc", "started": "2026-01-02", "gpu": None}
    (folder / "environment.json").write_text(json.dumps(environment))
    results = {"split": "val", "key_frames": 81, "metrics": {"vehicle_iou/all": 0.125, "mean_iou/map": None}}
    (folder / "evaluation-val").mkdir()
    (folder / "evaluation-val" / "results.json").write_text(json.dumps(results))
    return folder


def probabilities(model: occfeat.ShippedModel) -> torch.Tensor:
    cameras = ring_of_cameras(3, model.image_size)
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1, 3, 3, *model.image_size), dtype=torch.uint8, generator=random)
    return model(images, cameras)


def test_save_pretrained__is_loaded_as_the_same_network(run: Path, tmp_path: Path) -> None:
    model, folder = occfeat.load_model(run), tmp_path / "saved"
    model.save_pretrained(folder)
    assert {file.name for file in folder.iterdir()} == SAVED
    for loaded in (occfeat.ShippedModel.from_pretrained(folder), occfeat.load_model(folder)):
        assert loaded.classes == CLASSES
        assert torch.equal(probabilities(loaded), probabilities(model))


def test_readme__says_what_the_run_folder_says(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    occfeat.load_model(run).save_pretrained(folder, model_card_kwargs={"license": "cc-by-nc-sa-4.0"})
    text = (folder / "README.md").read_text()
    header = HubCard.load(folder / "README.md").data.to_dict()
    assert header["license"] == "cc-by-nc-sa-4.0"
    assert header["library_name"] == "occfeat"
    for said in (
        "| val | 81 | `vehicle_iou/all` | 0.1250 |",
        "| val | 81 | `mean_iou/map` | none |",
        "label_fraction: 0.01",
        "the pretraining run `pre`",
        "name: test_vit",
        "torch 2.9; commit abc",
        "non-commercial",
    ):
        assert said in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize("named", ["gone/pre", "gone/pre/weights.safetensors"])
def test_readme__names_a_pretraining_run_that_is_gone(run: Path, tmp_path: Path, named: str) -> None:
    settings = yaml.safe_load((run / "settings.yaml").read_text())
    (run / "settings.yaml").write_text(yaml.safe_dump({**settings, "start": str(tmp_path / named)}))
    occfeat.load_model(run / "weights.safetensors").save_pretrained(tmp_path / "saved")
    assert "It started from the pretraining run `pre`." in (tmp_path / "saved" / "README.md").read_text()


def test_readme__goes_along_when_saved_again(run: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    occfeat.load_model(run).save_pretrained(first, model_card_kwargs={"license": "mit"})
    occfeat.ShippedModel.from_pretrained(first).save_pretrained(second)
    header, _, body = (first / "README.md").read_text()[4:].partition("---\n")
    again = (second / "README.md").read_text()
    assert again.endswith("---\n" + body)
    assert again.count("library_name") == header.count("library_name") == 1


def test_readme__of_a_folder_without_record(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "simplebev")
    text = str(occfeat.load_model(folder).generate_model_card())
    assert "Licence" in text
    assert "Metrics" not in text
    assert "How it was trained" not in text


def test_readme__damaged_metrics(run: Path) -> None:
    (run / "evaluation-val" / "results.json").write_text("[]")
    with pytest.raises(RunError, match=r"results\.json"):
        occfeat.load_model(run).generate_model_card()


def test_saved_folder__is_a_run_for_commands(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "saved"
    occfeat.load_model(run).save_pretrained(folder)
    assert main(["predict", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert "Expected either --rig or --data, got neither." in capsys.readouterr().err


def test_push_to_hub__sends_these_files_and_no_others(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, set[str]] = {}

    class Created:
        repo_id = "someone/bev"

    def upload(_: HfApi, *, repo_id: str, folder_path: Path, **__: Any) -> str:
        sent[repo_id] = {file.name for file in Path(folder_path).iterdir()}
        return "the commit"

    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: Created())
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    assert occfeat.load_model(run).push_to_hub("someone/bev") == "the commit"
    assert sent == {"someone/bev": SAVED}


def test_from_pretrained__by_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(name: str, **options: Any) -> str:
        asked.append((name, options["revision"], set(options["allow_patterns"])))
        return str(run)

    monkeypatch.setattr("occfeat.release.shipped.snapshot_download", fetch)
    model = occfeat.ShippedModel.from_pretrained("someone/bev", revision="v2")
    assert model.classes == CLASSES
    assert asked == [("someone/bev", "v2", SAVED)]


def test_from_pretrained__that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="could not be downloaded"):
        occfeat.ShippedModel.from_pretrained("someone/bev", cache_dir=tmp_path, local_files_only=True)
    with pytest.raises(RunError, match="does not contain a finished model"):
        occfeat.ShippedModel.from_pretrained(tmp_path)


class Tied(nn.Module):
    """Two layers with the same weights, which share their memory."""

    channels = 4

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight


def test_write_model__tied_weights_are_loaded_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    head, tied = SegmentationHead(4, 1), Tied()
    card = ModelCard(
        stage="segmentation",
        student=OwnStudentConfig(name="Tied"),
        grid=GridConfig(lower_m=GRID.lower_m, upper_m=GRID.upper_m, cell_m=GRID.cell_m),
        view=ViewConfig(image_size=(44, 80)),
        classes=("vehicle",),
    )
    write_model(tmp_path, Segmenter(OwnStudent(tied, GRID), head), card)
    fresh = Tied()
    occfeat.load_model(tmp_path, student=fresh)
    assert fresh.first.weight is fresh.second.weight
    assert torch.equal(fresh.first.weight, tied.first.weight)
    assert torch.equal(fresh.second.bias, tied.second.bias)

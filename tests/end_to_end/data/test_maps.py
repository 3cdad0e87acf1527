"""Map layers beside vehicles, as a user would train, evaluate and predict them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from occfeat.cli import main
from occfeat.data.maps.masks import LAYERS
from tests.support.map_files import crossroads, write_expansion
from tests.support.nuscenes_folder import build_nuscenes_folder, read_records
from tests.support.small_runs import Flags

CLASSES = ("vehicle", *LAYERS)
NAMES = {"vehicle_iou/all", "vehicle_iou/visible", *(f"{name}_iou/map" for name in LAYERS)}


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a map: in each scene the car stands once, before a crossroads."""
    root = tmp_path_factory.mktemp("mapped") / "nuscenes"
    build_nuscenes_folder(root, key_frames=1, channels=("CAM_FRONT", "CAM_BACK"))
    write_expansion(root, crossroads(1012, 501))
    return root


@pytest.fixture(scope="module")
def tuned(flags: Flags, folder: Path, mapped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "tuned"
    words = flags("finetune", run, "--val-split", "mini_val", "--optim.epochs", "1", "--augment.bev-flip")
    words = [str(mapped) if word == str(folder) else word for word in words]
    assert main([*words, "--engine.workers", "1", "--classes", *CLASSES]) == 0
    return run


def test_finetune__names_every_layer_in_metrics_and_results(tuned: Path) -> None:
    last = json.loads((tuned / "metrics.jsonl").read_text().splitlines()[-1])
    assert {name for name in last if "_iou/" in name} == NAMES
    results = json.loads((tuned / "evaluation-mini_val" / "results.json").read_text())
    assert set(results["metrics"]) == NAMES | {"mean_iou/map"}
    of_layers = [results["metrics"][f"{name}_iou/map"] for name in LAYERS]
    assert results["metrics"]["mean_iou/map"] == pytest.approx(np.mean(of_layers))
    assert all(0 <= one <= 1 and not math.isnan(one) for one in of_layers)


def test_finetune__draws_every_layer(tuned: Path) -> None:
    for name in CLASSES:
        assert len(list((tuned / "pictures").glob(f"*[0-9]_{name}.png"))) == 1


def test_evaluate__repeats_the_metrics_of_the_fine_tuning(tuned: Path, mapped: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(tuned), "--data", str(mapped), "--split", "mini_val", "--engine.workers", "0"]
    assert main([*words, "--out", str(tmp_path / "results")]) == 0
    ours = json.loads((tmp_path / "results" / "results.json").read_text())
    theirs = json.loads((tuned / "evaluation-mini_val" / "results.json").read_text())
    assert ours["metrics"] == theirs["metrics"]


def test_predict__needs_no_map(tuned: Path, folder: Path, tmp_path: Path) -> None:
    token = read_records(folder, "sample")[0]["token"]
    words = ["predict", str(tuned), "--data", str(folder), "--tokens", token, "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert len(list((tmp_path / "out").glob("*_divider.npy"))) == 1


def test_view__draws_layers(mapped: Path, tmp_path: Path) -> None:
    words = ["view", "--data", str(mapped), "--out", str(tmp_path / "view.png"), "--classes", *CLASSES]
    assert main(words) == 0
    assert (tmp_path / "view.png").stat().st_size > 10_000


def test_missing_expansion__is_said_before_anything_starts(
    flags: Flags, tuned: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            flags("finetune", tmp_path / "run", "--classes", "vehicle", "walkway", "--val-split", "mini_val")
        )
        == 2
    )
    assert not (tmp_path / "run").exists()
    words = ["evaluate", str(tuned), "--data", str(folder), "--split", "mini_val"]
    assert main([*words, "--out", str(tmp_path / "results")]) == 2
    said = capsys.readouterr().err
    assert said.count("no map of singapore-onenorth found") == 2
    assert said.count("nuscenes.org") == 2
    assert "Traceback" not in said

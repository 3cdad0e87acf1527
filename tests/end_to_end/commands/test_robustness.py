"""Evaluation under corruptions, as a user would type it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import occfeat
from occfeat.cli import main
from occfeat.data.corruptions.corruptions import NAMES, SEVERITIES
from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig
from tests.data.corruptions.released_folder import write_released
from tests.end_to_end.forks import run_ranks
from tests.support.small_runs import Flags

METRIC = "vehicle_iou/all"


@pytest.fixture(scope="module")
def tuned(flags: Flags, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learned something, so that there is something to lose."""
    run = tmp_path_factory.mktemp("runs") / "tuned"
    words = ["--split", "all", "--val-split", "None", "--optim.epochs", "15", "--pictures", "0"]
    words += ["--optim.learning-rate", "0.01", "--positive-weight", "8"]
    assert main(flags("finetune", run, *words)) == 0
    return run


def command(run: Path, data: Path, out: Path, *more: str) -> list[str]:
    words = ["evaluate", run, "--data", data, "--out", out, "--split", "mini_val", *more]
    workers = [] if "--engine.workers" in more else ["--engine.workers", "0"]
    return [*map(str, words), "--engine.device", "cpu", *workers]


def read(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "robustness.json").read_text())
    return found


@pytest.fixture(scope="module")
def evaluated(tuned: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated") / "all"
    assert main(command(tuned, folder, out, "--corruptions", "all", "--engine.workers", "0")) == 0
    return out


def test_out__by_default_is_beside_the_evaluation_in_the_run(
    tuned: Path, folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tuned, run)
    (run / "evaluation-mini_val").mkdir()
    (run / "evaluation-mini_val" / "results.json").write_text("{}")
    words = command(run, folder, tmp_path, "--corruptions", "ColorQuant")
    assert main([word for word in words if word not in ("--out", str(tmp_path))]) == 0
    assert list(read(run / "robustness-mini_val")["corrupted"]) == ["ColorQuant"]
    assert (run / "evaluation-mini_val" / "results.json").read_text() == "{}"
    words = command(run, folder, tmp_path / "again", "--corruptions", "ColorQuant", "--baseline", str(run))
    assert main(words) == 0


def test_all__every_corruption_at_every_severity(evaluated: Path) -> None:
    found = read(evaluated)
    assert list(found["corrupted"]) == list(NAMES)
    clean = json.loads((evaluated / "results.json").read_text())["metrics"]
    assert found["clean"] == clean
    assert clean[METRIC] > 0.05
    ious = [found["corrupted"][name][severity][METRIC] for name in NAMES for severity in SEVERITIES]
    assert all(0 <= iou <= 1 for iou in ious)
    assert len(set(ious)) > 8
    scores = found["scores"][METRIC]
    for name in NAMES:
        three = [found["corrupted"][name][severity][METRIC] for severity in SEVERITIES]
        assert scores["by_corruption"][name]["iou"] == pytest.approx(sum(three) / 3)
        assert scores["by_corruption"][name]["resilience_rate"] == pytest.approx(
            sum(three) / 3 / clean[METRIC]
        )
    assert scores["mean"]["corruption_error"] is None


def test_all__tables_and_pictures(evaluated: Path) -> None:
    assert "| CameraCrash" in (evaluated / "robustness.md").read_text()
    for name in ("radar_vehicle_iou_all.png", "radar_vehicle_iou_visible.png", "corruptions.png"):
        with Image.open(evaluated / name) as image:
            assert min(image.size) > 300
    assert list(evaluated.glob("*_vehicle.png"))


def test_workers__do_not_change_a_digit(evaluated: Path, tuned: Path, folder: Path, tmp_path: Path) -> None:
    words = ["--corruptions", "Snow", "FrameLost", "LowLight", "--engine.workers", "2", "--batch-size", "1"]
    assert main(command(tuned, folder, tmp_path / "out", *words)) == 0
    found = read(tmp_path / "out")
    assert list(found["corrupted"]) == ["FrameLost", "LowLight", "Snow"]
    for name, severities in found["corrupted"].items():
        assert severities == read(evaluated)["corrupted"][name]


@pytest.mark.slow
def test_processes__do_not_change_a_digit(evaluated: Path, tuned: Path, folder: Path, tmp_path: Path) -> None:
    words = command(tuned, folder, tmp_path / "out", "--corruptions", "Snow", "FrameLost")
    printed = run_ranks([*words, "--engine.devices", "2"], tmp_path)
    assert printed.count("| Snow ") == 2  # a table for each of two metrics, from one process
    for name, severities in read(tmp_path / "out")["corrupted"].items():
        assert severities == read(evaluated)["corrupted"][name]


@pytest.fixture
def stopped(evaluated: Path, tmp_path: Path) -> Path:
    """What an evaluation leaves that is stopped while it snows; the finished metrics are marked."""
    out = tmp_path / "stopped"
    shutil.copytree(evaluated, out)
    (out / "robustness.md").unlink()
    found = read(out)
    del found["corrupted"]["Snow"]
    found["corrupted"]["Fog"]["easy"][METRIC] = 0.125
    (out / "robustness.json").write_text(json.dumps(found))
    return out


def test_stopped__goes_on_after_the_last_corruption(
    stopped: Path, evaluated: Path, tuned: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tuned, folder, stopped, "--corruptions", "all")) == 0
    found, whole = read(stopped), read(evaluated)
    assert found["corrupted"]["Fog"]["easy"][METRIC] == 0.125
    whole["corrupted"]["Fog"]["easy"][METRIC] = 0.125
    assert found["corrupted"] == whole["corrupted"]
    fog = found["scores"][METRIC]["by_corruption"]["Fog"]["iou"]
    assert fog == pytest.approx(sum(whole["corrupted"]["Fog"][one][METRIC] for one in SEVERITIES) / 3)
    assert "already evaluated under CameraCrash, FrameLost" in capsys.readouterr().err
    assert "| Snow" in (stopped / "robustness.md").read_text()
    assert main(command(tuned, folder, stopped, "--corruptions", "all")) == 2
    assert "is not empty" in capsys.readouterr().err


def test_stopped__results_of_another_network_are_kept(
    stopped: Path, tuned: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = read(stopped)
    found["clean"][METRIC] += 0.01
    (stopped / "robustness.json").write_text(json.dumps(found))
    assert main(command(tuned, folder, stopped, "--corruptions", "all", "--engine.seed", "7")) == 2
    said = capsys.readouterr().err
    assert "unfinished results of another evaluation" in said
    assert "  clean" in said
    assert "  seed" in said
    assert read(stopped) == found


def test_seed__changes_what_is_drawn(evaluated: Path, tuned: Path, folder: Path, tmp_path: Path) -> None:
    words = ["--corruptions", "FrameLost", "Brightness", "--engine.seed", "7"]
    assert main(command(tuned, folder, tmp_path / "out", *words)) == 0
    ours, theirs = read(tmp_path / "out")["corrupted"], read(evaluated)["corrupted"]
    assert ours["FrameLost"] != theirs["FrameLost"]
    assert ours["Brightness"] == theirs["Brightness"]
    assert not (tmp_path / "out" / "radar_vehicle_iou_all.png").exists()


def test_baseline__itself_has_an_error_of_one(
    evaluated: Path, tuned: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--corruptions", "Fog", "MotionBlur", "ColorQuant", "--baseline", str(evaluated)]
    words += ["--pictures", "0"]
    assert main(command(tuned, folder, tmp_path / "out", *words)) == 0
    scores = read(tmp_path / "out")["scores"][METRIC]
    assert scores["mean"]["corruption_error"] == pytest.approx(1)
    assert set(scores["by_kind"]) == {"weather", "blur", "quantisation"}
    said = capsys.readouterr().out
    assert f"CE against {evaluated}" in said
    assert not list((tmp_path / "out").glob("*_vehicle.png"))
    assert said.strip().splitlines()[-1] == str(tmp_path / "out" / "robustness.json")


def test_released__images_take_the_place_of_the_clean_ones(tuned: Path, folder: Path, tmp_path: Path) -> None:
    index = Index.open(DataConfig(root=folder))
    for severity in SEVERITIES:
        write_released(tmp_path / "nuScenes-C", index, "Fog", severity)
    result = occfeat.evaluate(
        tuned,
        data=folder,
        split="mini_val",
        out=tmp_path / "out",
        corruptions=("Fog",),
        corrupted_data=tmp_path / "nuScenes-C",
        engine={"workers": 0, "device": "cpu"},
    )
    found = read(tmp_path / "out")
    assert found["images"] == "released"
    easy, mid, hard = (found["corrupted"]["Fog"][severity] for severity in SEVERITIES)
    assert easy == mid == hard
    assert easy[METRIC] != found["clean"][METRIC]
    assert result.metrics[f"{METRIC}/Fog"] == pytest.approx(easy[METRIC])
    assert f"{METRIC}/mRR" in result.metrics


def test_training__with_corruptions_is_repeatable_and_another(flags: Flags, tmp_path: Path) -> None:
    weights = []
    corrupted = ["--augment.corruptions", "all", "--augment.corruption-probability", "0.9"]
    for name, more in (("plain", []), ("one", corrupted), ("two", [*corrupted, "--engine.workers", "2"])):
        words = ["--optim.epochs", "2", "--val-split", "None", "--pictures", "0"]
        assert main(flags("finetune", tmp_path / name, *words, *more)) == 0
        weights.append(load_file(tmp_path / name / "weights.safetensors"))
    plain, one, two = weights
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], plain[name]) for name in one)
    loss = "--loss.features"
    assert main(flags("pretrain", tmp_path / "pre", "--optim.epochs", "1", loss, "0", *corrupted)) == 0

"""Every command on a small data folder, as a user would type it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import occfeat
from occfeat.cli import main
from occfeat.data.dataset import Draw, KeyFrames
from occfeat.data.images import read_image
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Sample, collate
from occfeat.geometry.grid import build_grid
from occfeat.runs.card import read_card
from occfeat.settings.sections import DataConfig
from tests.support.nuscenes_folder import build_nuscenes_folder
from tests.support.small_runs import Flags


@pytest.fixture(scope="module")
def pretrained(flags: Flags, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "pre"
    augmented = ["--augment.bev-flip", "--augment.image-flip", "--augment.brightness", "0.2"]
    assert main(flags("pretrain", run, "--optim.epochs", "2", *augmented)) == 0
    return run


@pytest.fixture(scope="module")
def finetuned(flags: Flags, pretrained: Path) -> Path:
    run = pretrained.parent / "tuned"
    words = ["--start", str(pretrained), "--val-split", "mini_val", "--optim.epochs", "2", "--pictures", "2"]
    assert main(flags("finetune", run, *words, "--classes", "vehicle", "pedestrian")) == 0
    return run


def test_pretrain__leaves_a_complete_run_folder(pretrained: Path) -> None:
    names = {file.name for file in pretrained.iterdir()}
    wanted = {"settings.yaml", "environment.json", "log.txt", "metrics.jsonl", "checkpoints"}
    assert wanted | {"weights.safetensors", "model.json", "pictures"} <= names
    rows = [json.loads(line) for line in (pretrained / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    metrics = {"loss", "loss/occupancy", "loss/features", "occupancy_iou", "occupancy_recall", "cosine"}
    assert metrics | {"time/loading", "time/teaching", "time/learning"} <= set(rows[-1])
    assert sum(rows[-1][f"time/{stage}"] for stage in ("loading", "teaching", "learning")) == pytest.approx(1)


def test_pretrain__ships_the_student_without_its_head(pretrained: Path) -> None:
    names = load_file(pretrained / "weights.safetensors").keys()
    assert names
    assert all(name.startswith("student.") for name in names)


def test_pretrain__same_seed_same_weights(flags: Flags, pretrained: Path, tmp_path: Path) -> None:
    augmented = ["--augment.bev-flip", "--augment.image-flip", "--augment.brightness", "0.2"]
    assert main(flags("pretrain", tmp_path / "again", "--optim.epochs", "2", *augmented)) == 0
    first = load_file(pretrained / "weights.safetensors")
    second = load_file(tmp_path / "again" / "weights.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_pretrain__occupancy_only_needs_no_teacher(flags: Flags, tmp_path: Path) -> None:
    words = ["--loss.features", "0", "--teacher.weights", "/nowhere", "--engine.deterministic"]
    words += ["--optim.epochs", "1"]
    assert main(flags("pretrain", tmp_path / "run", *words)) == 0
    assert torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert "occupancy_iou" in last
    assert "cosine" not in last


def test_pretrain__unknown_voxels_are_left_out(flags: Flags, tmp_path: Path) -> None:
    words = ["--loss.unknown", "ignore", "--loss.features", "0", "--augment.bev-flip", "--optim.epochs", "1"]
    assert main(flags("pretrain", tmp_path / "run", *words)) == 0
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"known_occupancy_iou", "occupancy_recall", "known_share"} <= set(last)
    assert "occupancy_iou" not in last
    assert 0 < last["known_share"] < 1


def test_pretrain__img_also_needs_no_teacher_and_repeats_whatever_the_workers(
    flags: Flags, tmp_path: Path
) -> None:
    words = ["--loss.occupancy", "0", "--loss.features", "0", "--loss.queries", "1"]
    words += ["--queries.returns", "300", "--teacher.weights", "/nowhere", "--optim.epochs", "2"]
    assert main(flags("pretrain", tmp_path / "run", *words)) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"loss/queries", "query_iou"} <= set(rows[-1])
    assert not {"loss/occupancy", "occupancy_iou", "cosine"} & set(rows[-1])
    assert (tmp_path / "run" / "pictures" / "occupancy.png").stat().st_size > 1000
    first = load_file(tmp_path / "run" / "weights.safetensors")
    assert all(name.startswith("student.") for name in first)
    for out, more in (("same", ["--engine.workers", "1"]), ("other", ["--engine.seed", "1"])):
        assert main(flags("pretrain", tmp_path / out, *words, *more)) == 0
        second = load_file(tmp_path / out / "weights.safetensors")
        assert all(torch.equal(first[name], second[name]) for name in first) == (out == "same")
    tuned = ["--start", str(tmp_path / "run"), "--val-split", "None", "--optim.epochs", "1"]
    assert main(flags("finetune", tmp_path / "tuned", *tuned)) == 0


def test_pretrain__centered_features_leave_little_to_a_constant(flags: Flags, tmp_path: Path) -> None:
    words = ["--loss.center", "mean", "--optim.epochs", "1"]
    assert main(flags("pretrain", tmp_path / "run", *words)) == 0
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert "cosine" not in last
    assert abs(last["centered_cosine"]) < 0.5
    found = re.search(
        r"constant-prediction baseline has a mean cosine of (\S+)", (tmp_path / "run" / "log.txt").read_text()
    )
    assert found is not None
    assert 0.05 < float(found[1]) < 0.95


def test_settings__of_a_run_repeat_it_in_another_folder(
    flags: Flags, pretrained: Path, tmp_path: Path
) -> None:
    words = ["pretrain", "--config", str(pretrained / "settings.yaml"), "--out", str(tmp_path / "again")]
    assert main(words) == 0
    first = load_file(pretrained / "weights.safetensors")
    second = load_file(tmp_path / "again" / "weights.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_resume__from_another_folder_finds_the_files_of_the_run(
    flags: Flags, teacher_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(teacher_weights.parent)
    words = ["--teacher.weights", teacher_weights.name, "--optim.epochs", "1"]
    assert main(flags("pretrain", tmp_path / "run", *words)) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "--resume", "run"]) == 0


def test_resume__with_data_that_have_moved(
    flags: Flags, pretrained: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only `--data` may be given beside `--resume`; the tables must be the same."""
    run, moved, other = tmp_path / "run", tmp_path / "moved", tmp_path / "other"
    shutil.copytree(pretrained, run)
    shutil.copytree(folder, moved)
    settings = (run / "settings.yaml").read_text()
    (run / "settings.yaml").write_text(settings.replace(str(folder), str(tmp_path / "gone")))
    assert main(["pretrain", "--resume", str(run)]) == 2
    assert "`--data`" in capsys.readouterr().err
    assert main(["pretrain", "--resume", str(run), "--data", str(moved), "--optim.epochs", "3"]) == 2
    build_nuscenes_folder(other, boxes=3)
    assert main(["pretrain", "--resume", str(run), "--data", str(other)]) == 2
    assert "have changed" in capsys.readouterr().err
    assert main(["pretrain", "--resume", str(run), "--data", str(moved)]) == 0
    assert occfeat.pretrain(resume=run, data=moved).path == run


def test_resume__of_a_fine_tuning_whose_start_is_gone_goes_on_from_its_checkpoint(
    finetuned: Path, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finetuned, run)
    settings = (run / "settings.yaml").read_text()
    (run / "settings.yaml").write_text(settings.replace(str(pretrained), str(tmp_path / "gone")))
    assert main(["finetune", "--resume", str(run)]) == 0
    first, second = (load_file(one / "weights.safetensors") for one in (finetuned, run))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    (run / "checkpoints" / "last.pt").unlink()
    assert main(["finetune", "--resume", str(run)]) == 2
    assert f"{tmp_path / 'gone'} does not contain a finished model" in capsys.readouterr().err


def test_finetune__starts_from_the_pretrained_student(
    flags: Flags, pretrained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ["--start", str(pretrained), "--val-split", "None", "--freeze", "--optim.epochs", "1"]
    assert main(flags("finetune", tmp_path / "probe", *words)) == 0
    before = load_file(pretrained / "weights.safetensors")
    after = load_file(tmp_path / "probe" / "weights.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)  # frozen: unchanged
    count = len(before)
    assert f"student of {pretrained}: loaded {count}/{count} tensors" in caplog.text


def test_finetune__a_vision_transformer_by_low_rank_updates(
    flags: Flags, teacher_weights: Path, folder: Path, tmp_path: Path
) -> None:
    words = flags("finetune", tmp_path / "tuned", "--optim.epochs", "1", "--val-split", "mini_val")
    words[words.index("--student.backbone") + 1] = "test_vit"
    words[words.index("--student.backbone-weights") + 1] = str(teacher_weights)
    assert main([*words, "--student.lora-rank", "2"]) == 0
    names = load_file(tmp_path / "tuned" / "weights.safetensors").keys()
    assert "student.encoder.backbone.blocks.0.attn.qkv.parametrizations.weight.0.up" in names
    again = ["evaluate", str(tmp_path / "tuned"), "--data", str(folder), "--split", "mini_val"]
    assert main([*again, "--out", str(tmp_path / "results"), "--engine.workers", "0"]) == 0
    files = (tmp_path / "tuned" / "evaluation-mini_val", tmp_path / "results")
    first, second = (json.loads((file / "results.json").read_text())["metrics"] for file in files)
    assert first == second


def test_finetune__writes_tokens_results_and_pictures(finetuned: Path, folder: Path) -> None:
    assert len((finetuned / "label_tokens.txt").read_text().split()) == 3
    results = json.loads((finetuned / "evaluation-mini_val" / "results.json").read_text())
    assert results["key_frames"] == 3
    expected = {f"{name}_iou/{p}" for name in ("vehicle", "pedestrian") for p in ("all", "visible")}
    assert set(results["metrics"]) == expected
    index = Index.open(DataConfig(root=folder))
    first, _, last = (f"{index.token(row)}_vehicle.png" for row in index.rows("mini_val"))
    assert {file.name for file in (finetuned / "pictures").glob("*_vehicle.png")} == {first, last}


def test_evaluate__repeats_the_metrics_of_the_fine_tuning(
    finetuned: Path, folder: Path, tmp_path: Path
) -> None:
    words = ["evaluate", str(finetuned), "--data", str(folder), "--split", "mini_val"]
    assert main([*words, "--out", str(tmp_path / "results"), "--engine.workers", "0"]) == 0
    ours = json.loads((tmp_path / "results" / "results.json").read_text())
    theirs = json.loads((finetuned / "evaluation-mini_val" / "results.json").read_text())
    assert ours["metrics"] == theirs["metrics"]


def test_predict__key_frames_of_a_data_set(finetuned: Path, folder: Path, tmp_path: Path) -> None:
    words = ["predict", str(finetuned), "--data", str(folder), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    arrays = sorted((tmp_path / "out").glob("*_vehicle.npy"))
    assert len(arrays) == 6
    probability = np.load(arrays[0], allow_pickle=False)
    assert probability.shape == (32, 32)
    assert 0 <= probability.min() <= probability.max() <= 1


def test_predict__own_images_of_any_size_and_number(finetuned: Path, tmp_path: Path) -> None:
    for number, size in enumerate([(100, 60), (80, 48), (64, 64)]):
        Image.new("RGB", size, (30 * number, 90, 120)).save(tmp_path / f"{number}.png")
    camera = {
        "intrinsics": [[50, 0, 40], [0, 50, 30], [0, 0, 1]],
        "ego_from_camera": [[0, 0, 1, 1.5], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]],
    }
    cameras = [{"image": f"{number}.png", **camera} for number in range(3)]
    (tmp_path / "rig.json").write_text(json.dumps({"cameras": cameras}))
    words = ["predict", str(finetuned), "--rig", str(tmp_path / "rig.json")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    written = np.load(tmp_path / "out" / "rig_vehicle.npy", allow_pickle=False)
    model = occfeat.load_model(finetuned)
    images = [read_image(tmp_path / f"{number}.png") for number in range(3)]
    matrices = [torch.tensor([camera[name]] * 3) for name in ("intrinsics", "ego_from_camera")]
    predicted = model.predict(images, *[matrix.float() for matrix in matrices])
    assert np.allclose(predicted["vehicle"].numpy(), written, atol=1e-6)
    assert (tmp_path / "out" / "rig_pedestrian.png").stat().st_size > 1000


def test_predict__data_and_own_images_agree(finetuned: Path, folder: Path) -> None:
    index = Index.open(DataConfig(root=folder))
    key_frame = index.key_frame(0)
    model = occfeat.load_model(finetuned)
    predicted = model.predict(
        [read_image(folder / camera.path) for camera in key_frame.cameras],
        torch.stack([camera.intrinsics for camera in key_frame.cameras]),
        torch.stack([camera.lidar_ego_from_camera for camera in key_frame.cameras]),
    )
    card = read_card(finetuned)
    sample = KeyFrames(index, card.view, Contents(), grid=build_grid(card.grid)).read(Draw(0, 0))
    assert isinstance(sample, Sample)
    batch = collate([sample])
    with torch.inference_mode():
        expected = model(batch.images, batch.cameras)[0]
    assert list(predicted) == list(model.classes)
    assert torch.allclose(torch.stack(list(predicted.values())), expected, atol=1e-5)


@pytest.mark.parametrize("calibration", [True, False])
def test_view__draws_a_key_frame(folder: Path, tmp_path: Path, calibration: bool) -> None:
    words = ["view", "--data", str(folder), "--out", str(tmp_path / "view.png")]
    assert main(words + ["--calibration"] * calibration) == 0
    with Image.open(tmp_path / "view.png") as picture:
        assert picture.size[0] > 800


def test_check_and_index__are_content_with_a_whole_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(folder), "--decode"]) == 0
    assert main(["index", str(folder)]) == 0
    assert "6 key frames" in capsys.readouterr().out


def test_doctor__names_versions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert f"torch {torch.__version__.split('+')[0]}" in capsys.readouterr().out


@pytest.mark.parametrize("student", [("lss", "--loss.depth", "0.1"), ("bevformer", "--student.layers", "1")])
def test_students__are_pretrained_fine_tuned_and_loaded(
    flags: Flags, tmp_path: Path, folder: Path, student: tuple[str, ...]
) -> None:
    kind, *words = student
    run, tuned = tmp_path / "pre", tmp_path / "tuned"
    words += ["--optim.epochs", "1", "--loss.features", "0"]
    assert main(flags("pretrain", run, "--student.kind", kind, *words)) == 0
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert ("loss/depth" in last) == (kind == "lss")
    words = ["--start", str(run), "--val-split", "mini_val", "--optim.epochs", "1"]
    assert main(flags("finetune", tuned, *words)) == 0
    assert read_card(tuned).student == read_card(run).student
    words = ["predict", str(tuned), "--data", str(folder), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert len(list((tmp_path / "out").glob("*_vehicle.npy"))) == 6


def test_python_api__runs_the_same_commands(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    grid = {"lower_m": (-16, -16, -1), "upper_m": (16, 16, 3), "cell_m": (1, 1, 1)}
    student = {
        "backbone": "test_efficientnet",
        "backbone_weights": "none",
        "freeze_stem": False,
        "image_channels": 8,
        "bev_channels": 8,
    }
    run = occfeat.pretrain(
        data=folder,
        out=tmp_path / "pre",
        split="mini_train",
        recipe="cpu-small",
        view={"image_size": (48, 80)},
        grid=grid,
        student=student,
        loss={"features": 0},
        optim={"epochs": 1, "batch_size": 3},
        engine={"workers": 0},
    )
    assert run.weights.is_file()
    few: dict[str, Any] = {
        "data": folder,
        "start": run.weights,
        "split": "mini_train",
        "engine": {"workers": 0},
    }
    optim: dict[str, Any] = {"epochs": 1, "batch_size": 3}
    tuned = occfeat.finetune(out=tmp_path / "tuned", val_split="mini_val", optim=optim, **few)
    assert "at the default rate, 0.0003 for 1 epochs. Name the recipe" in caplog.text
    caplog.clear()
    occfeat.finetune(out=tmp_path / "named", recipe="cpu-small", val_split=None, optim=optim, **few)
    rate = {**optim, "learning_rate": 1e-3}
    occfeat.finetune(out=tmp_path / "rated", val_split=None, optim=rate, **few)
    assert "default rate" not in caplog.text
    assert 0 <= tuned.metrics["vehicle_iou/visible"] <= 1
    assert len(occfeat.open_dataset(folder)) == 6

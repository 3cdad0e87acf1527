"""What a user can get wrong on the command line: exit code 2, a few plain lines, nothing overwritten."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from occfeat.cli import main
from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig
from tests.bad_input.conftest import Refused
from tests.support.nuscenes_folder import build_nuscenes_folder
from tests.support.small_runs import Flags


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (["--optim.epoch", "3"], "--optim.epochs"),
        (["--optim.lr", "3"], "--optim.lr: did you mean --optim.learning-rate?"),
        (["--lr=3"], "--lr=3: did you mean --optim.learning-rate?"),
        (["--rceipe", "cpu-small"], "--rceipe: did you mean --recipe?"),
        (["--confg", "my.yaml"], "--confg: did you mean --config?"),
        (["--optim.epochs", "0"], "--optim.epochs: Input should be greater than or equal to 1 (got 0)"),
        (["--engine.workers", "-1"], "--engine.workers: Input should be greater than or equal to 0"),
        (["--view.image-size", "0", "5"], "--view.image-size: Input"),
        (["--student.image-channels", "0"], "--student.image-channels: Input"),
        (["--optim.epochs", "many"], "many"),
        (["--optim.learning-rate", "-1"], "greater than 0"),
        (["--loss.occupancy", "0", "--loss.features", "0"], "nothing to learn"),
        (["--student.freeze-stem"], "random weights"),
        (["--student.kind", "simplebef"], "simplebev-published (got 'simplebef'; did you mean simplebev?)"),
        (["--student.kind", "own"], "this student is own"),
        (["--student.depth-bins", "3"], "setting of lss, but this student is simplebev"),
        (["--student.kind=lss", "--student.layers=3"], "setting of bevformer, but this student is lss"),
        (["--student.kind", "bevformer", "--student.bev-channels", "12"], "multiple of 8 heads"),
        (["--student.kind", "bevformer", "--loss.depth", "1"], "expects the student lss"),
        (["--teacher-cache", "/nowhere"], "/nowhere is not a teacher cache"),
        (["--augment.scale", "2", "1"], "smaller one first"),
        (["--optim.batch-size", "3", "--optim.micro-batch-size", "2"], "a multiple of micro_batch_size 2"),
        (["--recipe", "papre"], "There is no recipe 'papre'"),
        (["--recipe", "cpu-smal"], "Did you mean cpu-small?"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml does not exist"),
        (["--config", "/"], "The settings file / cannot be read: Is a directory"),
        (["--split", "trian"], "Split 'trian'"),
        (["--version", "v9"], "v9"),
        (["--view.cameras", "CAM_TOP"], "CAM_TOP"),
        (["--teacher.image-size", "65", "96"], "64 x 96"),
        (["--teacher.name", "vit_tiny_patch17"], "vit_tiny_patch17"),
        (["--teacher.weights", "/nowhere.pth"], "/nowhere.pth"),
        (["--teacher.name", "packaged"], "Set teacher.name to vit_small_patch14_dinov2 to load a file"),
        (["--student.backbone", "efficientnet_b00"], "efficientnet_b0"),
        (["--grid.cell-m", "0.3", "1", "1"], "whole number"),
        (["--grid.lower-m", "20", "-16", "-1"], "lower bound"),
        (["--grid.cell-m", "0.0001", "0.0001", "0.0001"], "cells"),
        (["--grid.cell-m", "nan", "1", "1"], "finite"),
        (["--engine.device", "tpu"], "tpu"),
    ],
)
def test_settings__that_make_no_sense_are_named(
    flags: Flags, tmp_path: Path, refused: Refused, flag: list[str], said: str
) -> None:
    printed = refused(flags("pretrain", tmp_path / "run", *flag))
    assert said in printed
    assert "pydantic" not in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fraction", ["0", "2", "-0.1", "nan"])
def test_label_fraction__out_of_range_is_refused(
    flags: Flags, tmp_path: Path, refused: Refused, fraction: str
) -> None:
    assert "--label-fraction" in refused(flags("finetune", tmp_path / "run", "--label-fraction", fraction))


def test_label_fraction__in_percent_is_told_as_a_share(
    flags: Flags, tmp_path: Path, refused: Refused
) -> None:
    assert "10 % is 0.1" in refused(flags("finetune", tmp_path / "run", "--label-fraction", "10"))


def test_label_fraction__that_draws_nothing_is_refused(
    flags: Flags, tmp_path: Path, refused: Refused
) -> None:
    words = ["--label-fraction", "0.01", "--label-seed", "7", "--val-split", "None"]
    assert "label" in refused(flags("finetune", tmp_path / "run", *words)).lower()


def test_unknown_setting_in_a_file__is_named_with_what_was_meant(
    flags: Flags, tmp_path: Path, refused: Refused
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("optim: {learning_rat: 0.1}\n")
    said = refused(flags("pretrain", tmp_path / "run", "--config", str(file)))
    assert "Unknown setting: optim.learning_rat (did you mean learning_rate?)" in said
    file.write_text("optim: {lr: 0.1}\n")
    said = refused(flags("pretrain", tmp_path / "run", "--config", str(file)))
    assert "Unknown setting: optim.lr (did you mean optim.learning_rate?)" in said
    file.write_text("optimm: {}\n")
    said = refused(flags("pretrain", tmp_path / "run", "--config", str(file)))
    assert "Unknown setting: optimm (did you mean optim?)" in said
    file.write_text("epochs: 3\nlayers: 2\n")
    said = refused(flags("pretrain", tmp_path / "run", "--config", str(file)))
    assert "Unknown setting: epochs (did you mean optim.epochs?)" in said
    assert "Unknown setting: layers (did you mean student.layers?)" in said
    assert "Missing" not in said  # the flags have them


def test_resume__refuses_other_settings_and_other_folders(tmp_path: Path, refused: Refused) -> None:
    words = ["--optim.epochs", "3", "--recipe", "cpu-small"]
    said = refused(["pretrain", "--resume", str(tmp_path / "run"), *words, "--config", "mine.yaml"])
    assert "cannot take --recipe cpu-small --config mine.yaml --optim.epochs 3" in said
    for words in (["--recipe", "cpu-small"], ["--config", "mine.yaml"]):
        assert f"cannot take {' '.join(words)}" in refused(["finetune", "--resume", str(tmp_path), *words])
    assert "not a run folder" in refused(["pretrain", "--resume", str(tmp_path)])


def test_resume__a_run_of_another_command_is_named(
    flags: Flags, pretrained: Path, tmp_path: Path, refused: Refused
) -> None:
    said = refused(["finetune", "--resume", str(pretrained)])
    assert "is a pretraining run" in said
    assert f"occfeat pretrain --resume {pretrained}" in said
    assert "--resume" not in refused(flags("finetune", pretrained))
    assert f"occfeat pretrain --resume {pretrained}" in refused(flags("pretrain", pretrained))


def test_resume__damaged_settings_are_told_plainly(
    pretrained: Path, tmp_path: Path, refused: Refused
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(pretrained, damaged)
    settings = (damaged / "settings.yaml").read_text().replace("epochs: 1", "epochs: -1")
    (damaged / "settings.yaml").write_text(settings)
    said = refused(["pretrain", "--resume", str(damaged)])
    assert "  optim.epochs: Input should be greater than or equal to 1 (got -1)" in said
    assert "pydantic" not in said


def test_resume__of_a_finished_run_says_so(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(pretrained, run)
    assert main(["pretrain", "--resume", str(run)]) == 0
    assert f"The training of {run} is finished" in capsys.readouterr().err


def test_start__of_another_architecture_is_refused(
    flags: Flags, pretrained: Path, tmp_path: Path, refused: Refused
) -> None:
    words = ["--start", str(pretrained), "--student.bev-channels", "16"]
    said = refused(flags("finetune", tmp_path / "run", *words))
    assert "student.bev_channels: the run has 8, these settings 16" in said
    assert not (tmp_path / "run").exists()


def test_start__with_weights_of_other_shapes_names_the_tensors(
    flags: Flags, pretrained: Path, tmp_path: Path, refused: Refused
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(pretrained, changed)
    card = json.loads((changed / "model.json").read_text())
    card["student"]["bev_channels"] = 16
    (changed / "model.json").write_text(json.dumps(card))
    words = ["--start", str(changed), "--student.bev-channels", "16"]
    assert "compress.0.weight" in refused(flags("finetune", tmp_path / "run", *words))


@pytest.mark.parametrize("content", [b"", b"\xff\xff\xff\xff\xff\xff\xff\xff{}", b"not safetensors at all"])
def test_start__with_damaged_weights_is_refused(
    flags: Flags, pretrained: Path, tmp_path: Path, refused: Refused, content: bytes
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(pretrained, damaged)
    (damaged / "weights.safetensors").write_bytes(content)
    said = refused(flags("finetune", tmp_path / "run", "--start", str(damaged)))
    assert "weights.safetensors" in said


def test_start__that_is_no_run_is_refused(flags: Flags, tmp_path: Path, refused: Refused) -> None:
    assert "model.json is missing" in refused(flags("finetune", tmp_path / "run", "--start", str(tmp_path)))


def test_run__that_was_stopped_is_told_how_to_go_on(
    flags: Flags, pretrained: Path, folder: Path, tmp_path: Path, refused: Refused
) -> None:
    stopped = tmp_path / "stopped"
    shutil.copytree(pretrained, stopped)
    (stopped / "model.json").unlink()
    for words in (
        flags("finetune", tmp_path / "run", "--start", str(stopped)),
        ["evaluate", str(stopped), "--data", str(folder)],
        ["analyse", str(stopped), "--data", str(folder)],
        ["predict", str(stopped), "--data", str(folder), "--out", str(tmp_path / "out")],
    ):
        said = refused(words)
        assert f"The run {stopped} has not finished" in said
        assert f"occfeat pretrain --resume {stopped}" in said


def test_start__with_a_checkpoint_names_its_run(
    flags: Flags, pretrained: Path, tmp_path: Path, refused: Refused
) -> None:
    checkpoint = pretrained / "checkpoints" / "last.pt"
    said = refused(flags("finetune", tmp_path / "run", "--start", str(checkpoint)))
    assert f"Give the run folder, {pretrained}." in said


def test_pretraining_run__cannot_evaluate_or_predict(
    pretrained: Path, folder: Path, tmp_path: Path, refused: Refused
) -> None:
    data = ["--data", str(folder)]
    assert "got the pretraining run" in refused(["evaluate", str(pretrained), *data, "--split", "mini_val"])
    said = refused(["predict", str(pretrained), *data, "--out", str(tmp_path / "out")])
    assert "occfeat finetune --start" in said


def test_predict__settings_are_looked_at_before_the_run(tmp_path: Path, refused: Refused) -> None:
    words = ["predict", str(tmp_path / "no-run"), "--out", str(tmp_path / "out")]
    assert "Expected either --rig or --data, got neither." in refused(words)
    assert "Expected either --rig or --data, got both." in refused(
        [*words, "--rig", "rig.json", "--data", "/nowhere"]
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_device__that_is_not_there(pretrained: Path, folder: Path, tmp_path: Path, refused: Refused) -> None:
    words = ["--data", str(folder), "--out", str(tmp_path / "out"), "--device", "cuda"]
    said = refused(["predict", str(pretrained), *words])
    assert "no usable cuda device" in said
    assert "--engine" not in said  # predict has no such flag


def test_val_split__that_is_not_there_is_told_the_flag(
    flags: Flags, tmp_path: Path, refused: Refused
) -> None:
    said = refused(flags("finetune", tmp_path / "run", "--val-split", "vall"))
    assert "Split 'vall' has no key frames" in said
    assert "--val-split NAME" in said
    assert "--val-split None" in said


@pytest.mark.parametrize("name", ["foo.xyz", "foo.gif", "foo"])
def test_view__writes_pictures_and_recordings_alone(
    folder: Path, tmp_path: Path, refused: Refused, name: str
) -> None:
    assert "ends in .png" in refused(["view", str(folder), "--out", str(tmp_path / name)])
    assert not (tmp_path / name).exists()


def test_export__writes_onnx_files_alone(pretrained: Path, tmp_path: Path, refused: Refused) -> None:
    said = refused(["export", str(pretrained), "--out", str(tmp_path / "model.txt")])
    assert f"Expected an --out that ends in .onnx, got {tmp_path / 'model.txt'}." in said


def test_view__unknown_key_frame_is_told_some_that_are_there(
    folder: Path, tmp_path: Path, refused: Refused
) -> None:
    said = refused(["view", str(folder), "--token", "abc", "--out", str(tmp_path / "a.png")])
    assert "There is no key frame 'abc'" in said
    assert Index.open(DataConfig(root=folder)).token(0) in said
    assert "sample.json" in said


def test_view__key_frame_that_cannot_be_read(
    tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = build_nuscenes_folder(tmp_path / "set")
    cameras = (folder / "samples").glob("CAM_*")
    images = [min(camera.iterdir()) for camera in cameras]  # of the first key frame
    images[0].write_bytes(images[0].read_bytes()[:100])
    assert main(["view", str(folder), "--out", str(tmp_path / "a.png")]) == 0
    assert f"Left out: Image {images[0]} cannot be decoded" in capsys.readouterr().out
    for image in images[1:]:
        image.write_bytes(image.read_bytes()[:100])
    said = refused(["view", str(folder), "--out", str(tmp_path / "b.png")])
    assert "No image can be used" in said
    assert "`occfeat check` lists all broken ones" in said


def test_unknown_command__lists_the_commands(refused: Refused) -> None:
    assert "Did you mean pretrain? Commands: check, index, import, cache, pretrain" in refused(["pretrian"])

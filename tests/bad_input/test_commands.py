"""What a user can get wrong on the command line: exit code 2, a few plain lines, nothing overwritten."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from occfeat.cli import main
from occfeat.commands.predict import read_rig_file
from occfeat.errors import SettingsError
from tests.small_runs import Flags

Refused = Callable[[list[str]], str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Run a command that must end with exit code 2, and give what it printed."""

    def run(words: list[str]) -> str:
        try:
            code: object = main(words)
        except SystemExit as stop:  # raised by the parser of flags
            code = stop.code
        printed = capsys.readouterr()
        assert code == 2, printed
        assert "Traceback" not in printed.err
        return printed.err + printed.out

    return run


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (["--optim.epoch", "3"], "--optim.epochs"),
        (["--optim.epochs", "0"], "greater than or equal to 1"),
        (["--optim.epochs", "many"], "many"),
        (["--optim.learning-rate", "-1"], "greater than 0"),
        (["--loss.occupancy", "0", "--loss.features", "0"], "nothing to learn"),
        (["--student.freeze-stem"], "random weights"),
        (["--student.kind", "simplebef"], "the kinds are simplebev, bevformer, lss"),
        (["--student.kind", "own"], "this student is own"),
        (["--student.depth-bins", "3"], "setting of lss, but this student is simplebev"),
        (["--student.kind=lss", "--student.layers=3"], "setting of bevformer, but this student is lss"),
        (["--student.kind", "bevformer", "--student.bev-channels", "12"], "multiple of the 8 heads"),
        (["--student.kind", "bevformer", "--loss.depth", "1"], "for the student lss"),
        (["--teacher-cache", "/nowhere"], "/nowhere is no teacher cache"),
        (["--augment.scale", "2", "1"], "smaller one first"),
        (["--optim.batch-size", "3", "--optim.micro-batch-size", "2"], "not a multiple of 2"),
        (["--recipe", "papre"], "There is no recipe 'papre'"),
        (["--config", "/nowhere.yaml"], "/nowhere.yaml cannot be read"),
        (["--split", "trian"], "Split 'trian'"),
        (["--version", "v9"], "v9"),
        (["--view.cameras", "CAM_TOP"], "CAM_TOP"),
        (["--teacher.image-size", "65", "96"], "64 x 96"),
        (["--teacher.name", "vit_tiny_patch17"], "vit_tiny_patch17"),
        (["--teacher.weights", "/nowhere.pth"], "/nowhere.pth"),
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
    assert said in refused(flags("pretrain", tmp_path / "run", *flag))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fraction", ["0", "2", "-0.1", "nan"])
def test_label_fraction__out_of_range_is_refused(
    flags: Flags, tmp_path: Path, refused: Refused, fraction: str
) -> None:
    assert "label_fraction" in refused(flags("finetune", tmp_path / "run", "--label-fraction", fraction))


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
    file.write_text("optimm: {}\n")
    said = refused(flags("pretrain", tmp_path / "run", "--config", str(file)))
    assert "Unknown setting: optimm (did you mean optim?)" in said


def test_output_folder_in_use__is_left_alone(flags: Flags, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    said = refused(flags("pretrain", tmp_path / "run"))
    assert "is not empty" in said
    assert "--resume" in said
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_output_folder_that_is_a_file__is_refused(flags: Flags, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "run").write_text("")
    assert "is a file" in refused(flags("pretrain", tmp_path / "run"))


def test_resume__refuses_other_settings_and_other_folders(tmp_path: Path, refused: Refused) -> None:
    said = refused(["pretrain", "--resume", str(tmp_path / "run"), "--optim.epochs", "3"])
    assert "--optim.epochs 3 cannot be changed" in said
    assert "not a run folder" in refused(["pretrain", "--resume", str(tmp_path)])


@pytest.fixture(scope="module")
def pretrained(flags: Flags, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "pre"
    assert main(flags("pretrain", run, "--optim.epochs", "1", "--loss.features", "0")) == 0
    return run


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


def test_pretraining_run__cannot_evaluate_or_predict(
    pretrained: Path, folder: Path, tmp_path: Path, refused: Refused
) -> None:
    data = ["--data", str(folder)]
    assert "cannot segment yet" in refused(["evaluate", str(pretrained), *data, "--split", "mini_val"])
    said = refused(["predict", str(pretrained), *data, "--out", str(tmp_path / "out")])
    assert "occfeat finetune --start" in said


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"cameras": []}', '{"cameras": [{"image": "x.jpg"}]}'])
def test_rig_file__that_makes_no_sense_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "rig.json").write_text(content)
    with pytest.raises(SettingsError, match=r"rig\.json cannot be used"):
        read_rig_file(tmp_path / "rig.json")


def test_full_disk__is_a_clear_error_and_keeps_the_last_checkpoint(
    flags: Flags, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save
    saved = []

    def full_after_two(state: object, path: Path) -> None:
        if len(saved) == 2:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save(state, path)
        saved.append(path)

    monkeypatch.setattr(torch, "save", full_after_two)
    run = tmp_path / "run"
    words = ["--engine.checkpoint-minutes", "0", "--optim.epochs", "4", "--loss.features", "0"]
    said = refused(flags("pretrain", run, *words))
    assert "No space left on device" in said
    assert "--resume" in said
    assert [file.name for file in (run / "checkpoints").iterdir()] == ["last.pt"]
    monkeypatch.undo()
    assert main(["pretrain", "--resume", str(run)]) == 0


def test_no_rights__is_a_clear_error(flags: Flags, refused: Refused) -> None:
    assert "/proc/occfeat" in refused(flags("pretrain", Path("/proc/occfeat/run")))


def test_unknown_command__lists_the_commands(refused: Refused) -> None:
    assert "Commands: check, index, cache, pretrain" in refused(["pretrian"])

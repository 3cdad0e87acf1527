"""Folders that cannot be written, full disks, and what must not claim a folder."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from occfeat.cli import main
from occfeat.machine.atomic import LOCK
from tests.bad_input.conftest import Refused
from tests.support.small_runs import Flags


def test_output_folder_in_use__is_left_alone(flags: Flags, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("precious")
    said = refused(flags("pretrain", tmp_path / "run"))
    assert "is not empty" in said
    assert "--resume" not in said  # there is no run in it
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_output_folder_that_is_a_file__is_refused(flags: Flags, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "run").write_text("")
    assert "is a file" in refused(flags("pretrain", tmp_path / "run"))


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


@pytest.mark.parametrize(
    ("out", "said"), [("file/out", "file is a file, not a folder"), ("o" * 300, "File name too long")]
)
@pytest.mark.parametrize(
    "command",
    ["pretrain", "finetune", "cache", "evaluate", "evaluate under fog", "predict", "analyse", "convert"],
)
def test_out__that_cannot_be_made_is_said_before_anything_is_loaded(
    command: str, out: str, said: str, flags: Flags, pretrained: Path, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "file").write_text("")
    data = flags("pretrain", tmp_path)[2]
    words = {
        "pretrain": flags("pretrain", tmp_path / out, "--teacher.weights", "/nowhere"),
        "finetune": flags("finetune", tmp_path / out),
        "cache": ["cache", "--data", data, "--split", "mini_train", "--teacher.weights", "/nowhere"],
        "evaluate": ["evaluate", str(pretrained), "--data", "/nowhere"],
        "evaluate under fog": ["evaluate", str(pretrained), "--data", "/nowhere", "--corruptions", "Fog"],
        "predict": ["predict", str(pretrained), "--data", "/nowhere"],
        "analyse": ["analyse", str(pretrained), "--data", "/nowhere"],
        "convert": ["convert", "/nowhere"],
    }
    assert said in refused([*words[command], "--out", str(tmp_path / out)])


@pytest.fixture
def not_writable(pretrained: Path, tmp_path: Path) -> Iterator[Path]:
    """Somebody else's run."""
    run = Path(shutil.copytree(pretrained, tmp_path / "theirs"))
    (run / LOCK).unlink()
    run.chmod(0o555)
    yield run
    run.chmod(0o755)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_rights__is_said(
    not_writable: Path, flags: Flags, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, data = str(not_writable), flags("pretrain", not_writable)[2]
    for words in (["analyse"], ["evaluate"], ["evaluate", "--corruptions", "Fog"]):
        said = refused([*words[:1], run, "--data", "/nowhere", *words[1:]])
        assert f"{run} cannot be written" in said
    assert f"{run} cannot be written" in refused(["predict", run, "--data", data, "--out", f"{run}/out"])
    assert f"{run} cannot be written" in refused(["pretrain", "--resume", run])


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_batch__that_cannot_be_split_over_devices_claims_no_folder(
    command: str, flags: Flags, tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = SimpleNamespace(world_size=2, is_global_zero=True)
    monkeypatch.setattr("occfeat.commands.training.training.build_fabric", lambda _: two)
    said = refused(flags(command, tmp_path / "run", "--optim.batch-size", "3", "--engine.devices", "2"))
    assert "cannot be split evenly over 2 device(s)" in said
    assert not (tmp_path / "run").exists()

"""A run that is killed and resumed ends exactly like one that is not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from occfeat.cli import main
from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig
from tests.end_to_end.forks import Command, wait_for_rows
from tests.support.small_runs import Flags

STEPS = ("--optim.epochs", "8", "--augment.bev-flip", "--augment.brightness", "0.2", "--loss.queries", "1")
"""Twelve steps, in which all that is random is drawn: order, augmentation, query points."""


@pytest.fixture(scope="module")
def whole(flags: Flags, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    run = tmp_path_factory.mktemp("whole") / "run"
    assert main(flags("pretrain", run, *STEPS)) == 0
    return load_file(run / "weights.safetensors")


def _rows(run: Path) -> int:
    file = run / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


@pytest.mark.slow
def test_kill_and_resume__ends_bit_for_bit_the_same(
    flags: Flags, whole: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    run, printed = tmp_path / "run", tmp_path / "printed.txt"
    resume = ["pretrain", "--resume", str(run)]
    for rows, words in (
        (3, flags("pretrain", run, *STEPS, "--engine.checkpoint-minutes", "0")),
        (8, resume),
    ):
        command = Command(words, printed)
        wait_for_rows(run, rows, [command])
        os.killpg(command.pid, signal.SIGKILL)
        assert command.wait() == -signal.SIGKILL, command.printed
    command = Command(resume, printed)
    assert command.wait() == 0, command.printed
    assert "resuming after step" in command.printed
    resumed = load_file(run / "weights.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert _rows(run) == 12


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop__saves_and_says_how_to_go_on(
    flags: Flags, whole: dict[str, torch.Tensor], tmp_path: Path, number: signal.Signals
) -> None:
    """A program of its own is stopped, no fork of this one: its interpreter shuts down, too.

    The signal reaches the loading process as well, as a terminal's Ctrl-C and a job scheduler's SIGTERM do.
    """
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "occfeat", *flags("pretrain", run, *STEPS, "--engine.workers", "1")],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240
    while _rows(run) < 2 and process.poll() is None:
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.005)
    os.killpg(process.pid, number)
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 130, output
    assert f"Go on with: occfeat pretrain --resume {run}" in output
    assert "Traceback" not in output
    assert main(["pretrain", "--resume", str(run)]) == 0
    resumed = load_file(run / "weights.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize("allowed", [0, 1])
def test_image_that_turns_bad__stops_the_run_or_is_counted(
    flags: Flags, folder: Path, whole: dict[str, torch.Tensor], tmp_path: Path, allowed: int
) -> None:
    data, run = Path(shutil.copytree(folder, tmp_path / "data")), tmp_path / "run"
    image = data / Index.open(DataConfig(root=data)).key_frame(0).cameras[0].path
    content = image.read_bytes()
    often = ["--engine.checkpoint-minutes", "0", "--engine.max-incomplete", str(allowed)]
    command = Command(flags("pretrain", run, *STEPS, *often, "--data", str(data)), tmp_path / "printed.txt")
    wait_for_rows(run, 2, [command])
    image.write_bytes(content[: len(content) // 2])
    assert command.wait() == (0 if allowed else 2), command.printed
    assert image.name in command.printed
    if allowed:
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(1, 13))
        assert rows[-1]["incomplete_key_frames"] == 1 == command.printed.count("A camera is left out")
        return
    image.write_bytes(content)
    assert main(["pretrain", "--resume", str(run)]) == 0
    resumed = load_file(run / "weights.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)

"""The command line answers at once, and every command and setting is documented."""

import errno
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import occfeat
from occfeat import api, cli
from occfeat.cli import main
from occfeat.commands.outcome import Outcome, RunOutcome
from occfeat.commands.table import COMMANDS
from occfeat.runs.card import ModelCard
from occfeat.settings.commands import FinetuneConfig
from occfeat.settings.sections import GridConfig, ViewConfig
from occfeat.settings.students import SimpleBevConfig

WORDS = ["--help", "--version", *(f"{name} --help" for name in COMMANDS)]


@pytest.mark.parametrize("words", WORDS)
def test_help__needs_no_torch_and_little_time(words: str) -> None:
    program = (
        "import resource, sys; from occfeat.cli import main\n"
        f"try: code = main({words.split()})\n"
        "except SystemExit as stop: code = stop.code\n"
        "usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print('torch' in sys.modules, usage.ru_utime + usage.ru_stime, code, file=sys.stderr)"
    )
    for _ in range(5):  # the best counts: a program beside it costs a fifth and more
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        torch_imported, processor_s, code = done.stderr.split()
        assert torch_imported == "False"
        assert code == "0"
        assert len(done.stdout) > 10
        if float(processor_s) < 1:
            return
    pytest.fail(f"{processor_s} s of a core, where one second is the limit")


def test_overview__names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in printed
        assert command.summary in printed


@pytest.mark.parametrize("name", COMMANDS)
def test_settings__all_have_help(name: str) -> None:
    def undocumented(fields: dict[str, object], prefix: str) -> list[str]:
        missing = []
        for field, info in fields.items():
            inner = getattr(getattr(info, "annotation", None), "model_fields", None)
            if inner:
                missing += undocumented(inner, f"{prefix}{field}.")
            elif not getattr(info, "description", None):
                missing.append(prefix + field)
        return missing

    assert undocumented(dict(COMMANDS[name].settings.model_fields), "") == []


@pytest.mark.parametrize(
    "size", [["--image-size", "8", "12"], ["--image-size", "8x12"], ["--image-size=8x12"]]
)
def test_image_size__may_be_one_word(
    size: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["world", "--out", str(tmp_path / "8x12"), *size]) == 2
    assert "would be 8 x 12 px" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    ["check", "view --out a.rrd", "cache --out a", "analyse --run r", "predict --run r --out a", "report r"],
)
def test_second_data_set__is_refused_where_one_is_taken(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "--data", "one", "two"]) == 2
    said = capsys.readouterr().err
    assert f"`occfeat {words.split()[0]}` takes one data set, got 2." in said
    assert "  one\n  two\n" in said
    assert "Choose one with --data." in said


def test_debug__shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "/nowhere", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
    assert main(["check", "/nowhere"]) == 2
    plain = capsys.readouterr().err
    assert "Traceback" not in plain
    assert "/nowhere" in plain


def test_bug__is_exit_code_1_with_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr("occfeat.commands.doctor.doctor.doctor", broken)
    assert main(["doctor"]) == 1
    assert "please report it" in capsys.readouterr().err


def test_broken_pipe__is_a_matter_of_what_is_printed_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    def broken(_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("occfeat.commands.doctor.doctor.doctor", broken)
    assert main(["doctor"]) == 1
    assert "please report it" in capsys.readouterr().err
    monkeypatch.setattr("occfeat.commands.doctor.doctor.doctor", lambda _: Outcome("text", exit_code=2))
    monkeypatch.setattr(sys, "stdout", Ended())
    assert main(["doctor"]) == 2
    assert main(["--help"]) == 0
    with pytest.raises(SystemExit) as stop:
        main(["check", "--help"])
    assert not stop.value.code


def test_start__in_a_settings_file_counts_as_the_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run come student, grid and images, whatever names it, also relative to the folder one is in."""
    caught: list[FinetuneConfig] = []
    module = SimpleNamespace(finetune=lambda config, *_: caught.append(config) or RunOutcome(""))
    monkeypatch.setattr(cli, "load", lambda _: module)
    monkeypatch.setattr(api, "load", lambda _: module)
    monkeypatch.chdir(tmp_path)
    for name, channels in (("pre", 8), ("other", 16)):
        card = ModelCard(
            stage="pretraining",
            student=SimpleBevConfig(bev_channels=channels),
            grid=GridConfig(cell_m=(1, 1, 1)),
            view=ViewConfig(image_size=(64, 96)),
        )
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").write_text(card.model_dump_json())
    (tmp_path / "mine.yaml").write_text("{data: data, out: out, start: pre}")
    words = ["finetune", "--config", "mine.yaml"]
    assert main(words) == main([*words, "--start", "other"]) == main([*words, "--start", "None"]) == 0
    occfeat.finetune(config="mine.yaml")
    occfeat.finetune(config="mine.yaml", start="other")
    occfeat.finetune(config="mine.yaml", start=None)
    started = [(tmp_path / "pre", 8, 64), (tmp_path / "other", 16, 64), (None, 128, 224)]
    assert [(one.start, one.student.bev_channels, one.view.image_size[0]) for one in caught] == started * 2


def test_start__in_a_settings_file_of_another_command_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text("start: /nowhere")
    assert main(["pretrain", "--config", str(tmp_path / "mine.yaml")]) == 2
    assert "Unknown setting: start" in capsys.readouterr().err


def test_one_process__does_what_cannot_be_shared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launched = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "1"}
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    assert main(["check", "/there/is/nothing"]) == 0  # the second process
    monkeypatch.setenv("RANK", "0")
    assert main(["check", "/there/is/nothing"]) == 2
    assert "/there/is/nothing" in capsys.readouterr().err


def test_sigterm__ends_a_command_like_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    class Slow:
        """A command that takes long."""

        @staticmethod
        def check(_: object) -> None:
            """Wait; the signal comes."""
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    monkeypatch.setattr(cli, "load", lambda _: Slow)
    assert main(["check", "/data"]) == 130
    assert "Stopped." in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_module__runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "occfeat", "--version"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("occfeat 0.")


def test_memory_that_does_not_suffice__is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(ask: Callable[[], object]) -> str:
        monkeypatch.setattr(cli, "_run", lambda *_: ask())
        assert main(["doctor"]) == 2
        return capsys.readouterr().err

    def cuda() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    huge = 2**46
    assert "Tried to allocate 2 GiB" in said(cuda)
    assert "can't allocate memory" in said(lambda: torch.zeros(huge))
    assert "view.image_size" in said(lambda: np.zeros(huge))

    def limited() -> None:
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")

    def forked() -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    assert "ulimit -v" in said(limited)
    assert "fewer workers" in said(forked)


def test_full_disk__is_no_bug(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "figure.png")

    monkeypatch.setattr(cli, "_run", full)
    assert main(["doctor"]) == 2
    printed = capsys.readouterr().err
    assert "No space left on device: 'figure.png'" in printed
    assert "Traceback" not in printed

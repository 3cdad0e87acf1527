"""Loggers write into the run folder, go on where they were, and reach no other machine."""

import json
import os
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from occfeat.cli import main
from occfeat.errors import MissingExtraError, RunError
from occfeat.machine import extras
from occfeat.runs import metrics_log
from occfeat.runs.metrics_log import MetricsLog, TensorBoardLogger, open_loggers, require_loggers
from occfeat.runs.saved_settings import flat_settings
from tests.support.small_runs import Flags

OURS = ("WANDB_", "MLFLOW_", "DO_NOT_TRACK")
WRITE = """
import json, socket, sys
from pathlib import Path

reached = []
connect = socket.socket.connect

def watched(self, address):
    local = self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost")
    if not local:
        reached.append(str(address))
        raise OSError("no network in this test")
    return connect(self, address)

socket.socket.connect = watched
from occfeat.runs.metrics_log import MetricsLog

name, folder, first = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
file = folder / "metrics.jsonl"
written = file.stat().st_size if file.exists() else 0
log = MetricsLog(file, keep_bytes=written, step=first - 1, loggers=(name,))
for step in (first, first + 1):
    log.write(step, {"loss": 1 / step, "loss/occupancy": float("nan"), "vehicle_iou/all": 0.25})
log.close()
print(json.dumps(reached))
"""


def write_with(name: str, folder: Path, first: int) -> None:
    """Two rows by a logger, in a program of its own, in the environment of somebody who has set nothing."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    words = [sys.executable, "-c", WRITE, name, str(folder), str(first)]
    done = subprocess.run(words, env=plain, capture_output=True, text=True, cwd=folder.parent, check=False)
    assert done.returncode == 0, done.stderr
    assert "gets no more metrics" not in done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def needs(name: str) -> Any:
    return pytest.mark.skipif(find_spec(name) is None, reason=f"needs the extra `{name}`")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "run"
    folder.mkdir(parents=True)
    (folder / "settings.yaml").write_text("optim: {epochs: 3, clip: {norm: 5.0}}\nsplit: train\n")
    return folder


@needs("mlflow")
def test_mlflow__in_the_run_folder_and_on_where_it_was(run: Path) -> None:
    write_with("mlflow", run, first=1)
    write_with("mlflow", run, first=3)
    with sqlite3.connect(run / "mlflow" / "mlflow.db") as base:
        runs = base.execute("select name, status from runs").fetchall()
        losses = base.execute("select step, value from metrics where key = 'loss' order by step").fetchall()
        undefined = base.execute("select is_nan from metrics where key = 'loss/occupancy'").fetchall()
        settings = dict(base.execute("select key, value from params").fetchall())
    assert runs == [("run", "FINISHED")]
    assert losses == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)), (4, 0.25)]
    assert undefined == [(1,)] * 4
    assert settings == {"optim.epochs": "3", "optim.clip.norm": "5.0", "split": "train"}
    assert sorted(path.name for path in run.parent.iterdir()) == ["run"]


@needs("wandb")
def test_wandb__in_the_run_folder_and_on_where_it_was(run: Path) -> None:
    write_with("wandb", run, first=1)
    write_with("wandb", run, first=3)
    identity = (run / "wandb" / "id.txt").read_text()
    written = sorted((run / "wandb").glob("offline-run-*/run-*.wandb"))
    assert [file.name for file in written] == [f"run-{identity}.wandb"] * 2
    for file in written:
        content = file.read_bytes()
        assert b"vehicle_iou/all" in content
        assert b"optim.clip.norm" in content
    assert sorted(path.name for path in run.parent.iterdir()) == ["run"]


@needs("tensorboard")
def test_tensorboard__by_default_and_by_name(run: Path) -> None:
    for loggers in (None, ("tensorboard",)):
        log = MetricsLog(run / "metrics.jsonl", loggers=loggers)
        log.write(1, {"loss": 0.5})
        log.close()
    assert len(list((run / "tensorboard").iterdir())) == 2
    MetricsLog(run / "metrics.jsonl", loggers=()).close()
    assert len(list((run / "tensorboard").iterdir())) == 2


@needs("tensorboard")
@pytest.mark.parametrize(("resumed_at", "kept"), [(0, [30]), (10, [10, 30]), (20, [10, 20, 30])])
def test_tensorboard__drops_the_rows_after_the_step_it_goes_on_from(
    run: Path, resumed_at: int, kept: list[int]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step, rows in ((0, (10, 20)), (resumed_at, (30,))):
        log = TensorBoardLogger(run, step)
        for row in rows:
            log.write(row, {"loss": 1 / row})
        log.close()
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == kept


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_missing_package__says_what_to_install(name: Any, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'occfeat\[{name}\]'"):
        open_loggers((name,), run, 0)
    require_loggers(None)


def test_missing_package__is_said_before_a_run_begins(
    flags: Flags, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    for command in ("pretrain", "finetune"):
        assert main(flags(command, tmp_path / command, "--engine.loggers", "wandb")) == 2
        assert "pip install 'occfeat[wandb]'" in capsys.readouterr().err
        assert not (tmp_path / command).exists()


class Failing:
    """A logger whose server has gone away."""

    def write(self, step: int, metrics: dict[str, float]) -> None:
        raise ConnectionError(f"no server at step {step}")

    def close(self) -> None:
        raise AssertionError("it was left behind")


def test_logger_that_fails__is_left_behind(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("occfeat.runs.metrics_log.open_loggers", lambda *_: [Failing()])
    log = MetricsLog(run / "metrics.jsonl")
    for step in (1, 2):
        log.write(step, {"loss": 0.5})
    log.close()
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2
    assert [record.message for record in caplog.records] == [
        "Failing gets no more metrics: no server at step 1"
    ]


def test_logger_that_cannot_start__is_an_error_with_a_hint(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ConnectionError("no server")

    monkeypatch.setattr(extras, "find_spec", lambda _: object())
    monkeypatch.setattr(metrics_log, "MlflowLogger", broken)
    with pytest.raises(RunError, match="no server"):
        open_loggers(("mlflow",), run, 0)


def test_flat_settings(run: Path, tmp_path: Path) -> None:
    assert flat_settings(run) == {"optim.epochs": 3, "optim.clip.norm": 5.0, "split": "train"}
    assert flat_settings(tmp_path) == {}

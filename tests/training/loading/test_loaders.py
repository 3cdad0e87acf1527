"""A loading process that dies stops the loading with an error that says what to do."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from occfeat.data.dataset import Draw
from occfeat.data.sample.sample import Sample
from occfeat.errors import TrainingError
from occfeat.settings.sections import EngineConfig
from occfeat.training.loading import loaders
from occfeat.training.loading.loaders import load_batches
from tests.support.rigs import ring_of_cameras


class Deadly:
    """The process that reads key frame 5 is killed the first time; not at all if `alive`."""

    def __init__(self, folder: Path, *, alive: bool = False) -> None:
        self.mark, self.alive = folder / "mark", alive

    def read(self, draw: Draw) -> Sample:
        if draw.row == 5 and not self.alive and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        rig = ring_of_cameras(1, (2, 2)).of_key_frame(0)
        return Sample(f"frame{draw.row}", torch.full((1, 3, 2, 2), draw.row, dtype=torch.uint8), rig)


BATCHES = [[Draw(row, 0), Draw(row + 1, 0)] for row in range(0, 12, 2)]


def rows_of(data: Deadly, **engine: int) -> list[int]:
    config = EngineConfig.model_validate({"workers": 1} | engine)
    batches = [loaded.batch for loaded in load_batches(data, BATCHES, config, pin=False)]
    return [int(image[0, 0, 0, 0]) for batch in batches if batch is not None for image in batch.images]


@pytest.mark.slow
def test_dead_worker__stops_the_loading_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders, "describe_memory", lambda: "Its group allows 1.2 GB.")
    own = signal.signal(signal.SIGCHLD, _ignore)  # the user's handler stays
    with pytest.raises(TrainingError, match="A loading process has died") as caught:
        rows_of(Deadly(tmp_path))
    assert "Its group allows 1.2 GB." in caught.value.hint
    assert "--engine.workers" in caught.value.hint
    assert "--resume" in caught.value.hint
    assert signal.signal(signal.SIGCHLD, own) is _ignore
    assert rows_of(Deadly(tmp_path)) == list(range(12))  # it dies once


def _ignore(_: int, __: object) -> None:
    """A handler of the user's own."""


@pytest.mark.slow
def test_dead_worker__stops_the_loading_after_another_loader_left_its_handler(tmp_path: Path) -> None:
    own = signal.signal(signal.SIGCHLD, _of_torch)
    with pytest.raises(TrainingError, match="A loading process has died"):
        rows_of(Deadly(tmp_path))
    assert signal.signal(signal.SIGCHLD, own) is signal.SIG_DFL


def _of_torch(_: int, __: object) -> None:
    """What torch would do at any moment."""
    raise RuntimeError("in the middle of a step")


_of_torch.__module__ = "torch.utils.data._utils.signal_handling"


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_dead_worker__that_was_sending_stops_the_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(loaders, "_loader", lambda *_, **__: _Broken(error))
    with pytest.raises(TrainingError, match="A loading process has died"):
        rows_of(Deadly(tmp_path))


class _Broken:
    """A loader whose process dies while it sends the first batch."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __iter__(self) -> Iterator[object]:
        raise self.error
        yield


def test_system_without_a_signal_for_deaths__loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGCHLD")  # as on Windows
    assert rows_of(Deadly(tmp_path, alive=True), workers=0) == list(range(12))


def test_machine_without_locks__loads_in_this_process_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loaders, "why_alone", lambda: "no lock can be made in /dev/shm (Read-only)")
    monkeypatch.setattr(loaders, "DataLoader", _alone(loaders.DataLoader))
    assert rows_of(Deadly(tmp_path, alive=True), workers=1) == list(range(12))
    assert "loaded by the process that trains, which takes longer: no lock can be made" in caplog.text


def _alone(loader: Any) -> Any:
    def make(*given: Any, num_workers: int, **named: Any) -> Any:
        assert num_workers == 0
        return loader(*given, num_workers=num_workers, **named)

    return make


def test_errors_of_the_data__are_no_deaths(tmp_path: Path) -> None:
    class Wrong(Deadly):
        def read(self, draw: Draw) -> Sample:
            raise RuntimeError("not dead")

    with pytest.raises(RuntimeError, match="not dead"):
        rows_of(Wrong(tmp_path, alive=True))

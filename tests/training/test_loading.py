"""Loading processes that die are replaced, and nothing but a count tells of it."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from occfeat.data.dataset import BrokenKeyFrame, Draw
from occfeat.data.sample import Sample
from occfeat.errors import TrainingError
from occfeat.settings.sections import EngineConfig
from occfeat.training import loading
from occfeat.training.loading import load_batches
from tests.rigs import ring_of_cameras


class Deadly(Dataset[Sample | BrokenKeyFrame]):
    """The process that reads key frame 5 is killed, as often as there are marks."""

    def __init__(self, folder: Path, deaths: int) -> None:
        self.marks = [folder / f"mark{number}" for number in range(deaths)]

    def __getitem__(self, draw: Draw) -> Sample:
        mark = next((mark for mark in self.marks if not mark.exists()), None)
        if draw.row == 5 and mark is not None:
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        rig = ring_of_cameras(1, (2, 2)).of_key_frame(0)
        return Sample(f"frame{draw.row}", torch.full((1, 3, 2, 2), draw.row, dtype=torch.uint8), rig)


BATCHES = [[Draw(row, 0), Draw(row + 1, 0)] for row in range(0, 12, 2)]


def rows_of(data: Deadly, **engine: int) -> list[int]:
    config = EngineConfig.model_validate({"workers": 1} | engine)
    batches = [loaded.batch for loaded in load_batches(data, BATCHES, config, pin=False)]
    return [int(image[0, 0, 0, 0]) for batch in batches if batch is not None for image in batch.images]


@pytest.mark.slow
def test_dead_worker__is_replaced_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    own = signal.signal(signal.SIGCHLD, _ignore)  # the user's handler stays
    with caplog.at_level(logging.WARNING, logger="occfeat"):
        assert rows_of(Deadly(tmp_path, deaths=1)) == list(range(12))
    assert "A loading process died (1 so far, 3 allowed)" in caplog.text
    assert signal.signal(signal.SIGCHLD, own) is _ignore


def _ignore(_: int, __: object) -> None:
    """A handler of the user's own."""


@pytest.mark.slow
def test_dead_worker__is_replaced_after_another_loader_left_its_handler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    assert len(list(DataLoader(range(4), num_workers=1))) == 4  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL
    assert rows_of(Deadly(tmp_path, deaths=1)) == list(range(12))
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL


@pytest.mark.slow
def test_dead_workers__stop_the_run_when_there_are_too_many(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"1 loading process\(es\) died, 0 allowed") as caught:
        rows_of(Deadly(tmp_path, deaths=1), max_dead_workers=0)
    assert "--engine.workers" in caught.value.hint


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_dead_worker__that_was_sending_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    whole = loading._loader
    made: list[object] = []

    def cut_off(*given: object, **settings: object) -> object:
        made.append(given)
        return whole(*given, **settings) if len(made) > 1 else _Broken(error)

    monkeypatch.setattr(loading, "_loader", cut_off)
    assert rows_of(Deadly(tmp_path, deaths=0), workers=0) == list(range(12))
    assert len(made) == 2


class _Broken:
    """A loader whose process dies while it sends the first batch."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __iter__(self) -> Iterator[object]:
        raise self.error
        yield


def test_system_without_a_signal_for_deaths__loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGCHLD")  # as on Windows
    assert rows_of(Deadly(tmp_path, deaths=0), workers=0) == list(range(12))


def test_errors_of_the_data__are_no_deaths(tmp_path: Path) -> None:
    class Wrong(Deadly):
        def __getitem__(self, draw: Draw) -> Sample:
            raise RuntimeError("not dead")

    with pytest.raises(RuntimeError, match="not dead"):
        rows_of(Wrong(tmp_path, deaths=0))

"""Jobs that processes share: done once, resumed where there is something to resume."""

from pathlib import Path

import pytest

from occfeat.runs.folder import RunFolder
from tests.experiments.scripts import load

jobs = load("harness.jobs")
Calls = list[tuple[str, dict[str, object]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What would be run; every call leaves what a finished run leaves."""
    made: Calls = []

    def pretrain(**settings: object) -> None:
        made.append(("pretrain", settings))
        _touch(Path(str(settings.get("out", settings.get("resume")))) / "pictures" / "occupancy.png")

    def finetune(**settings: object) -> None:
        made.append(("finetune", settings))
        run = Path(str(settings.get("out", settings.get("resume"))))
        _touch(run / "checkpoints" / "last.pt")
        _touch(RunFolder(run).card)
        if settings.get("val_split"):
            _touch(jobs.results_file(run, "val"))

    monkeypatch.setattr(jobs.occfeat, "pretrain", pretrain)
    monkeypatch.setattr(jobs.occfeat, "finetune", finetune)
    return made


def _touch(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


def test_pretrain__runs_once(tmp_path: Path, calls: Calls) -> None:
    out = tmp_path / "run"
    _touch(out / "log.txt")  # of a run that was stopped before its first checkpoint
    assert jobs.pretrain(out, recipe="cpu-small")
    assert jobs.pretrain(out, recipe="cpu-small")
    assert calls == [("pretrain", {"out": out, "recipe": "cpu-small"})]
    assert not (out / "log.txt").exists()


def test_pretrain__goes_on_from_a_checkpoint(tmp_path: Path, calls: Calls) -> None:
    _touch(tmp_path / "run" / "checkpoints" / "last.pt")
    assert jobs.pretrain(tmp_path / "run", recipe="cpu-small")
    assert calls == [("pretrain", {"resume": tmp_path / "run"})]


def test_finetune__keeps_results_without_checkpoints(tmp_path: Path, calls: Calls) -> None:
    out = tmp_path / "run"
    assert jobs.finetune(out, "val", recipe="cpu-small")
    assert jobs.finetune(out, "val", recipe="cpu-small")
    assert calls == [("finetune", {"out": out, "recipe": "cpu-small", "val_split": "val"})]
    assert not (out / "checkpoints").exists()


def test_finetune__without_a_split_is_done_with_its_network(tmp_path: Path, calls: Calls) -> None:
    out = tmp_path / "run"
    assert jobs.finetune(out, None, recipe="cpu-small")
    assert jobs.finetune(out, None, recipe="cpu-small")
    assert calls == [("finetune", {"out": out, "recipe": "cpu-small", "val_split": None})]
    assert jobs.finetune(out, "val", recipe="cpu-small")
    assert len(calls) == 2


def test_jobs__of_somebody_else_are_left_alone(tmp_path: Path, calls: Calls) -> None:
    with jobs.claim(tmp_path / "run"):
        assert not jobs.pretrain(tmp_path / "run", recipe="cpu-small")
        assert not jobs.finetune(tmp_path / "run", "val", recipe="cpu-small")
    assert calls == []


def test_work__ends_when_a_round_finds_everything_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.time, "sleep", lambda _: None)
    rounds = iter([False, False, True])
    jobs.work(lambda: next(rounds))
    assert next(rounds, None) is None


def test_claim__is_given_to_one_at_a_time(tmp_path: Path) -> None:
    with jobs.claim(tmp_path / "job") as first:
        assert first
        with jobs.claim(tmp_path / "job") as second:
            assert not second
        with jobs.claim(tmp_path / "other") as other:
            assert other
    with jobs.claim(tmp_path / "job") as again:
        assert again

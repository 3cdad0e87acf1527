"""Limits of the number of threads and processes."""

import errno
import logging
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from occfeat.cli import main
from occfeat.errors import RunError
from occfeat.machine import threads
from occfeat.machine.threads import (
    FEW,
    LEAST,
    PER_CORE,
    explain_refusal,
    is_refusal,
    make_do_with_few_threads,
)


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets so many threads start, as a limit does; 20 are said to be allowed."""
    monkeypatch.setattr(threads, "_room", lambda: 0)
    monkeypatch.setattr(threads, "describe_processes", lambda: "20 are allowed.")
    start = threading.Thread.start

    def limit(count: int) -> None:
        left = iter(range(count))

        def begin(thread: threading.Thread) -> None:
            if next(left, None) is None:
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", begin)

    return limit


def test_threads__without_a_limit_leave_all_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    environ, running = dict[str, str](), threading.active_count()
    make_do_with_few_threads(2, environ)
    assert environ == {}
    assert caplog.messages == []
    assert threading.active_count() == running


def test_threads__that_are_few_are_used_one_by_one(
    allow: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    environ = {"OMP_NUM_THREADS": "8", "HOME": "/"}
    allow(LEAST + PER_CORE * 2 - 1)
    with caplog.at_level(logging.WARNING):
        make_do_with_few_threads(2, environ)
    assert environ == {"HOME": "/"} | FEW
    assert f"only {LEAST + PER_CORE * 2 - 1} of {LEAST + PER_CORE * 2} threads can be started" in caplog.text
    assert "20 are allowed. Raise the limit" in caplog.text


@pytest.mark.parametrize(("room", "started"), [(LEAST + PER_CORE * 128, LEAST), (0, LEAST + PER_CORE * 128)])
def test_threads__are_all_tried_only_where_a_limit_may_be_near(
    monkeypatch: pytest.MonkeyPatch, room: int, started: int
) -> None:
    tried = list[int]()

    def start(count: int) -> int:
        tried.append(count)
        return count

    monkeypatch.setattr(threads, "_room", lambda: room)
    monkeypatch.setattr(threads, "_start", start)
    make_do_with_few_threads(128, {})
    assert tried == [started]


def test_threads__that_libraries_cannot_start_are_found_where_the_room_is_known_wrongly(
    allow: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(LEAST - 1)
    monkeypatch.setattr(threads, "_room", lambda: 1000)
    with pytest.raises(RunError, match="Expected room"):
        make_do_with_few_threads(2, {})


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that runs 300 threads of at most 50 000, without other limits."""
    (tmp_path / "loadavg").write_text("0.10 0.20 0.30 1/300 4711\n")
    (tmp_path / "most").write_text("50000\n")
    monkeypatch.setattr(threads, "_LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(threads, "_MOST", tmp_path / "most")
    monkeypatch.setattr(threads, "process_room", lambda: None)
    _limit(monkeypatch, {})
    return tmp_path


def _limit(monkeypatch: pytest.MonkeyPatch, limits: dict[int, int]) -> None:
    """Set what the system says of this user's limits."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits.get(kind, resource.RLIM_INFINITY),) * 2)


def test_room__is_what_every_limit_leaves(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads._room() == 49_700
    _limit(monkeypatch, {resource.RLIMIT_NPROC: 1000})
    assert threads._room() == 700
    monkeypatch.setattr(threads, "process_room", lambda: 20)
    assert threads._room() == 20


def test_room__that_is_not_known_is_none(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _limit(monkeypatch, {resource.RLIMIT_AS: 2**32})
    assert threads._room() == 0, "each thread has a stack, of a size that is not known here"
    _limit(monkeypatch, {})
    (machine / "most").unlink()
    assert threads._room() == 0


def test_threads__that_do_not_suffice_are_refused(
    allow: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    allow(LEAST - 1)
    with pytest.raises(
        RunError, match=f"Expected room for {LEAST} more threads, got {LEAST - 1}. 20 are allowed"
    ):
        make_do_with_few_threads(2, {})
    allow(0)
    assert main(["doctor"]) == 2
    said = capsys.readouterr().err
    assert f"Expected room for {LEAST} more threads, got 0" in said
    assert "ulimit -u" in said


def test_refusals__are_told_from_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    again = os.strerror(errno.EAGAIN)
    monkeypatch.setattr(threads, "describe_processes", lambda: "")
    for error in (RuntimeError("can't start new thread"), BlockingIOError(errno.EAGAIN, again)):
        assert is_refusal(error)
        assert explain_refusal(error) == f"No more threads or processes can be started: {error}."
    for other in (RuntimeError("shapes"), OSError(errno.ENOENT, "no file"), ValueError(again)):
        assert not is_refusal(other)
    assert not is_refusal(BlockingIOError(errno.EAGAIN, "write could not complete without blocking"))

"""Signals end a run after its step, and within a limit of time."""

import os
import signal
import threading
import time

import pytest

from occfeat.machine import interrupt
from occfeat.machine.interrupt import StopNow, StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal__is_remembered(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        os.kill(os.getpid(), number)
        assert stop.signal == number
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal__ends_a_wait_for_data_at_once(number: signal.Signals) -> None:
    threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
    started = time.monotonic()
    with StopRequest() as stop, pytest.raises(StopNow), stop.at_once(True):
        time.sleep(60)
    assert time.monotonic() - started < 10
    assert stop.signal == number


def test_signal__before_a_wait_ends_it_before_it_begins() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopNow), stop.at_once(True):
            pytest.fail("waited")
        with stop.at_once(False):
            pass


def test_step__that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "GRACE_S", 0.3)
    started = time.monotonic()
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            time.sleep(60)  # as in a call of the system that never returns
    assert 0.2 < time.monotonic() - started < 10


def test_step__that_ends_in_time_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "GRACE_S", 0.2)
    with StopRequest():
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.5)  # the limit has passed, and nothing interrupts this


def test_second_ctrl_c__stops_at_once() -> None:
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_saving__takes_as_long_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "GRACE_S", 0.2)
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        with stop.saving():
            time.sleep(0.6)
        with pytest.raises(KeyboardInterrupt):  # what follows has a limit again
            time.sleep(60)


def test_saving__a_signal_that_comes_meanwhile_is_answered_afterwards() -> None:
    saved = []
    with StopRequest() as stop, pytest.raises(StopNow), stop.at_once(True), stop.saving():
        saved += [os.kill(os.getpid(), signal.SIGTERM)]
    assert saved == [None]


def test_saving__is_ended_by_a_second_ctrl_c() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), stop.saving():
            os.kill(os.getpid(), signal.SIGINT)

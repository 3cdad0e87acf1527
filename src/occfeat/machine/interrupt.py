"""How Ctrl-C and SIGTERM stop this process: at once, or after the current step. Imports no torch."""

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

GRACE_S = 25
"""Seconds after which a run stops in the middle of a step. Job schedulers often kill after 30."""


@contextmanager
def sigterm_like_ctrl_c() -> Iterator[None]:
    """Have SIGTERM raise KeyboardInterrupt, as Ctrl-C does. Only the main thread can ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if previous is None else previous)


class StopNow(BaseException):
    """Raised where a request to stop need not wait."""


class StopRequest:
    """Remembers a signal until the loop has finished its step.

    A second Ctrl-C stops at once, as does a step that takes longer than `GRACE_S`. What is being saved has no
    such limit.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._at_once = False
        self._saving = False
        self._previous: dict[signal.Signals, Any] = {}
        self._patience: threading.Timer | None = None

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        self._forget_time()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def at_once(self, safe: bool) -> Iterator[None]:
        """Raise `StopNow` for a signal that comes inside, or that came before; only if it is safe to."""
        self._at_once = safe
        try:
            if safe and self.signal is not None:
                raise StopNow
            yield
        finally:
            self._at_once = False

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Let what is done be saved, however long that takes; a first signal is answered afterwards."""
        self._saving = True
        self._forget_time()
        try:
            yield
        finally:
            self._saving = False
        if self.signal is not None:
            self._answer()

    def _remember(self, number: int, _: FrameType | None) -> None:
        """Store the first signal; raise on a second Ctrl-C."""
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        if not self._saving:
            self._answer()

    def _answer(self) -> None:
        """Raise if nothing has to be finished; limit the time of the step if something has."""
        if self._at_once:
            raise StopNow
        if self._patience is None:
            self._patience = threading.Timer(GRACE_S, _interrupt_main_thread)
            self._patience.daemon = True
            self._patience.start()

    def _forget_time(self) -> None:
        """Take back the limit of time, if there is one."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


def _interrupt_main_thread() -> None:
    """Send SIGINT to the main thread, also while it waits in a call of the system."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:  # on Windows
        _thread.interrupt_main()

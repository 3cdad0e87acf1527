"""Helper processes that work in parallel, and how all of them stop together."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

from occfeat.errors import RunError
from occfeat.machine.allocator import keep_freed_memory
from occfeat.machine.cgroups import describe_memory, describe_processes
from occfeat.machine.processor import why_alone
from occfeat.machine.threads import RAISE, explain_refusal, is_refusal

SPAWN = multiprocessing.get_context("spawn")


@contextmanager
def start_helpers(
    count: int, prepare: Callable[..., object] | None = None, *given: object
) -> Iterator[ProcessPoolExecutor]:
    """Start processes that first call `prepare(*given)`, if there is something to prepare.

    They end at once when this process fails, is stopped or is gone. What is given goes through a pipe when a
    helper starts, and has to fit its 64 kB: with more, this process would wait for ever for a helper that
    dies before it has read it.

    Raises:
        RunError: One of them was killed.
    """
    theirs, ours = SPAWN.Pipe(duplex=False)
    pool = ProcessPoolExecutor(count, SPAWN, initializer=_begin_helper, initargs=(theirs, prepare, given))
    with theirs, ours, pool:
        try:
            yield pool
        except BrokenProcessPool as error:
            hint = "If memory is short, or the number of processes limited, choose fewer `workers`."
            parts = hint, describe_memory(), describe_processes(), "The same command goes on."
            raise RunError("A helper process was killed.", hint=" ".join(filter(None, parts))) from error
        except BaseException:
            ours.close()  # before the pool waits for its processes
            raise


def _begin_helper(
    parent: Connection, prepare: Callable[..., object] | None, given: tuple[object, ...]
) -> None:
    """Prepare a helper process, which makes arrays of the same sizes again and again."""
    keep_freed_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the parent passes it on
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if prepare is not None:
        prepare(*given)


def _end_with(parent: Connection) -> None:
    """End this process as soon as the other end of a pipe is closed, if only by the death of its owner."""
    with suppress(EOFError, OSError):
        parent.recv_bytes()
    os._exit(1)


def require_helpers() -> None:
    """Make sure that helper processes can start: a pool would wait for ever for one that ends at once.

    Each helper imports the script that asked for it. A script that works while it is imported asks again.

    Raises:
        RunError: They cannot.
    """
    if reason := why_alone():
        hint = "Set `--workers 1`, or make it writable."
        raise RunError(f"No helper processes can be started: {reason}.", hint=hint)
    helper = SPAWN.Process(target=int)
    try:
        helper.start()
    except OSError as error:
        if not is_refusal(error):
            raise
        raise RunError(explain_refusal(error), hint=f"Set `--workers 1`. {RAISE}") from error
    helper.join()
    if helper.exitcode:
        hint = 'In a script, do this below `if __name__ == "__main__":`.'
        raise RunError("No helper processes could be started.", hint=hint)

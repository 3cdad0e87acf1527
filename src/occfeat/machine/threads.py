"""Whether the threads and processes that a command needs can be started. Imports no torch.

Libraries answer badly where they cannot: OpenBLAS interrupts the program, GNU OpenMP ends it, and Arrow seems
to have found a damaged file. So it is found out before they are imported.
"""

import errno
import logging
import os
import threading
from collections.abc import MutableMapping
from pathlib import Path

from occfeat.errors import RunError
from occfeat.machine.cgroups import describe_processes, process_room

logger = logging.getLogger(__name__)

LEAST = 12
"""Room for threads that a command needs if each library starts one (this project's choice)."""

PER_CORE = 4
"""Threads that libraries start for each core, at most: those of numpy, scipy, torch and Arrow."""

FEW = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_IO_THREADS": "1"}
"""Variables by which libraries start no threads, or only one."""

RAISE = "Raise the limit: `ulimit -u`, or that of the container (`docker run --pids-limit`)."
"""What to do if no more can be started."""

_LOAD = Path("/proc/loadavg")
"""Where Linux counts the threads of the machine."""

_MOST = Path("/proc/sys/kernel/threads-max")
"""Where Linux says how many threads the machine may run."""


def make_do_with_few_threads(cores: int, environ: MutableMapping[str, str] = os.environ) -> None:
    """Let libraries start one thread each if they cannot start one per core, and say so.

    It must be called before numpy is imported, and holds for the processes that this one starts.

    Raises:
        RunError: They cannot start even these.
    """
    wanted = LEAST + PER_CORE * cores
    if _room() >= wanted and _start(LEAST) == LEAST:  # to start them all takes 0.2 s on 128 cores
        return
    started = _start(wanted)
    if started < LEAST:
        what = f"Expected room for {LEAST} more threads, got {started}. {describe_processes()}"
        raise RunError(what.strip(), hint=RAISE)
    if started < wanted:
        what = "Libraries compute in one thread each, which is slow: only %d of %d threads can be started. %s"
        logger.warning(what, started, wanted, f"{describe_processes()} {RAISE}".strip())
        environ.update(FEW)


def is_refusal(error: Exception) -> bool:
    """Return whether an error says that no more threads or processes can be started."""
    of_a_thread = isinstance(error, RuntimeError) and "can't start new thread" in str(error)
    of_a_process = isinstance(error, OSError) and error.strerror == os.strerror(errno.EAGAIN)
    return of_a_thread or of_a_process


def explain_refusal(error: Exception) -> str:
    """Return what is said of an error where no more threads or processes can be started."""
    return f"No more threads or processes can be started: {error}. {describe_processes()}".strip()


def _room() -> int:
    """Return how many more threads all limits are known to allow, at most 1 000 000; 0 if it is not known.

    A user's threads are not counted, but they are not more than the machine's.
    """
    try:
        import resource  # here, because Windows has none

        running = int(_LOAD.read_text(encoding="utf-8").split()[3].partition("/")[2])
        most = int(_MOST.read_text(encoding="utf-8"))
        of_user, _ = resource.getrlimit(resource.RLIMIT_NPROC)
        memory, _ = resource.getrlimit(resource.RLIMIT_AS)
    except (ImportError, OSError, ValueError, LookupError):
        return 0
    if memory != resource.RLIM_INFINITY:  # each thread has a stack
        return 0
    limits = [most - running, 1_000_000]
    limits += [of_user - running] if of_user != resource.RLIM_INFINITY else []
    in_groups = process_room()
    return min(limits if in_groups is None else [*limits, in_groups])


def _start(wanted: int) -> int:
    """Return how many threads can run at once, up to a number."""
    end, threads = threading.Event(), []
    try:
        for _ in range(wanted):
            threads.append(threading.Thread(target=end.wait, daemon=True))
            threads[-1].start()
    except RuntimeError:
        threads.pop()
    end.set()
    for thread in threads:
        thread.join()
    return len(threads)

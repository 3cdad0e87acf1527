"""The cores this process may use, and threads that wait without keeping a core busy. Imports no torch."""

import math
import os
import time
from collections.abc import MutableMapping
from pathlib import Path

from occfeat.machine.cgroups import cpu_quota

SPINS = "30000"
"""Turns of the loop in which a thread of GNU OpenMP waits before it sleeps.

GNU OpenMP's own value is 300 000. While other programs use the cores, so many turns cost more than the work.
Fewer turns than this cost time on an idle machine (`benchmarks/training/busy.py`).
"""

BUSY_SPINS = "0"
"""The same where other programs are found to use the cores: threads sleep at once."""

BUSY_SHARE = 0.5
"""Share of the machine's cores that other programs use on a busy machine (this project's choice)."""

LOOKS = 5
"""Number of times that the running programs are counted, at intervals of `LOOK_S`."""
LOOK_S = 0.01

_STAT = Path("/proc/stat")
"""Where Linux counts what runs at this moment."""


def usable_cores() -> int:
    """Return the number of cores that a scheduler and a container leave to this process, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def why_alone() -> str:
    """Return why this process can start no others that share locks with it; empty if it can.

    Locks of several processes are files of /dev/shm, which a container may lack or forbid to write.
    """
    import multiprocessing  # here, because commands that need no processes start sooner

    try:
        multiprocessing.Lock()
    except (ImportError, OSError) as error:
        return f"no lock can be made in /dev/shm ({getattr(error, 'strerror', None) or error})"
    return ""


def share_processor(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set how many threads OpenMP starts and how they wait; what the user has set stays.

    How they wait depends on what other programs leave free at this moment. Their number does not: it would
    change the order of sums, and with it the last digits of results. A thread on each core, beside as many
    programs, also gets as much done as a core's fair share allows.

    It must be called before torch is imported, and holds for the processes that this one starts.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environ.keys():
        environ["GOMP_SPINCOUNT"] = BUSY_SPINS if is_busy() else SPINS
    if cpu_quota() is not None:  # torch knows of a scheduler's choice of cores, but not of a quota
        environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def is_busy() -> bool:
    """Return whether other programs use much of the machine, as far as Linux says it."""
    counts = []
    for look in range(LOOKS):
        if look:
            time.sleep(LOOK_S)
        counts.append(_running(_STAT))
    return sorted(counts)[LOOKS // 2] >= BUSY_SHARE * (os.cpu_count() or 1)


def _running(stat: Path) -> int:
    """Return how many other threads of the machine run or wait for a core; 0 if it is not known."""
    try:
        lines = stat.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("procs_running")) - 1
    except (OSError, ValueError, LookupError, StopIteration):
        return 0

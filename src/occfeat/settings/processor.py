"""The cores this process may use, and threads that wait without keeping a core busy. Imports no torch."""

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

SPINS = "30000"
"""Turns of the loop in which a thread of GNU OpenMP waits before it sleeps.

GNU OpenMP's own value is 300 000. While other programs use the cores, so many turns cost more than the work.
Fewer turns than this cost time on an idle machine (`benchmarks/busy.py`).
"""

_CGROUP = Path("/sys/fs/cgroup")
"""Where Linux shows what a container may use."""


def usable_cores() -> int:
    """Return the number of cores that a scheduler and a container leave to this process, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(_CGROUP)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def share_processor(environ: MutableMapping[str, str] = os.environ) -> None:
    """Set how many threads OpenMP starts and how they wait; what the user has set stays.

    It must be called before torch is imported, and holds for the processes that this one starts.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & environ.keys():
        environ["GOMP_SPINCOUNT"] = SPINS
    if _quota(_CGROUP) is not None:  # torch knows of a scheduler's choice of cores, but not of a quota
        environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def _quota(cgroup: Path) -> float | None:
    """Return the cores that a container may use; None without a limit."""
    try:
        if (cgroup / "cpu.max").is_file():  # version 2
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
        return int(quota) / int(period) if int(quota) > 0 and int(period) > 0 else None
    except (OSError, ValueError):  # `max` is not a number
        return None

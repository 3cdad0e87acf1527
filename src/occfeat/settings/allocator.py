"""Freed memory is kept for the next step; the C library would return it to the system each time.

Imports no torch.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Keep memory that this process frees, from now on; return whether the C library can do that.

    glibc maps every array above some size anew and unmaps it when it is freed. A training step frees and
    allocates the same arrays again and again, and the system clears their pages each time. That costs a tenth
    of a step (benchmarks/RESULTS.md). Only glibc has the setting; elsewhere nothing changes.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return mallopt is not None and all(
        mallopt(option, _LARGEST) for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD)
    )

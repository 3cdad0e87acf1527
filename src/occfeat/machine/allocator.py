"""Freed memory is kept for the next step; the C library would return it to the system each time.

Imports no torch.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_LARGEST = 2**31 - 1
_LARGEST_MAPPED_BEFORE_2_35 = 4 * 2**20 * ctypes.sizeof(ctypes.c_long)  # glibc's DEFAULT_MMAP_THRESHOLD_MAX


def keep_freed_memory() -> bool:
    """Keep memory that this process frees, from now on; return whether the C library can do that.

    glibc maps every array above some size anew and unmaps it when it is freed. A training step frees and
    allocates the same arrays again and again, and the system clears their pages each time. That costs a tenth
    of a step (benchmarks/RESULTS.md). Only glibc has the setting; elsewhere nothing changes. Before version
    2.35 it still maps arrays above 32 MiB.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    mapped = mallopt(_MMAP_THRESHOLD, _LARGEST) or mallopt(_MMAP_THRESHOLD, _LARGEST_MAPPED_BEFORE_2_35)
    return bool(mapped and mallopt(_TRIM_THRESHOLD, _LARGEST))

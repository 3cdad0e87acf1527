"""Freed memory stays with the process, where the C library can do that."""

import ctypes
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from occfeat.machine import allocator

PAGES_OF = """
import resource, sys, torch
from occfeat.settings.sections import EngineConfig
from occfeat.training.device import build_fabric
if sys.argv[1] == "run":
    build_fabric(EngineConfig(device="cpu"))
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    torch.ones(2**24)  # the first ones may need pages of their own
before = faults()
for _ in range(10):
    torch.ones(2**24)  # 64 MB, beyond what glibc keeps by itself
print(faults() - before)
"""


def page_faults(way: str) -> int:
    command = [sys.executable, "-c", PAGES_OF, way]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


LIBRARY, VERSION = platform.libc_ver()
OLD = LIBRARY != "glibc" or tuple(map(int, VERSION.split("."))) < (2, 35)


@pytest.mark.skipif(OLD, reason="only glibc can keep freed memory, and such large arrays from 2.35 on")
def test_keep_freed_memory__a_run_does_not_fault_in_the_same_pages_again() -> None:
    assert allocator.keep_freed_memory()
    assert page_faults("run") * 10 < page_faults("plain")


def test_keep_freed_memory__is_left_alone_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()


def test_keep_freed_memory__takes_the_largest_limit_of_an_old_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = {}

    def mallopt(option: int, value: int) -> int:
        """As glibc before 2.35 on a machine of 64 bits."""
        if option == -3 and value > 32 * 2**20:
            return 0
        chosen[option] = value
        return 1

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    assert allocator.keep_freed_memory()
    assert chosen == {-3: 32 * 2**20, -1: 2**31 - 1}

"""Threads and cores of a machine that is shared."""

import multiprocessing
import os
from pathlib import Path

import pytest

from occfeat.machine import cgroups, processor
from occfeat.machine.processor import (
    BUSY_SPINS,
    LOOKS,
    SPINS,
    is_busy,
    share_processor,
    usable_cores,
    why_alone,
)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight cores without a limit."""
    monkeypatch.setattr(cgroups, "_ROOT", tmp_path)
    monkeypatch.setattr(processor, "_STAT", tmp_path / "stat")
    monkeypatch.setattr(processor, "LOOK_S", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("20000 100000", 1)]
)
def test_container__limits_the_cores(machine: Path, limit: str, cores: int) -> None:
    (machine / "cpu.max").write_text(f"{limit}\n")
    assert usable_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("300000", 3)])
def test_container__of_older_kernels_limits_the_cores(machine: Path, quota: str, cores: int) -> None:
    (machine / "cpu").mkdir()
    (machine / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (machine / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores() == cores


@pytest.mark.parametrize("text", ["", "much", "1 2 3", "5 0"])
def test_limit__that_cannot_be_read_is_none(machine: Path, text: str) -> None:
    (machine / "cpu.max").write_text(text)
    assert usable_cores() == 8


def test_threads__sleep_soon_and_fit_the_container(machine: Path) -> None:
    (machine / "cpu.max").write_text("200000 100000")
    environ: dict[str, str] = {}
    share_processor(environ)
    assert environ == {"GOMP_SPINCOUNT": SPINS, "OMP_NUM_THREADS": "2"}


def test_threads__outside_a_container_are_left_to_torch() -> None:
    environ: dict[str, str] = {}
    share_processor(environ)
    assert environ == {"GOMP_SPINCOUNT": SPINS}


@pytest.mark.parametrize(("running", "busy"), [(1, False), (4, False), (5, True), (40, True)])
def test_threads__sleep_at_once_beside_busy_programs(machine: Path, running: int, busy: bool) -> None:
    (machine / "stat").write_text(f"cpu  1 2 3\nprocs_running {running}\nprocs_blocked 0\n")
    environ: dict[str, str] = {}
    share_processor(environ)
    assert environ == {"GOMP_SPINCOUNT": BUSY_SPINS if busy else SPINS}


def test_busy__is_what_most_looks_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for busy_looks in range(LOOKS + 1):
        looks = iter([8] * busy_looks + [0] * (LOOKS - busy_looks))
        monkeypatch.setattr(processor, "_running", lambda _, looks=looks: next(looks))
        assert is_busy() == (busy_looks > LOOKS // 2)


@pytest.mark.parametrize("text", ["", "procs_running", "procs_running many", "cpu 1"])
def test_busy__what_cannot_be_read_is_idle(machine: Path, text: str) -> None:
    (machine / "stat").write_text(text)
    assert not is_busy()


@pytest.mark.parametrize("own", [{"GOMP_SPINCOUNT": "5"}, {"OMP_WAIT_POLICY": "active"}])
def test_threads__wait_as_the_user_says(machine: Path, own: dict[str, str]) -> None:
    (machine / "cpu.max").write_text("200000 100000")
    environ = own | {"OMP_NUM_THREADS": "7"}
    share_processor(environ)
    assert environ == own | {"OMP_NUM_THREADS": "7"}


@pytest.mark.parametrize(
    "error", [OSError(30, "Read-only file system"), ImportError("This platform lacks sem_open")]
)
def test_processes__need_locks(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not why_alone()

    def refuse() -> None:
        raise error

    monkeypatch.setattr(multiprocessing, "Lock", refuse)
    said = getattr(error, "strerror", None) or str(error)
    assert why_alone() == f"no lock can be made in /dev/shm ({said})"

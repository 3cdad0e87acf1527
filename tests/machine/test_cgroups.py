"""Limits of control groups, in made-up trees of both versions."""

from pathlib import Path

import pytest

from occfeat.machine import cgroups
from occfeat.machine.cgroups import cpu_quota, describe_memory, describe_processes, process_room


@pytest.fixture(autouse=True)
def trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A process in the group `/cluster/job` of every tree."""
    root = tmp_path / "trees"
    for tree in ("", "cpu", "memory", "pids"):
        (root / tree / "cluster" / "job").mkdir(parents=True)
    monkeypatch.setattr(cgroups, "_ROOT", root)
    monkeypatch.setattr(cgroups, "_OWN", tmp_path / "own")
    own = ["9:name=systemd:/", "3:pids:/cluster/job", "2:memory:/cluster/job", "1:cpu,cpuacct:/cluster/job"]
    (tmp_path / "own").write_text("\n".join([*own, "0::/cluster/job", ""]))
    return root


GROUPS = ("", "cluster", "cluster/job")


@pytest.mark.parametrize("group", GROUPS)
def test_quota__of_any_group_above_counts(trees: Path, group: str) -> None:
    assert cpu_quota() is None
    (trees / group / "cpu.max").write_text("150000 100000\n")
    assert cpu_quota() == 1.5


@pytest.mark.parametrize("group", GROUPS)
def test_quota__of_any_group_above_counts_on_older_kernels(trees: Path, group: str) -> None:
    (trees / "cpu" / group / "cpu.cfs_quota_us").write_text("300000\n")
    (trees / "cpu" / group / "cpu.cfs_period_us").write_text("100000\n")
    assert cpu_quota() == 3


def test_quota__that_is_smallest_counts(trees: Path) -> None:
    for group, text in zip(GROUPS, ("max 100000", "200000 100000", "50000 10000"), strict=True):
        (trees / group / "cpu.max").write_text(text)
    assert cpu_quota() == 2


def test_quota__of_another_group_does_not_count(trees: Path) -> None:
    for other in ("other", "cluster/other", "cluster/job/below"):
        (trees / other).mkdir()
        (trees / other / "cpu.max").write_text("100000 100000")
    assert cpu_quota() is None


@pytest.mark.parametrize(
    "own", [None, "", "0::/gone\n", "0::/../../elsewhere\n", "1:cpu:/docker/abc\n", "\xff"]
)
def test_quota__of_a_container_that_sees_its_own_group_alone(trees: Path, own: str | None) -> None:
    file = trees.parent / "own"
    file.unlink()
    if own is not None:
        file.write_text(own, encoding="latin-1")
    (trees / "cpu.max").write_text("400000 100000")
    assert cpu_quota() == 4


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(
    ("limit", "events"),
    [("memory.max", "memory.events"), ("memory/memory.limit_in_bytes", "memory.oom_control")],
)
def test_memory__is_told_with_what_was_killed(trees: Path, group: str, limit: str, events: str) -> None:
    tree = trees / Path(limit).parent
    (tree / group / Path(limit).name).write_text("1150000000\n")
    assert describe_memory() == "The control group allows 1.1 GB of memory."
    (tree / group / events).write_text("low 0\nunder_oom 0\noom_kill 2\noom_group_kill 0\n")
    said = "The control group allows 1.1 GB of memory, and 2 process(es) in it were killed for lack of it."
    assert describe_memory() == said


@pytest.mark.parametrize("text", ["max", "9223372036854771712", "", "-1"])
def test_memory__without_a_limit_is_not_told(trees: Path, text: str) -> None:
    (trees / "memory.max").write_text(f"{text}\n")
    (trees / "memory" / "memory.limit_in_bytes").write_text(f"{text}\n")
    assert describe_memory() == ""


@pytest.mark.parametrize("group", GROUPS)
def test_processes__that_a_group_allows(trees: Path, group: str) -> None:
    (trees / "cluster" / "pids.max").write_text("max\n")
    assert describe_processes() == ""
    (trees / "pids" / group / "pids.max").write_text("20\n")
    assert describe_processes() == "The control group allows 20 threads and processes in all."


def test_room_for_processes__is_that_of_the_fullest_group(trees: Path) -> None:
    assert process_room() is None
    for group, most, running in (("", "max", 900), ("cluster", "500", 450), ("cluster/job", "100", 40)):
        (trees / group / "pids.max").write_text(f"{most}\n")
        (trees / group / "pids.current").write_text(f"{running}\n")
    assert process_room() == 50
    (trees / "pids" / "cluster" / "pids.max").write_text("30\n")
    assert process_room() == 30, "what runs in it is not known"

"""Limits that control groups of Linux set on this process. Imports no torch.

The limits of a group hold for all groups below it. Version 1 has a tree of groups for each controller,
version 2 has one for all. A container sees its own group as the root, or the trees of the whole machine.
"""

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
"""Where Linux shows the groups."""

_OWN = Path("/proc/self/cgroup")
"""Where Linux says which groups this process is in."""

NO_LIMIT_BYTES = 2**60
"""Size from which a limit of memory is none: version 1 writes a huge number."""


def cpu_quota() -> float | None:
    """Return the number of cores that the groups leave to this process; None without a limit."""
    quotas = (_quota(group) for group in _groups("cpu"))
    return min((quota for quota in quotas if quota is not None), default=None)


def describe_memory() -> str:
    """Return what the groups allow of memory, and how often they killed for it; empty without a limit."""
    groups = _groups("memory")
    limits = [_number(group / name) for group in groups for name in ("memory.max", "memory.limit_in_bytes")]
    limit = min((one for one in limits if one is not None), default=NO_LIMIT_BYTES)
    if limit >= NO_LIMIT_BYTES:
        return ""
    killed = max(map(_killed, groups))
    said = f", and {killed} process(es) in it were killed for lack of it" if killed else ""
    return f"The control group allows {limit / 1e9:.1f} GB of memory{said}."


def describe_processes() -> str:
    """Return how many threads and processes the groups allow; empty without a limit."""
    limits = (_number(group / "pids.max") for group in _groups("pids"))
    limit = min((limit for limit in limits if limit is not None), default=None)
    return "" if limit is None else f"The control group allows {limit} threads and processes in all."


def process_room() -> int | None:
    """Return how many more threads and processes the groups allow; None without a limit."""
    groups = _groups("pids")
    allowed = ((_number(group / "pids.max"), _number(group / "pids.current")) for group in groups)
    return min((limit - (running or 0) for limit, running in allowed if limit is not None), default=None)


def _groups(controller: str) -> list[Path]:
    """Return the folders of the groups that a controller has this process in, from the root on."""
    own = {"": "", controller: ""}
    for line in _read(_OWN).splitlines():
        _, names, path = line.split(":", 2)
        own |= dict.fromkeys(names.split(","), path)
    found = []
    for root, path in ((_ROOT, own[""]), (_ROOT / controller, own[controller])):
        parts = [part for part in path.split("/") if part not in ("", "..")]
        found += [root.joinpath(*parts[:count]) for count in range(len(parts) + 1)]
    return found


def _quota(group: Path) -> float | None:
    """Return the number of cores that a group may use; None without a limit."""
    names = "cpu.cfs_quota_us", "cpu.cfs_period_us"
    words = _read(group / "cpu.max").split() or [_read(group / name).strip() for name in names]
    try:
        quota, period = map(int, words)
    except ValueError:  # `max` is not a number
        return None
    return quota / period if quota > 0 and period > 0 else None


def _killed(group: Path) -> int:
    """Return how many processes of a group were killed for lack of memory."""
    text = _read(group / "memory.events") or _read(group / "memory.oom_control")
    counts = [line.partition(" ")[2] for line in text.splitlines() if line.startswith("oom_kill ")]
    return int(counts[0]) if counts and counts[0].isdecimal() else 0


def _number(file: Path) -> int | None:
    """Return the number in a file; None if it holds another word or is not there."""
    text = _read(file).strip()
    return int(text) if text.isdecimal() else None


def _read(file: Path) -> str:
    """Return a text; empty if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""

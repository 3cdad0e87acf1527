"""How the benchmarks measure: ways in turn, memory in fresh processes, measurements beside their targets.

    python -m benchmarks.measuring

prints the measurements of the benchmarks that ran last, which lie in `benchmarks/latest.json`.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LATEST = ROOT / "benchmarks" / "latest.json"


@dataclass(frozen=True)
class Measurement:
    """What was measured, and what it should be."""

    name: str
    value: float
    target: float | None
    """None: there is none."""
    met: bool | None
    spread: tuple[float, float] | None
    """Smallest and largest of the repeats; None: measured once."""


@dataclass(frozen=True)
class Ratio:
    """How many times as much one way takes as another, repeat by repeat."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.1f}x ({self.low:.1f} to {self.high:.1f})"


def in_turn(ways: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every way, one after the other again and again: what else runs hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, seconds in ways.items():
            times[name].append(seconds())
    return times


def ratio(slow: list[float], fast: list[float]) -> Ratio:
    """Of times that were taken in turn."""
    ratios = sorted(one / other for one, other in zip(slow, fast, strict=True))
    return Ratio(statistics.median(ratios), ratios[0], ratios[-1])


def peak_mb() -> float:
    """Peak resident size of this process until now."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def growth_mb(work: Callable[[], object]) -> float:
    """By how much some work raises the peak resident size of this process."""
    before = peak_mb()
    work()
    return peak_mb() - before


def peak_above_mb(work: Callable[[], object]) -> float:
    """By how much some work raises the resident size of this process at its peak (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    before = _status_mb("VmRSS")
    work()
    return _status_mb("VmHWM") - before


def _status_mb(name: str) -> float:
    """Return a size of this process."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def in_fresh_process(script: str, *arguments: object) -> list[float]:
    """Return what a benchmark prints. Call it before anything large: a child inherits its parent's peak."""
    module = ".".join(Path(script).resolve().relative_to(ROOT).with_suffix("").parts)
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [float(word) for word in done.stdout.split()]


def record(
    name: str,
    value: float,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    spread: tuple[float, float] | None = None,
) -> None:
    """Put a measurement into `latest.json`, in place of the last one of its name."""
    target = at_most if at_least is None else at_least
    met = None if target is None else value >= target if at_most is None else value <= target
    measurements = [measurement for measurement in read_measurements() if measurement.name != name]
    measurements.append(Measurement(name, value, target, met, spread))
    LATEST.write_text(
        json.dumps([asdict(measurement) for measurement in measurements], indent=2) + "\n", encoding="utf-8"
    )


def read_measurements() -> list[Measurement]:
    """Read the measurements of the benchmarks that ran last."""
    if not LATEST.is_file():
        return []
    rows = json.loads(LATEST.read_text(encoding="utf-8"))
    return [Measurement(**{**row, "spread": row["spread"] and tuple(row["spread"])}) for row in rows]


def table(measurements: list[Measurement]) -> str:
    """Return the measurements for a reader."""
    said = {None: "", True: "met", False: "MISSED"}
    lines = [f"{'measurement':<58}{'value':>9}{'spread':>16}{'target':>9}"]
    for one in measurements:
        spread = "" if one.spread is None else f"{one.spread[0]:.3g} to {one.spread[1]:.3g}"
        target = "" if one.target is None else f"{one.target:g}"
        line = f"{one.name:<58}{one.value:>9.3g}{spread:>16}{target:>9}  {said[one.met]}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def arguments(description: str | None, repeats: int, ways: tuple[str, ...] = ()) -> argparse.Namespace:
    """Read the command line of benchmarks; `memory` names a way to measure in this process."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=repeats)
    if ways:
        parser.add_argument("--memory", choices=ways, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    print(table(read_measurements()))

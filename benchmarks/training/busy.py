"""How much longer work takes beside busy programs, by how long OpenMP's threads spin before they sleep.

    python -m benchmarks.training.busy [--data STREET [--split val]] [--repeats 3]

A program keeps each core busy that this process may use. Beside these programs and without them, a fresh
process makes eight passes of twelve small convolutions, forward and backward, with as many threads as cores.
A whole command, `occfeat pretrain --recipe cpu-small+occupancy` of two epochs, is timed as well: as it sets
itself up, with GNU OpenMP's own waiting, and with one thread. Without `--data`, a small street world is
written for it. Ways alternate.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.measuring import in_fresh_process, in_turn, ratio, record
from occfeat.machine.processor import share_processor, usable_cores

DEFAULT = "300000"
"""GNU OpenMP's own value, where there are no more threads than cores."""
OWN = "own"
"""What commands choose by themselves."""
WAYS = {OWN: None, "default": DEFAULT, "30000": "30000", "1000": "1000", "0": "0"}
COMMANDS = {OWN: {}, "default": {"GOMP_SPINCOUNT": DEFAULT}, "one thread": {"OMP_NUM_THREADS": "1"}}
"""What the environment of a whole command has."""
WORLD = "--scenes 4 --key-frames 4 --val-scenes 2 --test-scenes 0 --image-size 128 224"


@contextmanager
def busy_programs(count: int) -> Iterator[None]:
    """Run programs that keep a core busy each."""
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for program in programs:
            program.kill()
            program.wait()


def convolutions() -> float:
    """Seconds of eight passes of twelve small convolutions, in this process."""
    share_processor()
    import torch
    from torch import nn

    torch.set_num_threads(usable_cores())
    network = nn.Sequential(*(nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()) for _ in range(12)))
    images = torch.randn(2, 32, 56, 100)
    network(images).sum().backward()
    start = time.perf_counter()
    for _ in range(8):
        network(images).sum().backward()
    return time.perf_counter() - start


def convolutions_with(spins: str | None) -> float:
    """Seconds of the same, in a process whose threads spin so many times; None: as commands choose."""
    os.environ.pop("GOMP_SPINCOUNT", None)
    if spins is not None:
        os.environ["GOMP_SPINCOUNT"] = spins
    return in_fresh_process(__file__, "--inside")[0]


def pretraining(data: Path, split: str, settings: dict[str, str]) -> float:
    """Seconds of a whole command whose environment has some settings more."""
    free = {name: value for name, value in os.environ.items() if not name.startswith(("GOMP_", "OMP_"))}
    with tempfile.TemporaryDirectory() as folder:
        words = ["--recipe", "cpu-small+occupancy", "--optim.batch-size", "2", "--engine.device", "cpu"]
        words += ["--split", split, "--data", str(data), "--out", f"{folder}/run", "--optim.epochs", "2"]
        start = time.perf_counter()
        occfeat(["pretrain", *words], free | settings)
        return time.perf_counter() - start


def occfeat(words: list[str], environ: dict[str, str]) -> None:
    """Run a command quietly."""
    command = [sys.executable, "-m", "occfeat", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)


def report(what: str, ways: Iterable[str], seconds: dict[str, list[float]]) -> None:
    """Print the times of all ways, idle and busy, and record what has a target."""
    print(f"\n| {what}, waiting | idle s | busy s | busy over idle | idle over default |")
    print("|---|---|---|---|---|")
    for name in ways:
        idle, busy = seconds[f"{name} idle"], seconds[f"{name} busy"]
        cost = ratio(idle, seconds["default idle"])
        print(f"| {name} | {min(idle):.2f} | {min(busy):.2f} | {ratio(busy, idle)} | {cost.median:.2f} |")
    own = ratio(seconds["own busy"], seconds["own idle"])
    record(f"{what}: busy over idle", own.median, at_most=2.5, spread=(own.low, own.high))
    cost = ratio(seconds["own idle"], seconds["default idle"])
    record(f"{what}: idle over the default's", cost.median, at_most=1.03, spread=(cost.low, cost.high))


def measure(what: str, ways: dict[str, Callable[[], float]], repeats: int) -> None:
    """Time all ways of a work, idle and busy."""
    times = in_turn({f"{name} idle": run for name, run in ways.items()}, repeats)
    with busy_programs(usable_cores()):
        times |= in_turn({f"{name} busy": run for name, run in ways.items()}, repeats)
    report(what, ways, times)


def main(given: argparse.Namespace) -> None:
    """Time everything."""
    measure(
        "convolutions",
        {name: partial(convolutions_with, spins) for name, spins in WAYS.items()},
        given.repeats,
    )
    with tempfile.TemporaryDirectory() as folder:
        data = given.data
        if data is None:
            data = Path(folder) / "street"
            occfeat(["world", "--out", str(data), *WORLD.split()], dict(os.environ))
        runs = {name: partial(pretraining, data, given.split, more) for name, more in COMMANDS.items()}
        measure("pretraining", runs, given.repeats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        print(convolutions())
    else:
        main(arguments)

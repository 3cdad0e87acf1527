"""How much longer work takes beside busy programs, by how long OpenMP's threads spin before they sleep.

    python benchmarks/busy.py [--data STREET [--split val]] [--repeats 3]

A program keeps each core busy that this process may use. Beside these programs and without them, a fresh
process makes eight passes of twelve small convolutions, forward and backward, with as many threads as cores.
With `--data`, `occfeat pretrain --recipe cpu-small+occupancy` of two epochs is timed as well: as it sets
itself up, and with GNU OpenMP's own waiting. Ways alternate.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from measuring import in_fresh_process, in_turn, ratio, record

from occfeat.settings.processor import SPINS, usable_cores

DEFAULT = "300000"
"""GNU OpenMP's own value, where there are no more threads than cores."""
WAYS = (DEFAULT, "30000", "1000", "0")


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


def convolutions_with(spins: str) -> float:
    """Seconds of the same, in a process whose threads spin so many times."""
    os.environ["GOMP_SPINCOUNT"] = spins
    return in_fresh_process(__file__, "--inside")[0]


def pretraining(data: Path, split: str, spins: str | None) -> float:
    """Seconds of a whole command; None: it chooses by itself how threads wait."""
    own = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    environ = own if spins is None else own | {"GOMP_SPINCOUNT": spins}
    with tempfile.TemporaryDirectory() as folder:
        settings = f"--recipe cpu-small+occupancy --optim.batch-size 2 --engine.device cpu --split {split}"
        words = [*settings.split(), "--data", str(data), "--out", f"{folder}/run", "--optim.epochs", "2"]
        start = time.perf_counter()
        command = [sys.executable, "-m", "occfeat", "pretrain", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
        return time.perf_counter() - start


def report(what: str, ways: dict[str, str | None], seconds: dict[str, list[float]]) -> None:
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


def main(given: argparse.Namespace) -> None:
    """Time everything."""
    cores = usable_cores()
    named = {"own" if spins == SPINS else "default" if spins == DEFAULT else spins: spins for spins in WAYS}
    works = {"convolutions": (named, convolutions_with)}
    if given.data is not None:
        commands = {"own": None, "default": DEFAULT}
        works["pretraining"] = (commands, partial(pretraining, given.data, given.split))
    for what, (ways, run) in works.items():
        idle = {f"{name} idle": partial(run, spins) for name, spins in ways.items()}
        busy = {f"{name} busy": partial(run, spins) for name, spins in ways.items()}
        times = in_turn(idle, given.repeats)
        with busy_programs(cores):
            times |= in_turn(busy, given.repeats)
        report(what, ways, times)


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

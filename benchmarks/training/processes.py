"""How much faster two processes pretrain than one, with one thread each.

    python -m benchmarks.training.processes --data STREET [--split val]

`occfeat pretrain --recipe cpu-small+occupancy`, two key frames per process and step; one process, then two
that exchange gradients. Key frames per second come from the difference of a longer and a shorter run, so that
starting up does not count. Efficiency: the speed of two processes, over twice that of one.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import record

EPOCHS = (2, 6)
PER_PROCESS = 2


def seconds(data: Path, split: str, processes: int, epochs: int) -> float:
    """Whole time of a run."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "--recipe": "cpu-small+occupancy",
            "--data": data,
            "--split": split,
            "--out": f"{folder}/run",
            "--optim.epochs": epochs,
            "--optim.batch-size": PER_PROCESS * processes,
            "--engine.devices": processes,
            "--engine.workers": 0,
            "--engine.device": "cpu",
        }
        words = [str(word) for pair in settings.items() for word in pair]
        start = time.perf_counter()
        command = [sys.executable, "-m", "occfeat", "pretrain", *words]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=one_thread
        )
        return time.perf_counter() - start


def key_frames(data: Path, split: str) -> int:
    """Key frames of the split."""
    from occfeat.data.index.index import Index
    from occfeat.settings.sections import DataConfig

    return len(Index.open(DataConfig(root=data)).rows(split))


def main(given: argparse.Namespace) -> None:
    """Run the benchmark and print what it measures."""
    count, speed = key_frames(given.data, given.split), {}
    print("| processes | key frames per second |\n|---|---|")
    for processes in (1, 2):
        short, long = (seconds(given.data, given.split, processes, epochs) for epochs in EPOCHS)
        speed[processes] = count * (EPOCHS[1] - EPOCHS[0]) / (long - short)
        print(f"| {processes} | {speed[processes]:.2f} |", flush=True)
    efficiency = speed[2] / (2 * speed[1])
    print(f"\nefficiency {efficiency:.0%}")
    record("two processes: share of twice the speed of one", efficiency)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="val")
    main(parser.parse_args())

"""A pretraining step of every paper-sized student: does it fit, what does it cost?

    python -m benchmarks.models.students

One key frame, six images of 224 x 400, 200 x 200 x 8 voxels, occupancy and 384-wide features with the
teacher's maps cached: targets, forward, backward and an optimiser step. Each student in a fresh process; the
median of the repeats after a first step, and the peak resident size of the whole process.
"""

import argparse
import statistics
import time

import torch

from benchmarks.measuring import in_fresh_process, peak_mb, record
from benchmarks.models.lifting import grid
from benchmarks.training.step import cached_batch, pretraining_network
from occfeat.models.recompute import recompute_activations
from occfeat.models.students.build import build_student
from occfeat.pretraining.network import TargetMaker
from occfeat.settings.recipes import RECIPES
from occfeat.settings.sections import OptimConfig
from occfeat.training.optim.adamw import build_optimizer

NAMES = tuple(name for name in RECIPES if name != "cpu-small")
LARGEST_MB = 24_000


def measure(name: str, repeats: int, recompute: bool) -> tuple[int, float, float]:
    """In a fresh process: parameters, median seconds of a step, peak memory in MB."""
    torch.manual_seed(0)
    voxels, batch = grid(), cached_batch()
    student = build_student(RECIPES[name]().student, voxels, load_backbone=False)
    network = pretraining_network(student, voxels)
    if recompute:
        recompute_activations(network)
    optimizer, times = build_optimizer(network, OptimConfig()), []
    maker = TargetMaker(network.objectives, voxels)
    for _ in range(1 + repeats):
        start = time.perf_counter()
        network(batch, maker(batch)).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    return sum(weight.numel() for weight in student.parameters()), statistics.median(times[1:]), peak_mb()


def main(repeats: int) -> None:
    """Run the benchmark and print what it measures."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {repeats} repeats\n")
    print("| student | parameters | step s | peak memory MB | the same with engine.recompute | |")
    print("|---|---|---|---|---|---|")
    for name in NAMES:
        command = (__file__, "--one", name, "--repeats", repeats)
        parameters, seconds, megabytes = in_fresh_process(*command)
        _, longer, less = in_fresh_process(*command, "--recompute")
        cost = f"{seconds:.2f} | {megabytes:.0f} | {longer:.2f} | {less:.0f}"
        print(f"| {name} | {parameters:,.0f} | {cost} |", flush=True)
        record(f"pretraining step of {name}: peak memory MB", megabytes, at_most=LARGEST_MB)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--recompute", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(*measure(arguments.one, arguments.repeats, arguments.recompute))
    else:
        main(arguments.repeats)

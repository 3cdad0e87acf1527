"""Pretraining head: features at occupied voxels only, beside projecting every voxel; time, memory, agreement.

    python benchmarks/head.py

Both ways run forward and backward from the same BEV features on the default grid, 200 x 200 x 8, with
384-wide features and 2 % of the voxels occupied. Time: alternating repeats, medians, and the range of the
ratio. Memory: growth of the peak resident size of a fresh process over one forward and backward.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import Tensor

from occfeat.config import HeadConfig
from occfeat.pretraining.head import PretrainingHead
from occfeat.pretraining.losses import feature_loss, occupancy_loss

BEV_CHANNELS, SHAPE, WIDTH, OCCUPIED = 128, (200, 200, 8), 384, 0.02
WAYS = ("occupied voxels only", "every voxel")


def inputs() -> tuple[PretrainingHead, Tensor, Tensor, Tensor]:
    """Head, BEV features, occupancy and teacher features, the same every time."""
    torch.manual_seed(0)
    head = PretrainingHead(BEV_CHANNELS, SHAPE[2], WIDTH, HeadConfig())
    occupied = torch.rand(1, *SHAPE) < OCCUPIED
    bev = torch.randn(1, BEV_CHANNELS, *SHAPE[:2]).requires_grad_()
    return head, bev, occupied, torch.randn(int(occupied.sum()), WIDTH)


def loss_of(way: str, head: PretrainingHead, bev: Tensor, occupied: Tensor, target: Tensor) -> Tensor:
    """Sum of both losses of pretraining."""
    voxels = head(bev)
    if way == "every voxel":
        assert head.features is not None
        predicted = head.features(voxels.own.permute(0, 2, 3, 4, 1))[occupied]
    else:
        predicted = head.features_at(voxels, occupied.nonzero())
    return occupancy_loss(head.occupancy_logits(voxels), occupied) + feature_loss(predicted, target)


def seconds(way: str, head: PretrainingHead, bev: Tensor, *truth: Tensor) -> float:
    """Time of forward and backward."""
    head.zero_grad()
    start = time.perf_counter()
    loss_of(way, head, bev, *truth).backward()
    return time.perf_counter() - start


def measure_memory(way: str) -> None:
    """In a fresh process: print the growth of the peak resident size in MB."""
    prepared = inputs()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds(way, *prepared)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(grown / (1024 * 1024 if sys.platform == "darwin" else 1024))


def memory_mb(way: str) -> float:
    """Growth of the peak resident size over one forward and backward."""
    command = [sys.executable, __file__, "--memory", way]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(repeats: int) -> None:
    memory = {way: memory_mb(way) for way in WAYS}  # first: a process inherits the peak of its parent
    prepared = inputs()
    losses = [float(loss_of(way, *prepared).detach()) for way in WAYS]
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            times[way].append(seconds(way, *prepared))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {repeats} alternating repeats\n")
    print("| head, both losses, forward + backward | s | extra memory MB |")
    print("|---|---|---|")
    for way in WAYS:
        print(f"| {way} | {statistics.median(times[way]):.2f} | {memory[way]:.0f} |")
    ratios = sorted(slow / fast for fast, slow in zip(*times.values(), strict=True))
    print(f"\n{statistics.median(ratios):.1f}x as fast ({ratios[0]:.1f} to {ratios[-1]:.1f})")
    print(f"\nmemory: {memory[WAYS[1]] / memory[WAYS[0]]:.1f} times less")
    print(f"\nlosses differ by {abs(losses[0] - losses[1]):.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        measure_memory(arguments.memory)
    else:
        main(arguments.repeats)

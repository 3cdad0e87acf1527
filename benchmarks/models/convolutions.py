"""How near the large convolutions of a pretraining step come to the machine's rate of matrix products.

    python -m benchmarks.models.convolutions

The step of `step.py`: SimpleBEV with EfficientNet-B0, six images of 224 x 400, 200 x 200 x 8 voxels. Every
convolution that has at least 3 % of the arithmetic is run alone, forward and backward, on noise of the shape
and memory order it meets there; the matrix product is the fastest of 1024, 2048 and 4096 square. Medians.
"""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.measuring import arguments, record
from benchmarks.training.step import cached_batch, grid, networks
from occfeat.pretraining.network import TargetMaker

LARGE = 0.03
"""Share of a step's arithmetic from which on a convolution counts as large."""


@dataclass(frozen=True)
class Met:
    """A convolution, and what it met in a step."""

    name: str
    layer: nn.Conv2d | nn.Conv3d
    entered: Tensor
    """Noise of the shape and memory order of its input."""
    flops: float
    """Of the forward pass; a multiplication and an addition are two."""


def convolutions() -> list[Met]:
    """Return all convolutions of a step, those with most arithmetic first."""
    network, _ = networks()
    found: list[Met] = []

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        """Return a hook that notes what a layer meets."""

        def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            """Note a layer, with an input of the same size."""
            assert isinstance(layer, nn.Conv2d | nn.Conv3d)
            taps = math.prod(layer.kernel_size) * layer.in_channels // layer.groups
            found.append(Met(name, layer, torch.rand_like(inputs[0]), 2.0 * taps * output.numel()))

        return note

    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            layer.register_forward_hook(watch(name))
    batch = cached_batch()
    with torch.no_grad():
        network(batch, TargetMaker(network.objectives, grid())(batch))
    for one in found:
        one.layer._forward_hooks.clear()
    return sorted(found, key=lambda one: -one.flops)


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Of some work, after it has run once."""
    times = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def matmul_rate(repeats: int) -> float:
    """Operations per second of the fastest square matrix product."""
    rates = []
    for size in (1024, 2048, 4096):
        left, right = torch.rand(size, size), torch.rand(size, size)
        rates.append(2 * size**3 / median_seconds(lambda left=left, right=right: left @ right, repeats))
    return max(rates)


def both_ways(met: Met) -> Callable[[], None]:
    """Forward and backward, to the weights and to the input."""
    entered = met.entered.requires_grad_()
    upstream = torch.rand_like(met.layer(entered))

    def work() -> None:
        """Run one backward pass."""
        met.layer(entered).backward(upstream)

    return work


def main(repeats: int) -> None:
    """Run the benchmark and print what it measures."""
    fastest = matmul_rate(repeats)
    found = convolutions()
    total = sum(one.flops for one in found)
    large = [one for one in found if one.flops >= LARGE * total]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {repeats} repeats")
    print(f"matrix product: {fastest / 1e9:.0f} GFLOP/s\n")
    print("| convolution | input | share of the arithmetic | GFLOP/s | of the matrix product |")
    print("|---|---|---|---|---|")
    work, seconds = 0.0, 0.0
    for one in large:
        taken = median_seconds(both_ways(one), repeats)
        flops = 3 * one.flops  # forward; backward for the input; backward for the weights
        work, seconds = work + flops, seconds + taken
        rate, shape = flops / taken, "x".join(map(str, one.entered.shape))
        share, of_product = one.flops / total, rate / fastest
        print(f"| `{one.name}` | {shape} | {share:.0%} | {rate / 1e9:.0f} | {of_product:.0%} |", flush=True)
    print(f"\nall of them, by time: {work / seconds / fastest:.0%}")
    record("large convolutions: share of the matrix product's rate", work / seconds / fastest, at_least=0.7)


if __name__ == "__main__":
    main(arguments(__doc__, 7).repeats)

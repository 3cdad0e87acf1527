"""A pretraining step compiled by `torch.compile`, beside the same step as it is.

    python -m benchmarks.training.compiled

The step of `step.py`, its teacher's maps cached. Compiling needs a C++ compiler here, which OccFeat does not.
Alternating repeats, medians, the range of the ratio; the first compiled step, which compiles, is told apart.
"""

import statistics
from functools import partial

import torch

from benchmarks.measuring import arguments, in_turn, ratio, record
from benchmarks.training.step import Step, cached_batch, grid, networks, seconds
from occfeat.machine.allocator import keep_freed_memory
from occfeat.pretraining.network import TargetMaker


def step_of(*, compiled: bool) -> Step:
    """Loss of a forward pass, ready for backward; the same weights and the same batch."""
    network, _ = networks()
    batch, maker = cached_batch(), TargetMaker(network.objectives, grid())
    if compiled:
        network.compile()
    return lambda: network(batch, maker(batch)).loss


def main(repeats: int) -> None:
    """Run the benchmark and print what it measures."""
    keep_freed_memory()
    steps = {"as it is": step_of(compiled=False), "compiled": step_of(compiled=True)}
    first = {name: seconds(step) for name, step in steps.items()}
    losses = [float(step().detach()) for step in steps.values()]
    times = in_turn({name: partial(seconds, step) for name, step in steps.items()}, repeats)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {repeats} alternating repeats\n")
    print("| pretraining step | first step s | s |\n|---|---|---|")
    for name, found in times.items():
        print(f"| {name} | {first[name]:.1f} | {statistics.median(found):.2f} |")
    faster = ratio(times["as it is"], times["compiled"])
    print(f"\ncompiled: {faster} as fast; losses {losses[0]:.6f} and {losses[1]:.6f}")
    record("compiled pretraining step: times as fast", faster.median, spread=(faster.low, faster.high))


if __name__ == "__main__":
    main(arguments(__doc__, 3).repeats)

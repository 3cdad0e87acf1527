"""What averaged weights cost beside a pretraining step: time and memory.

    python -m benchmarks.training.averaging

The step of `step.py` (SimpleBEV with EfficientNet-B0, batch 1, the teacher's maps cached) with AdamW, and the
update of the average after it, in turn. Memory: the bytes of the averages beside those of the weights.
"""

import statistics
import time
from collections.abc import Iterable

from torch import Tensor

from benchmarks.measuring import arguments, in_turn, ratio, record
from benchmarks.training.step import cached_batch, networks
from occfeat.pretraining.network import TargetMaker
from occfeat.settings.sections import OptimConfig
from occfeat.training.optim.adamw import build_optimizer
from occfeat.training.optim.average import WeightAverage


def megabytes(tensors: Iterable[Tensor]) -> float:
    """Memory of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20


def main(repeats: int) -> None:
    """Run the benchmark and print what it measures."""
    network, _ = networks()
    batch, maker = cached_batch(), TargetMaker(network.objectives, network.student.grid)
    optimizer, average = build_optimizer(network, OptimConfig()), WeightAverage(network, horizon=100)

    def step() -> float:
        """Seconds of a step."""
        start = time.perf_counter()
        network(batch, maker(batch)).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - start

    def update() -> float:
        """Seconds of an update of the average."""
        start = time.perf_counter()
        average.update(step=50)
        return time.perf_counter() - start

    step()
    times = in_turn({"step": step, "update": update}, repeats)
    share = ratio(times["update"], times["step"])
    held, weights = megabytes(average.tensors.values()), megabytes(network.state_dict().values())
    seconds = {name: statistics.median(taken) for name, taken in times.items()}
    print(f"step {seconds['step']:.2f} s, update of the average {1000 * seconds['update']:.1f} ms")
    print(f"share {share.median:.4f} ({share.low:.4f} to {share.high:.4f})")
    print(f"averages {held:.1f} MB, weights {weights:.1f} MB")
    spread = (share.low, share.high)
    record("averaged weights: share of a pretraining step", share.median, at_most=0.01, spread=spread)
    record("averaged weights: memory in copies of the weights", held / weights, at_most=1.0)


if __name__ == "__main__":
    main(arguments(__doc__, 7).repeats)

"""Pretraining head: features at occupied voxels only, beside projecting every voxel; time, memory, agreement.

    python -m benchmarks.models.head

Both ways run forward and backward from the same BEV features on the default grid, 200 x 200 x 8, with
384-wide features and 2 % of the voxels occupied. Time: alternating repeats, medians, and the range of the
ratio. Memory: growth of the peak resident size of a fresh process over one forward and backward.
"""

import statistics
import time
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.measuring import arguments, growth_mb, in_fresh_process, in_turn, ratio, record
from occfeat.pretraining.objectives.contract import HeadShape, TeacherShape
from occfeat.pretraining.objectives.entropy import mean_entropy
from occfeat.pretraining.objectives.features import Features, cosine, feature_loss
from occfeat.pretraining.objectives.occupancy import Occupancy, occupancy_logits
from occfeat.pretraining.trunk import Trunk
from occfeat.settings.sections import HeadConfig

BEV_CHANNELS, SHAPE, WIDTH, OCCUPIED = 128, (200, 200, 8), 384, 0.02
WAYS = ("occupied voxels only", "every voxel")


def inputs() -> tuple[nn.ModuleDict, Tensor, Tensor, Tensor]:
    """Build head, BEV features, occupancy and teacher features, the same every time."""
    torch.manual_seed(0)
    config = HeadConfig()
    shape = HeadShape(BEV_CHANNELS, config.channels, SHAPE[2], TeacherShape((WIDTH,)))
    parts = {"trunk": Trunk(BEV_CHANNELS, SHAPE[2], config)}
    parts |= {one.name: one.build_output(shape) for one in (Occupancy(1.0), Features(0.01))}
    occupied = torch.rand(1, *SHAPE) < OCCUPIED
    bev = torch.randn(1, BEV_CHANNELS, *SHAPE[:2]).requires_grad_()
    return nn.ModuleDict(parts), bev, occupied, torch.randn(int(occupied.sum()), WIDTH)


def loss_of(way: str, head: nn.ModuleDict, bev: Tensor, occupied: Tensor, target: Tensor) -> Tensor:
    """Sum both losses of pretraining."""
    voxels, features = head["trunk"](bev), head["features"]
    if way == "every voxel":
        predicted = features.linear(voxels.permute(0, 2, 3, 4, 1))[occupied]
    else:
        predicted = features(voxels, occupied.nonzero())
    return mean_entropy(occupancy_logits(head["occupancy"], voxels), occupied) + feature_loss(
        cosine(predicted, target)
    )


def seconds(way: str, head: nn.ModuleDict, bev: Tensor, *truth: Tensor) -> float:
    """Time of forward and backward."""
    head.zero_grad()
    start = time.perf_counter()
    loss_of(way, head, bev, *truth).backward()
    return time.perf_counter() - start


def convolution_seconds(layout: torch.memory_format) -> float:
    """Processor time of a 3-D convolution of the head, forward and backward, of channels-first volumes."""
    torch.manual_seed(0)
    channels = HeadConfig().channels
    convolution = nn.Conv3d(channels, channels, kernel_size=3, padding=1, bias=False)
    volume = torch.randn(1, channels, SHAPE[2], *SHAPE[:2]).requires_grad_()
    start = time.process_time()
    convolved = convolution(volume.contiguous(memory_format=layout)).contiguous()
    convolved.sum().backward()
    return time.process_time() - start


def main(repeats: int) -> None:
    """Run the benchmark and print what it measures."""
    memory = {way: in_fresh_process(__file__, "--memory", way)[0] for way in WAYS}
    prepared = inputs()
    losses = [float(loss_of(way, *prepared).detach()) for way in WAYS]
    times = in_turn({way: partial(seconds, way, *prepared) for way in WAYS}, repeats)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {repeats} alternating repeats\n")
    print("| head, both losses, forward + backward | s | extra memory MB |")
    print("|---|---|---|")
    for way in WAYS:
        print(f"| {way} | {statistics.median(times[way]):.2f} | {memory[way]:.0f} |")
    occupied, every = WAYS
    faster, less = ratio(times[every], times[occupied]), memory[every] / memory[occupied]
    print(f"\n{faster} as fast, {less:.1f} times less memory")
    print(f"\nlosses differ by {abs(losses[0] - losses[1]):.1e}")
    record("head: times as fast as at every voxel", faster.median, spread=(faster.low, faster.high))
    record("head: times less memory than at every voxel", less)
    compare_convolutions(repeats)


def compare_convolutions(repeats: int) -> None:
    """Measure the 3-D convolution in both layouts, whichever the package uses on this processor."""
    layouts = {"last": torch.channels_last_3d, "first": torch.contiguous_format}
    ways = {name: partial(convolution_seconds, layout) for name, layout in layouts.items()}
    last, first = (times[1:] for times in in_turn(ways, 1 + repeats).values())
    faster = ratio(first, last)
    print(f"\n3-D convolution, channels last: {statistics.median(last):.2f} s of processor time, {faster} as")
    print(f"fast as first ({torch.backends.cpu.get_cpu_capability()})")
    spread = (faster.low, faster.high)
    record("3-D convolution: times as fast as channels first", faster.median, spread=spread)


if __name__ == "__main__":
    given = arguments(__doc__, 5, WAYS)
    if given.memory:
        print(growth_mb(partial(seconds, given.memory, *inputs())))
    else:
        main(given.repeats)

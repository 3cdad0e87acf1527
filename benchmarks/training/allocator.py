"""Pretraining steps with freed memory kept, and with it given back to the system: time, faults, memory.

    python -m benchmarks.training.allocator

Two recipes, noise for images, the teacher's maps cached: `cpu-small` with four key frames of 128 x 224
pixels (the upper left of large images), `paper-simplebev-b0` with one of 224 x 400. Every measurement in a
fresh process, both ways in turn: the median step after two, page faults per step, peak resident size.
"""

import argparse
import resource
import statistics
import time
from dataclasses import replace

import torch

from benchmarks.measuring import in_fresh_process, peak_mb, ratio, record
from benchmarks.training.step import cached_batch, pretraining_network
from occfeat.data.sample.sample import Batch, Sample, collate
from occfeat.data.sample.teacher import FeatureMaps, TeacherMaps
from occfeat.machine.allocator import keep_freed_memory
from occfeat.models.students.build import build_student
from occfeat.pretraining.network import TargetMaker
from occfeat.release.shipped import build_grid
from occfeat.settings.recipes import RECIPES
from occfeat.settings.sections import OptimConfig
from occfeat.training.optim.adamw import build_optimizer

NAMES, KEY_FRAMES = ("cpu-small", "paper-simplebev-b0"), (4, 1)
WAYS = ("kept", "given-back")


def batch_of(name: str) -> Batch:
    """As many key frames as a step of the recipe has here, cut to its image size."""
    whole, (height, width) = cached_batch(), RECIPES[name]().view.image_size
    saw = whole.teacher
    assert isinstance(saw, TeacherMaps)
    sample = Sample(
        token="frame",
        images=whole.images[0, ..., :height, :width],
        cameras=replace(whole.cameras.of_key_frame(0), image_size=(height, width)),
        teacher=TeacherMaps(FeatureMaps(saw.maps.values[0], saw.maps.scales[0]), saw.cameras.of_key_frame(0)),
        points=whole.points,
    )
    return collate([sample] * KEY_FRAMES[NAMES.index(name)])


def measure(name: str, way: str, steps: int) -> tuple[float, float, float]:
    """In a fresh process: median seconds of a step, page faults per step, peak memory in MB."""
    assert way != "kept" or keep_freed_memory()
    recipe, batch = RECIPES[name](), batch_of(name)
    torch.manual_seed(0)
    grid = build_grid(recipe.grid)
    student = build_student(recipe.student, grid, load_backbone=False)
    network = pretraining_network(student, grid, recipe.loss, recipe.head)
    maker = TargetMaker(network.objectives, grid)
    optimizer, times, faults = build_optimizer(network, OptimConfig()), [], []
    for _ in range(2 + steps):
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        network(batch, maker(batch)).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return statistics.median(times[2:]), statistics.median(faults[2:]), peak_mb()


def main(repeats: int) -> None:
    """Run the benchmark and print what it measures."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {repeats} alternating repeats\n")
    print("| recipe | freed memory | step s | page faults per step | peak memory MB |\n|---|---|---|---|---|")
    for name in NAMES:
        found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for _ in range(repeats):
            for way in WAYS:
                found[way].append(in_fresh_process(__file__, "--one", name, way))
        for way in WAYS:
            seconds, faults, peak = (statistics.median(one) for one in zip(*found[way], strict=True))
            print(
                f"| {name} | {way.replace('-', ' ')} | {seconds:.2f} | {faults:,.0f} | {peak:.0f} |",
                flush=True,
            )
        kept, given_back = ([one[0] for one in found[way]] for way in WAYS)
        faster = ratio(given_back, kept)
        print(f"| {name} | kept | {faster} as fast | | |")
        record(f"freed memory kept, {name}: times as fast", faster.median, spread=(faster.low, faster.high))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("RECIPE", "WAY"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(*measure(*given.one, steps=6))
    else:
        main(given.repeats)

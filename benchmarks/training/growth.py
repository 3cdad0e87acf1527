"""How time and memory grow with the set, the cameras, the grid and the batch.

    python -m benchmarks.training.growth [--picture benchmarks/training/growth.png]

The set: made-up tables of 100, 1000 and 28 130 key frames; the index is built and read at random. The rest:
a pretraining step of SimpleBEV with EfficientNet-B0 (images of 128 x 224, six cameras, 200 x 200 x 8 voxels,
one key frame, occupancy and 384-wide features from cached maps), of which one number is changed at a time.
Every point is a fresh process; time is the fastest of the repeats, memory the peak resident size. An exponent
is the slope of a straight line through all points of a curve, on logarithmic axes: 1 is linear.
"""

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure

from benchmarks.data.index import BUILD, KEY_FRAMES, READ, run, write_tables
from benchmarks.measuring import in_fresh_process, peak_mb, record
from benchmarks.models.lifting import surround_rig
from benchmarks.training.step import pretraining_network
from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.lidar import Points
from occfeat.data.sample.sample import Batch
from occfeat.data.sample.teacher import FeatureMaps, TeacherMaps
from occfeat.geometry.camera import resize
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.students.build import build_student
from occfeat.pretraining.network import TargetMaker
from occfeat.settings.sections import GridConfig
from occfeat.settings.students import SimpleBevConfig

SIZE, WIDTH, RETURNS = (128, 224), 384, 34_688
SET = (100, 1000, 28_130)


@dataclass(frozen=True)
class Step:
    """What a step has to do."""

    cameras: int = 6
    cells: int = 200
    batch: int = 1


CURVES: dict[str, list[Step]] = {
    "cameras": [Step(cameras=count) for count in (1, 3, 6, 12)],
    "cells": [Step(cells=count) for count in (100, 200, 400)],
    "batch": [Step(batch=count) for count in (1, 2, 4, 8)],
}


def rig_of(step: Step) -> Cameras:
    """Return the rig of the other benchmarks, again and again until there are enough cameras."""
    rig = surround_rig()
    chosen = torch.arange(step.cameras) % 6
    smaller = resize(rig.image_size, SIZE).float()
    parts = (smaller @ rig.intrinsics, rig.ego_from_camera, rig.present)
    return Cameras(*(part[:, chosen].expand(step.batch, *part[:, chosen].shape[1:]) for part in parts), SIZE)


def batch_of(step: Step) -> Batch:
    """Noise images, returns on a plane and noise as what the teacher saw."""
    torch.manual_seed(0)
    rig, total = rig_of(step), step.batch * RETURNS
    points = torch.rand(total, 3) * torch.tensor((100.0, 100.0, 2.0)) - torch.tensor((50.0, 50.0, 1.0))
    shape = (step.batch, step.cameras, 16, 28)
    maps = FeatureMaps(torch.randint(-127, 128, (*shape, WIDTH), dtype=torch.int8), torch.rand(shape))
    return Batch(
        tokens=("frame",) * step.batch,
        images=torch.randint(0, 256, (step.batch, step.cameras, 3, *SIZE), dtype=torch.uint8),
        cameras=rig,
        teacher=TeacherMaps(maps, rig),
        points=Points(points, torch.zeros(total, 3), torch.arange(step.batch).repeat_interleave(RETURNS)),
    )


def measure(step: Step, repeats: int) -> tuple[float, float]:
    """In a fresh process: seconds of a step and the peak memory in MB."""
    config, size_m = GridConfig(), 100 / step.cells
    voxels = VoxelGrid(config.lower_m, config.upper_m, (size_m, size_m, config.cell_m[2]))
    batch, times = batch_of(step), []
    student = build_student(SimpleBevConfig(), voxels, load_backbone=False)
    network = pretraining_network(student, voxels)
    maker = TargetMaker(network.objectives, voxels)
    for _ in range(1 + repeats):
        start = time.perf_counter()
        network(batch, maker(batch)).loss.backward()
        times.append(time.perf_counter() - start)
    return min(times[1:]), peak_mb()


def exponent(sizes: list[float], values: list[float]) -> float:
    """Slope of the straight line through the points on logarithmic axes."""
    return statistics.linear_regression([math.log(x) for x in sizes], [math.log(y) for y in values]).slope


def step_curve(name: str, repeats: int) -> dict[str, list[float]]:
    """Sizes, seconds and megabytes of one curve; the grid by its number of cells, not their side."""
    curve: dict[str, list[float]] = {"size": [], "time": [], "memory": []}
    for step in CURVES[name]:
        words = [f"--{field}={value}" for field, value in vars(step).items()]
        seconds, megabytes = in_fresh_process(__file__, "--one", f"--repeats={repeats}", *words)
        size = getattr(step, name)
        for key, value in zip(curve, (size**2 if name == "cells" else size, seconds, megabytes), strict=True):
            curve[key].append(value)
        print(f"| {name} | {size} | {seconds:.2f} s | {megabytes:.0f} MB |", flush=True)
    return curve


def set_curve() -> dict[str, list[float]]:
    """Key frames of the set, seconds to build the index, and megabytes of a process that reads from it."""
    curve: dict[str, list[float]] = {"size": [], "time": [], "memory": []}
    for count in SET:
        with tempfile.TemporaryDirectory() as folder:
            write_tables(Path(folder), (count + 0.5) / KEY_FRAMES)
            built, read = run(sys.executable, BUILD, Path(folder)), run(sys.executable, READ, Path(folder))
        own_mb = read["own_mb"][-1]  # type: ignore[index]
        for key, value in zip(curve, (count, built["seconds"], own_mb), strict=True):
            curve[key].append(value)
        each = f"{read['each_ms']:.2f} ms to read one"
        print(
            f"| key frames | {count} | {built['seconds']:.1f} s to build, {each} | {own_mb:.0f} MB |",
            flush=True,
        )
    return curve


def draw(curves: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Time and memory of all curves, relative to their first points."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, what in zip(figure.subplots(1, 2), ("time", "memory"), strict=True):
        for name, curve in curves.items():
            sizes, values = ([value / one[0] for value in one] for one in (curve["size"], curve[what]))
            axes.loglog(sizes, values, "o-", label=f"{name}: {exponent(curve['size'], curve[what]):.2f}")
        axes.loglog([1, 16], [1, 16], "k:", label="linear")
        axes.set(title=what, xlabel="size, times the smallest", ylabel=f"{what}, times that of the smallest")
        axes.legend(fontsize=8, title="exponent")
    figure.savefig(path, dpi=100)


def main(given: argparse.Namespace) -> None:
    """Run the benchmark and print what it measures."""
    print("| what grows | to | time | memory |\n|---|---|---|---|")
    makers: dict[str, Callable[[], dict[str, list[float]]]] = {
        name: (lambda name=name: step_curve(name, given.repeats)) for name in CURVES
    }
    curves = {name: make() for name, make in {**makers, "key frames": set_curve}.items()}
    print("\n| exponent | time | memory |\n|---|---|---|")
    for name, curve in curves.items():
        slopes = {what: exponent(curve["size"], curve[what]) for what in ("time", "memory")}
        print(f"| {name} | {slopes['time']:.2f} | {slopes['memory']:.2f} |")
        for what, slope in slopes.items():
            record(f"growth with {name}: exponent of {what}", slope, at_most=1.05)
    draw(curves, given.picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--picture", type=Path, default=Path(__file__).with_suffix(".png"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    for name, value in vars(Step()).items():
        parser.add_argument(f"--{name}", type=int, default=value, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(*measure(Step(arguments.cameras, arguments.cells, arguments.batch), arguments.repeats))
    else:
        main(arguments)

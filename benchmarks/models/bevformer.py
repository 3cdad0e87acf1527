"""BEVFormer that computes only queries a camera sees, beside the plain way: all queries for all cameras.

    python -m benchmarks.models.bevformer

A step is forward and backward of the whole student (recipe `paper-bevformer-b0`, random weights, one key
frame of six cameras), plans made before. Both ways alternate, so that whatever else the machine does hits
both; medians and the range of the ratio over the repeats. Memory: the growth of the peak resident size of a
fresh process over one step. `--cells 20 --image-size 32 64` tries it out in miniature.
"""

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring import growth_mb, in_fresh_process, ratio, record
from benchmarks.models.lifting import surround_rig
from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.camera import resize
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.lifting.hits import QueryHits, build_hits, project_queries
from occfeat.models.lifting.plans import Building, PlanCache
from occfeat.models.students.bevformer import BevFormer
from occfeat.models.students.build import build_student
from occfeat.settings.recipes import RECIPES


def list_all(*rig: Any) -> Building[QueryHits]:
    """List every query for every camera."""
    yield torch.empty(0, dtype=torch.int64)
    return project_queries(*rig)


WAYS = {"seen": build_hits, "all": list_all}


@dataclass(frozen=True)
class Scene:
    """What goes into a step."""

    grid: VoxelGrid
    images: Tensor
    cameras: Cameras


def make_scene(cells: int, image_size: tuple[int, int]) -> Scene:
    """Build the recipe's grid with this many cells along x and y, and a rig of six cameras."""
    config = RECIPES["paper-bevformer-b0"]().grid
    size_m = (config.upper_m[0] - config.lower_m[0]) / cells
    grid = VoxelGrid(config.lower_m, config.upper_m, (size_m, size_m, config.cell_m[2]))
    rig = surround_rig()
    smaller = resize(rig.image_size, image_size).float()
    cameras = Cameras(smaller @ rig.intrinsics, rig.ego_from_camera, rig.present, image_size)
    torch.manual_seed(0)
    return Scene(grid, torch.randint(0, 256, (1, 6, 3, *image_size), dtype=torch.uint8), cameras)


def make_student(way: str, scene: Scene) -> BevFormer:
    """Build the same weights either way."""
    torch.manual_seed(0)
    student = build_student(RECIPES["paper-bevformer-b0"]().student, scene.grid, load_backbone=False)
    assert isinstance(student, BevFormer)
    student.plans = PlanCache(WAYS[way])
    student.hits(scene.cameras)
    return student


def step(student: BevFormer, scene: Scene) -> tuple[float, float, Tensor]:
    """Time of forward and of backward, and the BEV features."""
    student.zero_grad()
    start = time.perf_counter()
    bev = student(scene.images, scene.cameras)
    middle = time.perf_counter()
    bev.square().mean().backward()
    return middle - start, time.perf_counter() - middle, bev.detach()


def memory_mb(way: str, scene: Scene) -> float:
    """In a fresh process: growth of the peak resident size over one step."""
    student = make_student(way, scene)
    return growth_mb(lambda: step(student, scene))


def agreement(students: dict[str, BevFormer], scene: Scene) -> tuple[float, float]:
    """Largest difference of the features, and of the gradients relative to the largest gradient."""
    features, gradients = [], []
    for student in students.values():
        features.append(step(student, scene)[2])
        gradients.append(torch.cat([w.grad.flatten() for w in student.parameters() if w.grad is not None]))
    relative = (gradients[0] - gradients[1]).abs().max() / gradients[1].abs().max()
    return float((features[0] - features[1]).abs().max()), float(relative)


def row(way: str, queries: int, times: list[tuple[float, float]], megabytes: float) -> str:
    """Return a row of the table."""
    forward, backward, both = (
        statistics.median(values) for values in (*zip(*times, strict=True), [f + b for f, b in times])
    )
    return f"| {way} | {queries} | {forward:.2f} | {backward:.2f} | {both:.2f} | {megabytes:.0f} |"


def main(scene: Scene, repeats: int) -> None:
    """Run the benchmark and print what it measures."""
    memory = {way: in_fresh_process(__file__, *sys.argv[1:], "--memory", way)[0] for way in WAYS}
    students = {way: make_student(way, scene) for way in WAYS}
    value, gradient = agreement(students, scene)
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way, student in students.items():
            times[way].append(step(student, scene)[:2])
    shape = " x ".join(map(str, scene.grid.bev.shape))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {repeats} alternating repeats\n")
    print(f"| queries of {shape} cells | per camera | forward s | backward s | both s | extra memory MB |")
    print("|---|---|---|---|---|---|")
    for way, student in students.items():
        print(row(way, student.hits(scene.cameras).queries.shape[2], times[way], memory[way]))
    faster = ratio(*([sum(pair) for pair in times[way]] for way in ("all", "seen")))
    less = memory["all"] / max(memory["seen"], 1)
    print(f"\n{faster} as fast, {less:.1f} times less memory")
    record("BEVFormer: times as fast as all queries", faster.median, spread=(faster.low, faster.high))
    record("BEVFormer: times less memory than all queries", less)
    print(f"\nlargest difference: value {value:.1e}, gradient {gradient:.1e} of the largest")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--image-size", type=int, nargs=2, default=(224, 400), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--memory", choices=tuple(WAYS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    chosen = make_scene(arguments.cells, tuple(arguments.image_size))
    if arguments.memory:
        print(memory_mb(arguments.memory, chosen))
    else:
        main(chosen, arguments.repeats)

"""Sparse lifting beside the dense `grid_sample` reference: time, memory and agreement, in one run.

    python -m benchmarks.models.lifting

Time: forward and backward of both, alternating, so that whatever else the machine does hits both; medians and
the range of the ratio over the repeats. Memory: the growth of the peak resident size of a fresh process over
one forward and backward; features and incoming gradient are there before, the plan is made within.
"""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from benchmarks.measuring import Ratio, arguments, growth_mb, in_fresh_process, in_turn, ratio, record
from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.distortion import stack_lenses
from occfeat.geometry.frames import from_rotation, rotation_about_z
from occfeat.geometry.grid import VoxelGrid
from occfeat.geometry.lens import Lens
from occfeat.models.lifting.plans import PlanCache, finish
from occfeat.models.lifting.sampling import lift_dense
from occfeat.models.lifting.sparse import LiftingPlan, build_plan, lift
from occfeat.settings.sections import GridConfig

IMAGE_SIZE, FEATURE_SIZE, STRIDE_PX, CHANNELS = (224, 400), (28, 50), 8, 128
AZIMUTHS_DEG = (0.0, -55.0, -110.0, 180.0, 110.0, 55.0)
FOCAL_PX = (316.0, 316.0, 316.0, 200.0, 316.0, 316.0)
WAYS = ("sparse", "dense")
Lifting = Callable[[Tensor, Cameras], Tensor]


def surround_rig() -> Cameras:
    """Six level cameras with nuScenes' azimuths and fields of view (the one that looks back sees wider)."""
    forward = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    turns = rotation_about_z(torch.tensor([math.radians(angle) for angle in AZIMUTHS_DEG]))
    positions_m = turns[:, :, 0] * 0.8 + torch.tensor([0.9, 0.0, 1.5])
    intrinsics = torch.zeros(6, 3, 3)
    for camera, focal_px in enumerate(FOCAL_PX):
        intrinsics[camera] = torch.tensor([[focal_px, 0, 200], [0, focal_px, 112], [0, 0, 1]])
    poses = from_rotation(turns @ forward, positions_m)
    return Cameras(intrinsics[None], poses[None], torch.ones(1, 6, dtype=torch.bool), IMAGE_SIZE)


def grid() -> VoxelGrid:
    """Return the default grid: 200 x 200 x 8 voxels."""
    config = GridConfig()
    return VoxelGrid(config.lower_m, config.upper_m, config.cell_m)


def sparse(plans: PlanCache[LiftingPlan]) -> Lifting:
    """Return the lifting by sparse products."""
    voxels = grid()
    return lambda features, cameras: lift(features, plans.plans(cameras, FEATURE_SIZE, STRIDE_PX, voxels))


def dense() -> Lifting:
    """Return the lifting that samples every voxel in every camera."""
    voxels = grid()
    return lambda features, cameras: lift_dense(features, cameras, STRIDE_PX, voxels)


def inputs() -> tuple[Tensor, Tensor]:
    """Return random features, and a gradient of the volume."""
    torch.manual_seed(0)
    return torch.randn(1, 6, CHANNELS, *FEATURE_SIZE).requires_grad_(), torch.randn(1, CHANNELS, 8, 200, 200)


def seconds(lifting: Lifting, features: Tensor, cameras: Cameras, by_volume: Tensor) -> tuple[float, float]:
    """Time of forward and of backward."""
    features.grad = None
    start = time.perf_counter()
    volume = lifting(features, cameras)
    middle = time.perf_counter()
    volume.backward(by_volume)
    return middle - start, time.perf_counter() - middle


def memory_mb(name: str) -> float:
    """In a fresh process: growth of the peak resident size over one forward and backward."""
    cameras, (features, by_volume) = surround_rig(), inputs()
    lifting = sparse(PlanCache(build_plan)) if name == "sparse" else dense()
    return growth_mb(lambda: seconds(lifting, features, cameras, by_volume))


def plan_ms() -> tuple[float, float]:
    """Median time to make a plan, and then its transpose."""
    cameras, voxels, times = surround_rig(), grid(), []
    rig = Cameras(cameras.intrinsics[0], cameras.ego_from_camera[0], cameras.present[0], IMAGE_SIZE)
    for _ in range(9):
        start = time.perf_counter()
        plan = finish(build_plan(rig, FEATURE_SIZE, STRIDE_PX, voxels))
        middle = time.perf_counter()
        _ = plan.transposed_slabs
        times.append((1e3 * (middle - start), 1e3 * (time.perf_counter() - middle)))
    return statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)


def lens_cost(repeats: int) -> Ratio:
    """Time of the plan of fisheyes in times that of pinholes, in turn."""
    plain = surround_rig().of_key_frame(0)
    lenses = stack_lenses([Lens("kannala_brandt", (0.05, -0.01, 0.002, 0.0))] * len(AZIMUTHS_DEG))
    rigs, voxels = {"pinholes": plain, "fisheyes": replace(plain, lenses=lenses)}, grid()

    def planning(rig: Cameras) -> float:
        """Seconds of one plan."""
        start = time.perf_counter()
        finish(build_plan(rig, FEATURE_SIZE, STRIDE_PX, voxels))
        return time.perf_counter() - start

    times = in_turn({name: partial(planning, rig) for name, rig in rigs.items()}, repeats + 1)
    return ratio(times["fisheyes"][1:], times["pinholes"][1:])


def agreement(features: Tensor, cameras: Cameras, by_volume: Tensor) -> tuple[float, float]:
    """Largest difference of the values, and of the gradients relative to the largest gradient."""
    results = []
    for lifting in (sparse(PlanCache(build_plan)), dense()):
        volume = lifting(features, cameras)
        results.append((volume.detach(), torch.autograd.grad(volume, features, by_volume)[0]))
    (volume, gradient), (volume_dense, gradient_dense) = results
    relative = (gradient - gradient_dense).abs().max() / gradient_dense.abs().max()
    return float((volume - volume_dense).abs().max()), float(relative)


def row(name: str, forward: list[float], backward: list[float], megabytes: float) -> str:
    """Return a row of the table."""
    total = statistics.median(f + b for f, b in zip(forward, backward, strict=True))
    return (
        f"| {name} | {statistics.median(forward):.3f} | {statistics.median(backward):.3f} | {total:.3f} "
        f"| {megabytes:.0f} |"
    )


def main(repeats: int) -> None:
    """Run the benchmark and print what it measures."""
    cameras, (features, by_volume) = surround_rig(), inputs()
    memory = {name: in_fresh_process(__file__, "--memory", name)[0] for name in WAYS}
    value, gradient = agreement(features, cameras, by_volume)
    cached, reference = sparse(PlanCache(build_plan)), dense()
    seconds(cached, features, cameras, by_volume)
    times: dict[str, list[tuple[float, float]]] = {"sparse": [], "planned anew": [], "dense": []}
    for _ in range(repeats):
        times["dense"].append(seconds(reference, features, cameras, by_volume))
        times["sparse"].append(seconds(cached, features, cameras, by_volume))
        times["planned anew"].append(seconds(sparse(PlanCache(build_plan)), features, cameras, by_volume))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {repeats} alternating repeats\n")
    print("| 6x128x28x50 -> 200x200x8 | forward s | backward s | both s | extra memory MB |")
    print("|---|---|---|---|---|")
    print(row("sparse, plan cached", *map(list, zip(*times["sparse"], strict=True)), memory["sparse"]))
    print(row("sparse, planned anew", *map(list, zip(*times["planned anew"], strict=True)), memory["sparse"]))
    print(row("dense", *map(list, zip(*times["dense"], strict=True)), memory["dense"]))
    for name in ("sparse", "planned anew"):
        faster = ratio(*([sum(pair) for pair in times[way]] for way in ("dense", name)))
        print(f"\n{name}: {faster} as fast")
        record(f"lifting, {name}: times as fast as dense", faster.median, spread=(faster.low, faster.high))
    print(f"\nmemory: {memory['dense'] / memory['sparse']:.1f} times less")
    record("lifting: times less memory than dense", memory["dense"] / memory["sparse"])
    print("\nplan {:.0f} ms, its transpose {:.0f} ms".format(*plan_ms()))
    lens = lens_cost(3 * repeats)
    print(f"\nplan of fisheyes: {lens} as long as of pinholes")
    record("lifting: times as long a plan of fisheyes", lens.median, spread=(lens.low, lens.high))
    print(f"\nlargest difference: value {value:.1e}, gradient {gradient:.1e} of the largest")


if __name__ == "__main__":
    given = arguments(__doc__, 7, WAYS)
    if given.memory:
        print(memory_mb(given.memory))
    else:
        main(given.repeats)

"""Known voxels of one sweep, and voxels that cameras see: time, and how many of the crossed voxels are found.

    python -m benchmarks.models.visibility

A made-up sweep of 35 000 returns from a sensor 1.8 m above flat ground, on the ground or up to 65 m away, in
the default grid of 200 x 200 x 8 voxels. Time: one core. Found: relative to steps of 1/20 cell. Six cameras
see all around.
"""

import statistics
import time

import torch

from benchmarks.measuring import arguments, record
from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.lidar import Points
from occfeat.geometry.frames import from_rotation, rotation_about_z
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.lifting.projection import seen_voxels
from occfeat.pretraining.objectives import visibility
from occfeat.pretraining.objectives.evidence import occupancy_target

GRID = VoxelGrid((-50.0, -50.0, -4.5), (50.0, 50.0, 5.5), (0.5, 0.5, 1.25))
RETURNS, HEIGHT_M = 35_000, 1.8


def sweep() -> Points:
    """Return a made-up sweep, the same every time."""
    torch.manual_seed(0)
    azimuth, elevation = torch.rand(RETURNS) * 2 * torch.pi, torch.deg2rad(torch.rand(RETURNS) * 40 - 30)
    ground_m = HEIGHT_M / torch.sin(-elevation).clamp(min=1e-3)
    range_m = torch.minimum(ground_m, 5 + 60 * torch.rand(RETURNS) ** 2)
    level = elevation.cos()
    direction = torch.stack((azimuth.cos() * level, azimuth.sin() * level, elevation.sin()), dim=1)
    origins = torch.tensor([0.0, 0, HEIGHT_M]).expand(RETURNS, 3)
    return Points.of_one_key_frame(origins + range_m[:, None] * direction, origins)


def cameras() -> Cameras:
    """Return six cameras of 224 x 400 pixels that look all around, 1.5 m above the ground."""
    turn = rotation_about_z(-2 * torch.pi * torch.arange(6) / 6)
    forward = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    intrinsics = torch.tensor([[320.0, 0, 200], [0, 320, 112], [0, 0, 1]]).expand(1, 6, 3, 3)
    poses = from_rotation(turn @ forward, torch.tensor([0, 0, 1.5]))
    return Cameras(intrinsics, poses[None], torch.ones(1, 6, dtype=torch.bool), (224, 400))


def main(repeats: int) -> None:
    """Run the benchmark and print what it measures."""
    torch.set_num_threads(1)
    points = sweep()
    occupied = occupancy_target(points, 1, GRID)
    rows = []
    for step in (0.05, 0.25, 0.5):  # the setting of the package last
        visibility.STEP_CELLS = step
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            known = visibility.known_voxels(occupied, points, GRID)
            times.append(1000 * (time.perf_counter() - start))
        rows.append((step, int(known.sum()), min(times), statistics.median(times)))
        slowest = max(times)
    print("| step, cells | found | fastest ms | median ms |\n|---|---|---|---|")
    for step, found, fastest, median in reversed(rows):
        print(f"| {step} | {found / rows[0][1]:.1%} | {fastest:.0f} | {median:.0f} |")
    rig, seconds = cameras(), []
    for _ in range(repeats):
        start = time.perf_counter()
        share = float(seen_voxels(rig, GRID).float().mean())
        seconds.append(1000 * (time.perf_counter() - start))
    print(
        f"seen by six cameras: {share:.1%}, {min(seconds):.0f} ms, median {statistics.median(seconds):.0f} ms"
    )
    record("known voxels of a sweep: ms on one core", rows[-1][3], at_most=50, spread=(rows[-1][2], slowest))


if __name__ == "__main__":
    main(arguments(__doc__, 15).repeats)

"""Voxels that a LiDAR observed: crossed by a ray, or hit by one (this project's extension).

Rays are sampled on the device of the network, so loading costs nothing more. Sampling misses 3 % of the known
voxels of nuScenes' key frames, and marks no others. Windows join many sweeps: loading processes trace them
exactly, see `data.sweeps.rays`.

Axes: `B` key frames, `P` returns, `R` rays of one block, `K` samples per ray, `X Y Z` voxels.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occfeat.data.sample.lidar import Points
from occfeat.geometry.grid import VoxelGrid

STEP_CELLS = 0.5
"""Largest distance of two samples on a ray, in cells along its longest axis."""

BLOCK_RAYS = 512
"""Number of rays per block, which bounds the memory."""


def known_voxels(
    occupied: Bool[Tensor, "B X Y Z"],
    points: Points,
    grid: VoxelGrid,
) -> Bool[Tensor, "B X Y Z"]:
    """Mark voxels that contain a return or are crossed by a ray to one; the others are unknown.

    Rays are sampled at most `STEP_CELLS` apart. A crossed voxel can be missed only if every ray leaves it
    within one step. Except for rounding, no other voxel is marked.

    Args:
        occupied: The occupancy target.
        points: LiDAR returns of all key frames, also outside the grid.
        grid: The voxels.
    """
    with torch.autocast(occupied.device.type, enabled=False):  # positions need full precision
        start, ray, inside = _clip(points, grid)
        start, ray, key_frame = start[inside], ray[inside], points.key_frame[inside]
        samples = (ray.abs().amax(dim=1) / STEP_CELLS).ceil().clamp(min=1)
        samples, order = samples.sort()  # rays of a block have similar numbers of samples
        start, ray, key_frame = start[order], ray[order], key_frame[order]
        known = occupied.flatten().clone()
        blocks = [slice(first, first + BLOCK_RAYS) for first in range(0, len(order), BLOCK_RAYS)]
        most = samples[[min(block.stop, len(order)) - 1 for block in blocks]].long().tolist()  # one sync
        for block, columns in zip(blocks, most, strict=True):
            voxel = _sample(start[block], ray[block], samples[block], columns, grid.shape)
            known[voxel.add_(key_frame[block, None] * occupied[0].numel()).flatten()] = True
    return known.view_as(occupied)


def _clip(
    points: Points, grid: VoxelGrid
) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"], Bool[Tensor, " P"]]:
    """Return the part of each ray inside the grid, as start and offset in cells, and whether it exists."""
    points_ego, origins_ego = points.points_ego, points.origins_ego
    lower_m, cell_m = points_ego.new_tensor(grid.lower_m), points_ego.new_tensor(grid.cell_m)
    start, ray = (origins_ego - lower_m) / cell_m, (points_ego - origins_ego) / cell_m
    # A ray parallel to an axis is always or never inside along it; 0 / 0 would be neither.
    safe = torch.where(ray == 0, torch.full_like(ray, 1e-20), ray)
    one, other = -start / safe, (start.new_tensor(grid.shape) - start) / safe
    enter = torch.minimum(one, other).amax(dim=1).clamp(min=0)
    leave = torch.maximum(one, other).amin(dim=1).clamp(max=1)
    length = (leave - enter)[:, None]
    return start + enter[:, None] * ray, length * ray, leave > enter


def _sample(
    start: Float[Tensor, "R 3"],
    ray: Float[Tensor, "R 3"],
    samples: Float[Tensor, " R"],
    most: int,
    shape: tuple[int, int, int],
) -> Int64[Tensor, "R K"]:
    """Return the voxels of `most` samples, evenly spaced, half a step from the ends, the last repeated."""
    number = torch.arange(most, device=start.device, dtype=start.dtype)
    part = (number.minimum(samples[:, None] - 1) + 0.5) / samples[:, None]
    x, y, z = (
        torch.addcmul(start[:, axis, None], ray[:, axis, None], part).floor_().clamp_(0, count - 1)
        for axis, count in enumerate(shape)
    )
    column = x.mul_(shape[1]).add_(y)  # exact up to 2^24 columns, and faster than integers
    return column.long().mul_(shape[2]).add_(z.long())

"""Which voxels a LiDAR knows: its rays crossed them, or came back from them (this project's extension).

Axes: `B` key frames, `P` returns, `R` rays of one block, `K` samples per ray, `X Y Z` voxels.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occfeat.data.sample import Points
from occfeat.geometry.grid import VoxelGrid

STEP_CELLS = 0.5
"""Largest distance of two samples on a ray, in cells along the axis on which it crosses most cells."""

BLOCK_RAYS = 512
"""Rays that are sampled at once, which bounds the memory: at most this many times twice the longest axis."""


def known_voxels(
    occupied: Bool[Tensor, "B X Y Z"],
    points: Points,
    grid: VoxelGrid,
) -> Bool[Tensor, "B X Y Z"]:
    """Mark voxels that hold a return or that a ray from the sensor to a return crosses; others are unknown.

    Rays are sampled `STEP_CELLS` apart at most. A voxel that rays do cross is missed only if each of them
    leaves it sooner than one step after entering; none is marked that no ray crosses, but for rounding.

    Args:
        occupied: The occupancy target.
        points: LiDAR returns of all key frames, inside the grid or not.
        grid: The voxels.
    """
    with torch.autocast(occupied.device.type, enabled=False):  # positions need all their digits
        start, ray, inside = _clip(points, grid)
        start, ray, key_frame = start[inside], ray[inside], points.key_frame[inside]
        samples = (ray.abs().amax(dim=1) / STEP_CELLS).ceil().clamp(min=1)
        samples, order = samples.sort()  # rays of a block have about as many samples
        start, ray, key_frame = start[order], ray[order], key_frame[order]
        known = occupied.flatten().clone()
        blocks = [slice(first, first + BLOCK_RAYS) for first in range(0, len(order), BLOCK_RAYS)]
        most = samples[[min(block.stop, len(order)) - 1 for block in blocks]].long().tolist()  # waits once
        for block, columns in zip(blocks, most, strict=True):
            voxel = _sample(start[block], ray[block], samples[block], columns, grid.shape)
            known[voxel.add_(key_frame[block, None] * occupied[0].numel()).flatten()] = True
    return known.view_as(occupied)


def _clip(
    points: Points, grid: VoxelGrid
) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"], Bool[Tensor, " P"]]:
    """Return the part of each ray inside the grid, as start and way in cells, and whether there is one."""
    points_ego, origins_ego = points.points_ego, points.origins_ego
    lower_m, cell_m = points_ego.new_tensor(grid.lower_m), points_ego.new_tensor(grid.cell_m)
    start, ray = (origins_ego - lower_m) / cell_m, (points_ego - origins_ego) / cell_m
    # Along an axis on which it does not move, a ray is inside for good or never; 0 / 0 would say neither.
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
    """Return the voxel of `most` samples: evenly on a ray, half a step from its ends, the last repeated."""
    number = torch.arange(most, device=start.device, dtype=start.dtype)
    part = (number.minimum(samples[:, None] - 1) + 0.5) / samples[:, None]
    x, y, z = (
        torch.addcmul(start[:, axis, None], ray[:, axis, None], part).floor_().clamp_(0, count - 1)
        for axis, count in enumerate(shape)
    )
    column = x.mul_(shape[1]).add_(y)  # exact up to 2^24 columns, and faster than in whole numbers
    return column.long().mul_(shape[2]).add_(z.long())

"""The cells that the car covers on its way: drivable ground that needs no label.

The car is a rectangle on the ground plane. A cell belongs to the path if its centre is inside the rectangle
at one of the car's known poses, or at one interpolated between two of them (after GASP, arXiv 2503.15672; the
rule for cells is this project's choice).

Axes: `p` known poses, `q` poses with the interpolated ones, `X Y` cells.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from occfeat.data.keyframe import EgoPath
from occfeat.data.sample.contents import PathRequest
from occfeat.geometry.grid import BevGrid

STEP_CELLS = 0.5
"""Largest way of a corner of the car between two interpolated poses, in cells."""
GAP_S = 1.0
"""Poses that lie further apart in time are not interpolated, because the way between them is unknown."""


def driven_cells(
    path: EgoPath, request: PathRequest, new_ego_from_ego: Float[Tensor, "4 4"], grid: BevGrid
) -> Bool[Tensor, "X Y"]:
    """Return a mask of the cells that the car covers.

    Args:
        path: Known poses in the key frame's ego frame.
        request: The size of the car.
        new_ego_from_ego: The BEV augmentation, or the identity.
        grid: Cells in the augmented ego frame.
    """
    new_from_car = new_ego_from_ego.double() @ path.ego_from_car.double()
    position_m, turn = new_from_car[:, :2, 3], _level(new_from_car[:, :2, :2])
    back, right, front, left = *request.car_lower_m, *request.car_upper_m
    corners = position_m.new_tensor(((back, right), (back, left), (front, left), (front, right)))
    corners_m = position_m[:, None] + corners @ turn.mT
    way_m = (corners_m[1:] - corners_m[:-1]).norm(dim=-1).amax(dim=1)
    way_m[path.after_s.diff() > GAP_S] = 0
    start, part = _between(way_m, STEP_CELLS * min(grid.cell_m), len(position_m))
    end = (start + 1).clamp(max=len(position_m) - 1)
    position_m = torch.lerp(position_m[start], position_m[end], part[:, None])
    turn = _level(torch.lerp(turn[start], turn[end], part[:, None, None]))
    return _cover(position_m, turn, request, grid)


def _level(turn: Float[Tensor, "q 2 2"]) -> Float[Tensor, "q 2 2"]:
    """Return rotations on the ground plane of length one, which may mirror."""
    return turn / torch.linalg.det(turn).abs().sqrt()[:, None, None]


def _between(way_m: Float[Tensor, " _"], step_m: float, poses: int) -> tuple[Tensor, Float[Tensor, " q"]]:
    """Return interpolated poses: the known pose that each follows, and the part of the way to the next."""
    steps = (way_m / step_m).ceil().clamp(min=1).long()
    start = torch.repeat_interleave(torch.arange(len(steps)), steps)
    first = torch.repeat_interleave(steps.cumsum(0) - steps, steps)
    part = (torch.arange(len(start)) - first) / steps[start].double()
    last = torch.arange(max(poses - 1, 0), poses)
    return torch.cat((start, last)), torch.cat((part, torch.zeros(len(last), dtype=part.dtype)))


def _cover(
    position_m: Float[Tensor, "q 2"], turn: Float[Tensor, "q 2 2"], request: PathRequest, grid: BevGrid
) -> Bool[Tensor, "X Y"]:
    """Return a mask of the cells whose centre lies in the rectangle of the car at one of some poses."""
    lower, upper = position_m.new_tensor(request.car_lower_m), position_m.new_tensor(request.car_upper_m)
    cell_m, grid_lower_m = position_m.new_tensor(grid.cell_m), position_m.new_tensor(grid.lower_m)
    reach_m, shape = torch.maximum(lower.abs(), upper.abs()).norm(), torch.tensor(grid.shape)
    position = (position_m - grid_lower_m) / cell_m
    reach = (reach_m / cell_m).ceil()
    near = ((position >= -reach) & (position <= shape + reach)).all(dim=1)
    position_m, turn, middle = position_m[near], turn[near], position[near].floor().long()
    offsets = torch.cartesian_prod(*(torch.arange(-count, count + 1) for count in reach.int().tolist()))
    cells = middle[:, None] + offsets
    centers_m = grid_lower_m + (cells + 0.5) * cell_m
    in_car_m = (centers_m - position_m[:, None]) @ turn
    covered = ((in_car_m >= lower) & (in_car_m <= upper) & (cells >= 0) & (cells < shape)).all(dim=-1)
    driven = torch.zeros(grid.shape, dtype=torch.bool)
    driven[tuple(cells[covered].unbind(1))] = True
    return driven

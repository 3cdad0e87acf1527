"""Ego path: which cells block, beside plain loops, and what counts in the loss."""

from dataclasses import replace

import pytest
import torch

from occfeat.data.sample.lidar import PathCells, Points
from occfeat.data.sample.sample import Batch
from occfeat.pretraining.network import TargetMaker
from occfeat.pretraining.objectives.entropy import mean_entropy
from occfeat.pretraining.objectives.path import PathTarget, blocked_cells
from occfeat.settings.sections import PretrainLossConfig
from tests.pretraining.small_networks import build_network, learn
from tests.support.rigs import GRID, batch_of

PATH = PretrainLossConfig(occupancy=0, features=0, path=1.0)


def batch_with_path() -> Batch:
    driven = torch.zeros(2, *GRID.bev.shape, dtype=torch.bool)
    driven[0, 6:14, 7:9], driven[1, 8:10, 7:10] = True, True
    return replace(batch_of(), path=PathCells(driven))


def slow_blocked(points: Points, key_frames: int) -> torch.Tensor:
    """Compare each return in the grid with the lowest of those in the 5 x 5 cells around it."""
    blocked = torch.zeros(key_frames, *GRID.bev.shape, dtype=torch.bool)
    cell, inside = GRID.cell_index(points.points_ego)
    found = [
        (int(key_frame), *(int(axis) for axis in at[:2]), float(point[2]))
        for key_frame, at, point, counts in zip(
            points.key_frame, cell, points.points_ego, inside, strict=True
        )
        if counts
    ]
    for key_frame, x, y, z in found:
        ground = min(c for k, a, b, c in found if k == key_frame and abs(a - x) <= 2 and abs(b - y) <= 2)
        if 0.5 < z - ground < 2.5:
            blocked[key_frame, x, y] = True
    return blocked


@pytest.mark.parametrize("seed", range(3))
def test_blocked_cells__equal_plain_loops(seed: int) -> None:
    points = batch_of(seed=seed).points
    assert points is not None
    blocked = blocked_cells(points, 2, GRID)
    assert torch.equal(blocked, slow_blocked(points, 2))
    assert 50 < blocked.sum() < blocked.numel() - 50


def test_blocked_cells__a_slope_is_not_blocked_and_a_crown_above_the_road_neither() -> None:
    across = torch.linspace(-7.5, 7.5, 16)
    x, y = (axis.flatten() for axis in torch.meshgrid(across, across, indexing="ij"))
    slope = torch.stack((x, y, 0.1 * x), dim=1)
    crown, wall = torch.tensor([[4.2, 4.2, 2.95]]), torch.tensor([[-5.2, 3.2, 0.6]])
    points = torch.cat((slope, crown, wall))
    blocked = blocked_cells(Points.of_one_key_frame(points, torch.zeros_like(points)), 1, GRID)
    assert blocked.nonzero().tolist() == [[0, 2, 11]]
    nothing = Points.of_one_key_frame(torch.zeros(0, 3), torch.zeros(0, 3))
    assert not blocked_cells(nothing, 1, GRID).any()


def test_target__the_car_came_through_what_blocks_now() -> None:
    network, batch = build_network(PATH), batch_with_path()
    target = TargetMaker(network.objectives, GRID)(batch)["path"]
    assert batch.path is not None
    assert batch.points is not None
    assert torch.equal(target.driven, batch.path.driven)
    assert not (target.driven & target.blocked).any()
    assert (blocked_cells(batch.points, 2, GRID) & target.driven).any()
    with pytest.raises(ValueError, match="the path of the car"):
        TargetMaker(network.objectives, GRID)(batch_of())


def test_path_loss__counts_driven_and_blocked_cells_alone() -> None:
    target = PathTarget(*(torch.rand(2, 2, 5, 7) < 0.3))
    target = PathTarget(target.driven, target.blocked & ~target.driven)
    logits = torch.randn(2, 5, 7, requires_grad=True)
    loss = mean_entropy(logits, target.driven, target.known)
    probability = logits.sigmoid()
    plain = torch.cat((-probability[target.driven].log(), -(1 - probability[target.blocked]).log())).mean()
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    (by_logit,) = torch.autograd.grad(loss, logits)
    assert torch.equal(by_logit != 0, target.driven | target.blocked)
    empty = torch.zeros(2, 5, 7, dtype=torch.bool)
    assert mean_entropy(logits, empty, PathTarget(empty, empty).known).item() == 0


def test_step__learns_the_path_and_says_how_well() -> None:
    network, batch = build_network(PATH), batch_with_path()
    assert network.trunk is None  # it reads the BEV features
    targets = TargetMaker(network.objectives, GRID)(batch)
    steps = learn(network, batch, targets, steps=60, rate=0.05)
    assert set(steps[0]) == {"loss", "loss/path", "path_iou", "path_share"}
    assert steps[-1]["loss"] < 0.05 < 0.3 < steps[0]["loss"]
    assert steps[-1]["path_iou"] > 0.95 > steps[0]["path_iou"]
    known = targets["path"].driven | targets["path"].blocked
    assert steps[0]["path_share"] == pytest.approx(known.float().mean().item())
    some = network.objectives[0].of_key_frames(targets["path"], torch.tensor([1]))
    assert torch.equal(some.driven, targets["path"].driven[1:])


def test_settings__a_car_has_a_size() -> None:
    with pytest.raises(ValueError, match="expected car_lower_m below car_upper_m"):
        PretrainLossConfig(car_lower_m=(4.0, -1.0), car_upper_m=(3.0, 1.0))
    with pytest.raises(ValueError, match="expected both corners of the car, or neither"):
        PretrainLossConfig(car_lower_m=(-1.0, -1.0))

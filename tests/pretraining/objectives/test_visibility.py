"""Known voxels against an exact walk through the voxels of each ray."""

import math

import pytest
import torch

from occfeat.data.sample.lidar import Points
from occfeat.geometry.grid import VoxelGrid
from occfeat.pretraining.network import TargetMaker
from occfeat.pretraining.objectives.entropy import mean_entropy
from occfeat.pretraining.objectives.evidence import occupancy_target
from occfeat.pretraining.objectives.occupancy import occupancy_logits
from occfeat.pretraining.objectives.visibility import STEP_CELLS, known_voxels
from occfeat.settings.sections import PretrainLossConfig
from tests.pretraining.small_networks import build_network
from tests.support import rigs

GRID = VoxelGrid((-10.0, -8.0, -2.0), (10.0, 8.0, 3.0), (0.5, 0.8, 1.25))
"""40 x 20 x 4 voxels, no side of a voxel like another."""

Cell = tuple[int, int, int]


def _known(points: torch.Tensor, origins: torch.Tensor) -> set[Cell]:
    """Voxels that rays cross, without those that are known for a return alone."""
    nothing = torch.zeros(1, *GRID.shape, dtype=torch.bool)
    found = known_voxels(nothing, Points.of_one_key_frame(points, origins), GRID)
    return {(x, y, z) for _, x, y, z in found.nonzero().tolist()}


def _walk(origin: torch.Tensor, point: torch.Tensor) -> dict[Cell, float]:
    """Every voxel a ray crosses from inside the grid (Amanatides and Woo 1987), and the length in it.

    Lengths are in cells along the axis on which the ray crosses most cells.
    """
    lower, size = torch.tensor(GRID.lower_m).double(), torch.tensor(GRID.cell_m).double()
    start = ((origin.double() - lower) / size).tolist()
    way = ((point.double() - origin.double()) / size).tolist()
    cell = [math.floor(value) for value in start]
    step = [1 if value > 0 else -1 for value in way]
    per_cell = [abs(1 / value) if value else math.inf for value in way]
    border = [
        (c + (d > 0) - s) / v if v else math.inf for c, d, s, v in zip(cell, step, start, way, strict=True)
    ]
    crossed: dict[Cell, float] = {}
    now = 0.0
    while now < 1 and all(0 <= c < count for c, count in zip(cell, GRID.shape, strict=True)):
        axis = border.index(min(border))
        leave = min(border[axis], 1.0)
        crossed[(cell[0], cell[1], cell[2])] = (leave - now) * max(map(abs, way))
        now = border[axis]
        border[axis] += per_cell[axis]
        cell[axis] += step[axis]
    return crossed


def _rays(count: int, reach: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ends, some outside the grid, and origins inside."""
    random = torch.Generator().manual_seed(0)
    half = torch.tensor([10.0, 8, 2.5])
    middle = torch.tensor([0, 0, 0.5])
    points = (2 * torch.rand(count, 3, generator=random) - 1) * half * reach + middle
    origins = (2 * torch.rand(count, 3, generator=random) - 1) * half + middle
    return points, origins


@pytest.mark.parametrize("reach", [1.0, 3.0])
@pytest.mark.parametrize("backwards", [False, True])
def test_known_voxels__each_ray_misses_corners_shorter_than_a_step_and_nothing_else(
    reach: float, backwards: bool
) -> None:
    points, origins = _rays(200, reach)
    missed = total = 0
    for point, origin in zip(points.split(1), origins.split(1), strict=True):
        exact = _walk(origin[0], point[0])
        found = _known(origin, point) if backwards else _known(point, origin)
        assert found <= exact.keys()
        lost = exact.keys() - found
        assert all(exact[cell] <= STEP_CELLS + 1e-4 for cell in lost)
        missed, total = missed + len(lost), total + len(exact)
    assert total > 2500
    assert missed < 0.2 * total  # one ray alone; many rays fill in each other's corners


def test_known_voxels__many_rays_at_once_are_the_union_of_each() -> None:
    points, origins = _rays(1500, 2.0)  # more than one block
    each = [_known(p, o) for p, o in zip(points.split(1), origins.split(1), strict=True)]
    assert _known(points, origins) == set().union(*each)


def test_known_voxels__rays_along_the_axes() -> None:
    origin = torch.tensor([[0.1, 0.1, 0.1]])
    for axis in range(3):
        for far in (-100.0, 100.0):
            point = origin.clone()
            point[0, axis] = far
            exact, found = _walk(origin[0], point[0]), _known(point, origin)
            assert found <= exact.keys()
            assert exact.keys() - found <= {(20, 10, 1)}  # where the ray begins, near a border
    outside = torch.tensor([[0.1, 9.0, 0.1]])
    assert _known(outside + torch.tensor([5.0, 0, 0]), outside) == set()
    assert _known(origin, origin) == {(20, 10, 1)}


def test_known_voxels__before_a_wall_is_known_and_behind_it_is_not() -> None:
    y, z = torch.meshgrid(torch.arange(-7.95, 8, 0.1), torch.arange(-1.95, 3, 0.1), indexing="ij")
    wall_ego = torch.stack((torch.full_like(y, 4.2), y, z), dim=-1).view(-1, 3)
    points = Points.of_one_key_frame(wall_ego, torch.tensor([-9.0, 0, 0.5]).expand_as(wall_ego))
    occupied = occupancy_target(points, 2, GRID)
    known = known_voxels(occupied, points, GRID)
    wall = 28  # 4.0 to 4.5 m
    assert occupied[0, wall].all()
    assert known[0, wall].all()
    assert known[0, 20:wall, 6:14, 1:3].all()
    assert not known[0, wall + 1 :].any()
    assert torch.equal(known[1], occupied[1])  # another key frame: nothing
    assert not (occupied & ~known).any()


def test_known_voxels__without_returns_is_what_is_occupied() -> None:
    occupied = torch.rand(2, *GRID.shape) < 0.1
    nothing = Points.of_one_key_frame(torch.zeros(0, 3), torch.zeros(0, 3))
    assert torch.equal(known_voxels(occupied, nothing, GRID), occupied)


def test_occupancy_loss__is_the_mean_over_known_voxels() -> None:
    logits, occupied, known = (
        torch.randn(2, 3, 4, 5),
        torch.rand(2, 3, 4, 5) < 0.3,
        torch.rand(2, 3, 4, 5) < 0.5,
    )
    probability = logits.sigmoid()
    plain = -torch.where(occupied, probability.log(), (1 - probability).log())[known].mean()
    assert torch.allclose(mean_entropy(logits, occupied, known), plain, atol=1e-6)
    assert mean_entropy(logits, occupied, torch.zeros_like(known)).item() == 0


def test_step__unknown_voxels_count_neither_in_the_loss_nor_in_the_iou() -> None:
    network = build_network(PretrainLossConfig(features=0, unknown="ignore"))
    batch = rigs.batch_of()
    targets = TargetMaker(network.objectives, rigs.GRID)(batch)
    target = targets["occupancy"]
    assert target.counted is not None
    step = network(batch, targets)
    voxels = network.see(batch.images, batch.cameras)["voxels"]
    logits = occupancy_logits(network.outputs["occupancy"], voxels)
    predicted, occupied = logits[target.counted] > 0, target.occupied[target.counted]
    expected = float((predicted & occupied).sum() / (predicted | occupied).sum())
    assert set(step.metrics) == {
        "loss",
        "loss/occupancy",
        "known_occupancy_iou",
        "occupancy_recall",
        "known_share",
    }
    assert step.metrics["known_occupancy_iou"].value() == pytest.approx(expected)
    assert 0.3 < step.metrics["known_share"].value() < 1
    gradient = torch.autograd.grad(step.loss, network.student.bev)[0]
    assert gradient.isfinite().all()
    (by_logit,) = torch.autograd.grad(mean_entropy(logits, target.occupied, target.counted), logits)
    assert torch.equal(by_logit != 0, target.counted)

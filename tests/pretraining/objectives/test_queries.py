"""Img-ALSO: where queries lie, how they are decoded, and that they can be learned."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from occfeat.data.sample.lidar import Points
from occfeat.data.sample.sample import Batch
from occfeat.pretraining.network import PretrainingNetwork, TargetMaker, Targets
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.pretraining.objectives.entropy import mean_entropy
from occfeat.pretraining.objectives.queries import (
    Queries,
    interpolate,
    query_points,
    query_target,
    voxel_centers,
)
from occfeat.settings.sections import PretrainLossConfig, QueryConfig
from tests.pretraining.small_networks import build_network
from tests.support.rigs import GRID, batch_of

CONFIG = QueryConfig(returns=100, distance_m=0.1)
LOSS = PretrainLossConfig(occupancy=0, features=0, queries=1)


def _positions_ego(queries: Queries) -> torch.Tensor:
    return queries.position_cells * torch.tensor(GRID.cell_m) + torch.tensor(GRID.lower_m)


def _target(batch: Batch, config: QueryConfig = CONFIG, seed: int = 0) -> Targets:
    torch.manual_seed(seed)
    return TargetMaker(build_objectives(LOSS, queries=config), GRID)(batch)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-60, 60, width=32), min_size=6, max_size=6),
    st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3),
    st.floats(0.01, 2),
)
def test_query_points__lie_on_the_ray_where_they_should(
    ends: list[float], along: list[float], distance_m: float
) -> None:
    origin, point = torch.tensor(ends).view(2, 1, 3)
    found = query_points(point, origin, torch.tensor(along)[:, None], distance_m)
    behind, before, between = found[:, 0]
    range_m = float((point - origin).norm())
    reached = [float((query - origin[0]).norm()) for query in (behind, before, between)]
    assert range_m - 1e-4 <= reached[0] <= range_m + along[0] * distance_m + 1e-4
    assert max(range_m - distance_m, 0) - 1e-4 <= reached[1] <= range_m + 1e-4
    assert reached[2] == pytest.approx(along[2] * range_m, abs=1e-4)
    if range_m >= distance_m:
        assert reached[0] == pytest.approx(range_m + along[0] * distance_m, abs=1e-4)
        assert reached[1] == pytest.approx(range_m - along[1] * distance_m, abs=1e-4)
    ray = (point - origin)[0]
    for query in (behind, before, between):
        assert torch.linalg.cross(query - origin[0], ray).norm() <= 1e-4 * max(range_m, 1)
        assert (query - origin[0]) @ ray >= -1e-4 * max(range_m, 1)


def test_query_target__a_third_is_occupied_and_each_belongs_to_a_return_of_its_key_frame() -> None:
    batch = batch_of()
    assert batch.points is not None
    target = _target(batch)["queries"]
    count = len(target.occupied)
    assert 500 < count <= 600  # a few lie outside
    assert 0.3 < target.occupied.float().mean() < 0.36
    positions = _positions_ego(target.queries)
    assert GRID.cell_index(positions)[1].all()
    for key_frame in (0, 1):
        mine = (target.queries.key_frame == key_frame) & target.occupied
        points = batch.points.of_key_frame(key_frame).points_ego
        gap = torch.cdist(positions[mine], points)
        nearest_m, nearest = gap.min(dim=1)
        assert nearest_m.max() <= 0.1 + 1e-4
        ray = points[nearest] - batch.points.origins_ego[0]
        assert ((positions[mine] - points[nearest]) * ray).sum(1).min() >= -1e-4  # behind
        assert len(nearest.unique()) > 70


def test_query_target__same_numbers_whatever_the_micro_batches() -> None:
    batch = batch_of()
    assert batch.points is not None
    torch.manual_seed(3)
    whole = query_target(batch.points, 2, GRID, CONFIG)
    torch.manual_seed(3)
    for number in (0, 1):
        part = query_target(batch.points.of_key_frame(number), 1, GRID, CONFIG)
        in_whole = whole.queries.key_frame == number
        assert torch.equal(whole.queries.position_cells[in_whole], part.queries.position_cells)
        assert torch.equal(whole.occupied[in_whole], part.occupied)


def test_query_target__without_returns_costs_the_same_random_numbers() -> None:
    nothing = Points.of_one_key_frame(torch.zeros(0, 3), torch.zeros(0, 3))
    torch.manual_seed(0)
    target = query_target(nothing, 2, GRID, CONFIG)
    after = torch.rand(1)
    assert target.occupied.shape == (0,)
    _target(batch_of())
    assert torch.equal(torch.rand(1), after)
    logits = torch.zeros(0, requires_grad=True)
    for counted in (None, target.occupied):
        loss = mean_entropy(logits, target.occupied, counted)
        loss.backward()
        assert loss.item() == 0


def _interpolate_by_loops(voxels: torch.Tensor, key_frame: int, position: list[float]) -> torch.Tensor:
    total = torch.zeros(voxels.shape[1])
    near = [
        min(max(value - 0.5, 0), size - 1) for value, size in zip(position, voxels.shape[2:], strict=True)
    ]
    for corner in product((0, 1), repeat=3):
        cell, weight = [], 1.0
        for value, step, size in zip(near, corner, voxels.shape[2:], strict=True):
            low = math.floor(value)
            cell.append(min(low + step, size - 1))
            weight *= value - low if step else 1 - (value - low)
        total += weight * voxels[(key_frame, slice(None), *cell)]
    return total


def test_interpolate__equals_loops_and_grid_sample() -> None:
    torch.manual_seed(0)
    voxels = torch.randn(2, 5, 6, 4, 3)
    positions = torch.rand(60, 3) * torch.tensor([6.0, 4, 3])
    key_frame = torch.arange(60) % 2
    found = interpolate(voxels, Queries(key_frame, positions))
    slow = [
        _interpolate_by_loops(voxels, int(b), p.tolist()) for b, p in zip(key_frame, positions, strict=True)
    ]
    assert torch.allclose(found, torch.stack(slow), atol=1e-5)
    for number in (0, 1):
        mine = key_frame == number
        position = (2 * positions[mine] / torch.tensor([6.0, 4, 3]) - 1).flip(-1)[None, :, None, None]
        theirs = torch.nn.functional.grid_sample(
            voxels[number][None], position, padding_mode="border", align_corners=False
        )
        assert torch.allclose(found[mine], theirs[0, :, :, 0, 0].T, atol=1e-5)


def test_interpolate__gradients_are_those_of_grid_sample_and_repeat_on_several_threads() -> None:
    torch.manual_seed(0)
    voxels = torch.randn(1, 16, 6, 4, 3, requires_grad=True)
    positions = torch.rand(5000, 3) * torch.tensor([6.0, 4, 3])  # many around each voxel
    weight = torch.randn(5000, 16)
    queries = Queries(torch.zeros(5000).long(), positions)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    first, *others = (
        torch.autograd.grad((interpolate(voxels, queries) * weight).sum(), voxels)[0] for _ in range(4)
    )
    torch.set_num_threads(threads)
    assert all(torch.equal(first, other) for other in others)
    position = (2 * positions / torch.tensor([6.0, 4, 3]) - 1).flip(-1)[None, :, None, None]
    theirs = torch.nn.functional.grid_sample(voxels, position, padding_mode="border", align_corners=False)
    (expected,) = torch.autograd.grad((theirs[0, :, :, 0, 0].T * weight).sum(), voxels)
    assert torch.allclose(first, expected, atol=1e-3)


def test_step__without_returns_is_zero_and_has_gradients() -> None:
    network, batch = _network(), batch_of(key_frames=1)
    nothing = replace(batch, points=Points.of_one_key_frame(torch.zeros(0, 3), torch.zeros(0, 3)))
    step = network(nothing, _target(nothing))
    step.loss.backward()
    assert step.loss.item() == 0


def test_interpolate__at_voxel_centres_gives_back_the_voxels() -> None:
    voxels = torch.randn(2, 5, 6, 4, 3)
    found = interpolate(voxels, voxel_centers(voxels))
    assert torch.equal(found.view(2, 6, 4, 3, 5).permute(0, 4, 1, 2, 3), voxels)


def test_mean_entropy__with_a_mask_has_the_gradients_of_a_sum_over_the_count() -> None:
    logits, occupied = torch.randn(1001, requires_grad=True), torch.rand(1001) < 0.4
    total = F.binary_cross_entropy_with_logits(logits, occupied.float(), reduction="sum") / 1001
    loss = mean_entropy(logits, occupied, torch.ones_like(occupied))
    assert torch.equal(loss, total)
    assert torch.equal(*(torch.autograd.grad(one, logits)[0] for one in (loss, total)))


def test_mean_entropy__equals_a_plain_loop() -> None:
    logits, occupied = torch.randn(9), torch.rand(9) < 0.4
    plain = [
        -math.log(1 / (1 + math.exp(-logit)) if full else 1 / (1 + math.exp(logit)))
        for logit, full in zip(logits.tolist(), occupied.tolist(), strict=True)
    ]
    for counted in (None, torch.ones_like(occupied)):
        assert mean_entropy(logits, occupied, counted).item() == pytest.approx(sum(plain) / 9, abs=1e-6)


def _network() -> PretrainingNetwork:
    return build_network(LOSS, key_frames=1, blocks=1)


def _wall() -> Batch:
    """Returns on a wall at x = 5.3 m, seen from the middle."""
    batch = batch_of(key_frames=1)
    assert batch.points is not None
    batch.points.points_ego[:, 0] = 5.3
    return batch


def test_step__learns_where_a_wall_is() -> None:
    network, batch, config = _network(), _wall(), QueryConfig(returns=200, distance_m=0.5)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for number in range(120):
        step = network(batch, _target(batch, config, seed=number))
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
    assert set(step.metrics) == {"loss", "loss/queries", "query_iou"}
    held_out = network(batch, _target(batch, config, seed=1000))
    assert held_out.metrics["query_iou"].value() > 0.8


def test_occupancy_probability__is_that_of_queries_at_voxel_centres() -> None:
    network, batch = _network(), batch_of(key_frames=1)
    views = network.see(batch.images, batch.cameras)
    found = network.occupancy_probability(views)
    assert found is not None
    assert found.shape == (1, *GRID.shape)
    one = Queries(torch.tensor([0]), torch.tensor([[3.5, 7.5, 2.5]]))
    assert torch.allclose(found[0, 3, 7, 2], network.outputs["queries"](views["voxels"], one).sigmoid()[0])


def test_occupancy_probability__is_none_if_none_was_learned() -> None:
    network, batch = build_network(PretrainLossConfig(occupancy=0, features=1)), batch_of()
    assert network.occupancy_probability(network.see(batch.images, batch.cameras)) is None


def test_network__with_queries_draws_the_same_weights_of_the_trunk() -> None:
    plain, ours = build_network(PretrainLossConfig(features=0), key_frames=1, blocks=1), _network()
    assert plain.trunk is not None
    assert ours.trunk is not None
    assert torch.equal(plain.trunk.unsplat.weight, ours.trunk.unsplat.weight)
    assert set(ours.outputs) == {"queries"}
    assert len(ours.outputs.state_dict()) == 6

"""The voxels that rays hit and cross, beside plain Python."""

from dataclasses import replace

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from occfeat.data.sample.lidar import Points
from occfeat.data.sweeps.rays import trace
from occfeat.data.sweeps.slices import SLICES, below_highest, join_slices, trace_slices
from occfeat.geometry.grid import VoxelGrid
from tests.data.sweeps.plain_window import Point, segments

GRID = VoxelGrid((-2.0, -1.5, -2.5), (2.0, 1.5, 2.5), (0.5, 0.5, 1.25))
TOLERANCE = 1e-4
coordinates = st.one_of(st.integers(-12, 12).map(lambda half: half / 4), st.floats(-6, 6, width=32))
positions = st.tuples(coordinates, coordinates, coordinates)


def points_of(returns: list[Point], origins: list[Point]) -> Points:
    return Points.of_one_key_frame(torch.tensor(returns).float(), torch.tensor(origins).float())


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(positions, positions), min_size=1, max_size=6))
@example([((0.25, 0.0, 0.0), (0.0, 0.0, -(2.0**-24)))])  # along a plane between two voxels, but for rounding
def test_trace__finds_the_voxels_that_plain_python_finds(rays: list[tuple[Point, Point]]) -> None:
    points = points_of([point for _, point in rays], [origin for origin, _ in rays])
    found = trace(points, GRID, all_rays=True)
    cell, inside = GRID.cell_index(points.points_ego)
    hit = {tuple(one) for one in cell[inside].tolist()}
    assert {tuple(one) for one in np.argwhere(found.hit).tolist()} == hit
    crossed = {tuple(one) for one in np.argwhere(found.crossed).tolist()}
    for ray in rays:
        must = {cell for cell, length in segments(*ray, GRID) if length > TOLERANCE}
        assert (must & near(*ray, -TOLERANCE)) - hit <= crossed
    grown = [cell for ray in rays for cell in near(*ray, TOLERANCE)]
    assert crossed <= set(grown) - hit


def near(origin: Point, point: Point, margin: float) -> set[tuple[int, ...]]:
    """Voxels that a ray would pass if they were larger by a margin on each side, in cells."""
    begin = (np.array(origin) - GRID.lower_m) / GRID.cell_m
    ray = (np.array(point) - GRID.lower_m) / GRID.cell_m - begin
    cells = np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    safe = np.where(np.abs(ray) < 1e-12, 1e-12, ray)
    one = (cells - margin - begin) / safe
    other = (cells + 1 + margin - begin) / safe
    enter = np.minimum(one, other).max(axis=1).clip(min=0)
    leave = np.maximum(one, other).min(axis=1).clip(max=1)
    return {tuple(cell) for cell in cells[leave >= enter].tolist()}


def test_trace__follows_one_ray_of_each_voxel() -> None:
    random = torch.Generator().manual_seed(0)
    returns = (torch.rand(3000, 3, generator=random) - 0.5) * torch.tensor((5.0, 4.0, 4.0))
    points = Points.of_one_key_frame(returns, torch.tensor([[0.1, 0.2, 0.3]]).expand(3000, 3))
    chosen, everything = trace(points, GRID), trace(points, GRID, all_rays=True)
    assert (chosen.hit == everything.hit).all()
    assert (chosen.crossed <= everything.crossed).all()
    few = points_of(returns[:40].tolist(), [[0.1, 0.2, 0.3]] * 40)
    assert trace(few, GRID).crossed.sum() >= 0.9 * trace(few, GRID, all_rays=True).crossed.sum()


inside = st.tuples(st.floats(-1.99, 1.99), st.floats(-1.49, 1.49), st.floats(-2.49, 2.49))
beside = st.tuples(st.floats(2.5, 6), st.floats(-6, 6), st.floats(-6, 6))


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(positions, inside), min_size=1, max_size=6),
    st.lists(st.tuples(beside, beside), max_size=3),
)
@example(
    [((1.0, 1.0, 1.0), (-1.9, -1.4, -2.4))], [((5.0, 0.0, 0.0), (3.0, 0.0, 0.0))]
)  # into the first voxel
def test_trace__follows_a_ray_to_each_voxel_that_is_hit(
    ending: list[tuple[Point, Point]], passing_by: list[tuple[Point, Point]]
) -> None:
    origins, returns = zip(*ending, *passing_by, strict=True)
    found = trace(points_of(list(returns), list(origins)), GRID)
    alone = [trace(points_of([point], [origin]), GRID) for origin, point in ending]
    for voxel in np.argwhere(found.hit):
        crossed = [one.crossed & ~found.hit for one in alone if one.hit[tuple(voxel)]]
        assert any((one <= found.crossed).all() for one in crossed)


def test_trace__leaves_out_what_is_not_finite() -> None:
    nan, far = float("nan"), float("inf")
    origin = [0.1, 0.2, 0.3]
    bad = points_of(
        [[nan, 0, 0], [far, 0, 0], [1, 1, 1], [3e38, 1, 1]], [origin, origin, [nan, 0, 0], origin]
    )
    found = trace(bad, GRID)
    assert found.hit.sum() == 1  # the return counts, although its ray does not
    assert 0 < found.crossed.sum() <= 5  # the ray to the far one


def test_trace__of_no_returns() -> None:
    found = trace(Points.of_one_key_frame(torch.zeros(0, 3), torch.zeros(0, 3)), GRID)
    assert not found.hit.any()
    assert not found.crossed.any()


def test_trace_slices__are_those_of_a_finer_grid() -> None:
    random = torch.Generator().manual_seed(0)
    returns = (torch.rand(300, 3, generator=random) - 0.5) * torch.tensor((5.0, 4.0, 6.0))
    points = Points.of_one_key_frame(returns, torch.tensor([[0.1, 0.2, 0.3]]).expand(300, 3))
    sliced, whole = trace_slices(points, GRID, all_rays=True), trace(points, GRID, all_rays=True)
    assert (sliced.hit_voxels == whole.hit).all()
    assert (sliced.crossed_voxels == whole.crossed).all()
    x_m, y_m, z_m = GRID.cell_m
    fine = trace(points, replace(GRID, cell_m=(x_m, y_m, z_m / SLICES)), all_rays=True)
    for number in range(SLICES):
        assert ((sliced.hit >> number & 1) == fine.hit[:, :, number::SLICES]).all()
        assert ((sliced.crossed >> number & 1) == fine.crossed[:, :, number::SLICES]).all()
    other = trace_slices(points_of([(1.9, 1.4, 2.4)], [(-1.9, -1.4, -2.4)]), GRID)
    joined = join_slices([sliced, other])
    assert (joined.hit == sliced.hit | other.hit).all()
    assert (joined.crossed == (sliced.crossed | other.crossed) & ~joined.hit).all()


def test_below_highest__of_every_byte() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    for bits, below in zip(every.flat, below_highest(every).flat, strict=True):
        highest = int(bits).bit_length() - 1
        assert below == (2 ** max(highest, 0) - 1)

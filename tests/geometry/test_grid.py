import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from occfeat.errors import SettingsError
from occfeat.geometry.grid import BevGrid, VoxelGrid

SIMPLE_BEV = VoxelGrid((-50.0, -50.0, -4.5), (50.0, 50.0, 5.5), (0.5, 0.5, 1.25))


@st.composite
def bounds(draw: st.DrawFn) -> tuple[tuple[float, ...], ...]:
    """Lower bounds, upper bounds and cell sizes of a possible grid."""
    counts = [draw(st.integers(1, 7)) for _ in range(3)]
    cells = [draw(st.sampled_from([0.1, 0.25, 0.4, 0.5, 0.8, 1.25, 3.0])) for _ in range(3)]
    lower = [draw(st.integers(-800, 800)) / 10 for _ in range(3)]
    upper = [low + count * cell for low, count, cell in zip(lower, counts, cells, strict=True)]
    return tuple(lower), tuple(upper), tuple(cells)


@given(bounds())
def test_cell_index__of_centres_is_their_cell(box: tuple[tuple[float, ...], ...]) -> None:
    grid = VoxelGrid(*box)
    cells = torch.cartesian_prod(*map(torch.arange, grid.shape)).reshape(-1, 3)
    index, inside = grid.cell_index(grid.centers().reshape(-1, 3))
    assert inside.all()
    assert torch.equal(index, cells)


@given(bounds(), st.data())
def test_cell_index__holds_every_point_of_the_cell(
    box: tuple[tuple[float, ...], ...], data: st.DataObject
) -> None:
    grid = VoxelGrid(*box)
    cell = torch.tensor([data.draw(st.integers(0, count - 1)) for count in grid.shape])
    share = torch.tensor([data.draw(st.floats(0.01, 0.99)) for _ in range(3)])
    points_ego = torch.tensor(grid.lower_m) + (cell + share) * torch.tensor(grid.cell_m)
    index, inside = grid.cell_index(points_ego[None])
    assert inside.tolist() == [True]
    assert index[0].tolist() == cell.tolist()


def test_cell_index__borders() -> None:
    points_ego = torch.tensor(
        [
            [-50.0, -50.0, -4.5],  # lower corner: in
            [-50.001, 0.0, 0.0],
            [50.0, 0.0, 0.0],  # upper borders: out
            [0.0, 50.0, 0.0],
            [0.0, 0.0, 5.5],
            [0.0, 0.0, 0.0],  # a border between cells belongs to the upper one
            [49.9, -49.9, 5.4],
        ]
    )
    index, inside = SIMPLE_BEV.cell_index(points_ego)
    assert inside.tolist() == [True, False, False, False, False, True, True]
    assert index[0].tolist() == [0, 0, 0]
    assert index[5].tolist() == [100, 100, 3]
    assert index[6].tolist() == [199, 0, 7]
    assert not index[~inside].any()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cell_index__points_that_are_nowhere(value: float, axis: int) -> None:
    points_ego = torch.zeros(2, 3)
    points_ego[1, axis] = value
    index, inside = SIMPLE_BEV.cell_index(points_ego)
    assert inside.tolist() == [True, False]
    assert index[1].tolist() == [0, 0, 0]


def test_cell_index__no_points() -> None:
    index, inside = SIMPLE_BEV.cell_index(torch.zeros(0, 3))
    assert index.shape == (0, 3)
    assert inside.shape == (0,)


def test_centers__grow_forward_left_and_up() -> None:
    centers = SIMPLE_BEV.centers()
    assert centers.shape == (200, 200, 8, 3)
    assert centers[0, 0, 0].tolist() == pytest.approx([-49.75, -49.75, -3.875])
    assert centers[199, 0, 0].tolist() == pytest.approx([49.75, -49.75, -3.875])
    assert centers[0, 199, 7].tolist() == pytest.approx([-49.75, 49.75, 4.875])


def test_bev__is_the_grid_from_above() -> None:
    bev = SIMPLE_BEV.bev
    assert bev == BevGrid((-50.0, -50.0), (50.0, 50.0), (0.5, 0.5))
    assert bev.shape == (200, 200)
    assert torch.equal(bev.centers(), SIMPLE_BEV.centers()[:, :, 0, :2])


@pytest.mark.parametrize(
    ("lower_m", "upper_m", "cell_m", "message"),
    [
        (
            (0.0, 0.0),
            (0.0, 10.0),
            (1.0, 1.0),
            "axis x: expected a lower bound below the upper, got 0.0 m and 0.0 m",
        ),
        ((0.0, 5.0), (10.0, -5.0), (1.0, 1.0), "axis y: expected a lower bound below the upper, got 5.0 m"),
        ((0.0, 0.0), (10.0, 10.0), (0.3, 1.0), "axis x: expected a whole number of 0.3 m cells, got 10 m"),
        ((0.0, 0.0), (10.0, 10.0), (1.0, 20.0), "axis y: expected a whole number of 20 m cells, got 10 m"),
        ((0.0, 0.0), (10.0, 10.0), (0.0, 1.0), "axis x: expected finite bounds and cells above 0"),
        ((0.0, 0.0), (10.0, 10.0), (-1.0, 1.0), "axis x: expected finite bounds and cells above 0"),
        ((0.0, math.nan), (10.0, 10.0), (1.0, 1.0), "axis y: expected finite bounds"),
        ((0.0, 0.0), (math.inf, 10.0), (1.0, 1.0), "axis x: expected finite bounds"),
        ((0.0, 0.0), (1e5, 1e5), (0.1, 0.1), "at most 268,435,456 cells"),
        ((-1e308, 0.0), (1e308, 1.0), (1.0, 1.0), "at most 268,435,456 cells"),
        ((0.0, 0.0), (1.0, 1.0), (5e-324, 1.0), "at most 268,435,456 cells"),
    ],
)
def test_impossible_grids(
    lower_m: tuple[float, float], upper_m: tuple[float, float], cell_m: tuple[float, float], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        BevGrid(lower_m, upper_m, cell_m)
    assert caught.value.hint


def test_impossible_grids__height_counts() -> None:
    with pytest.raises(SettingsError, match="axis z"):
        VoxelGrid((0.0, 0.0, 2.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0))


def test_in_words__says_both_sides_of_a_cell() -> None:
    grid = BevGrid((-2.0, -1.0), (2.0, 1.0), (0.5, 1.0))
    assert grid.in_words() == "8 x 2 cells of 0.5 x 1 m from (-2.0, -1.0) to (2.0, 1.0) m"

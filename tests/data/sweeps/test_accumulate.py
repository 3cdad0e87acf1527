"""States of voxels from several sweeps, beside plain Python and for a scene with a car that passes."""

import math
from typing import get_args

import numpy as np
import pytest
import torch

from occfeat.data.sample.lidar import EMPTY, IN_CONFLICT, OCCUPIED, Points
from occfeat.data.sweeps.accumulate import accumulate
from occfeat.data.sweeps.rays import RayVoxels, trace
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import Conflicts
from tests.data.sweeps.plain_window import state

SHAPE = (6, 5, 4)
BITS = {"unknown": 0, "empty": EMPTY, "occupied": OCCUPIED}


def random_sweep(random: np.random.Generator) -> RayVoxels:
    drawn = random.random(SHAPE)
    return RayVoxels(drawn < 0.3, drawn > 0.6)


@pytest.mark.parametrize("conflicts", get_args(Conflicts))
@pytest.mark.parametrize("others", range(6))
def test_accumulate__equals_plain_python(conflicts: Conflicts, others: int) -> None:
    random = np.random.default_rng(others)
    key, *rest = (random_sweep(random) for _ in range(others + 1))
    states = accumulate(key, iter(rest), conflicts)
    for cell in np.ndindex(SHAPE):
        expected, conflict = state(
            bool(key.hit[cell]),
            bool(key.crossed[cell]),
            [(bool(one.hit[cell]), bool(one.crossed[cell])) for one in rest],
            believe_key_sweep=conflicts == "key-sweep",
        )
        assert states[cell] == BITS[expected] + IN_CONFLICT * conflict


def test_accumulate__of_the_key_sweep_alone() -> None:
    key = random_sweep(np.random.default_rng(0))
    expected = OCCUPIED * key.hit + EMPTY * key.crossed
    assert (accumulate(key, [], "key-sweep") == expected).all()


GRID = VoxelGrid((0.0, -10.0, -1.0), (25.0, 10.0, 1.0), (0.5, 0.5, 2.0))
CAR_M = (2.0, 2.0)
"""Length and width of a car that crosses the road from right to left, 12 m ahead."""
WALL_M = 20.0


def scan(car_y_m: float) -> RayVoxels:
    """A flat LiDAR at the origin sees a car before a wall."""
    returns = []
    for angle in np.linspace(-0.45, 0.45, 721):
        direction = np.array((math.cos(angle), math.sin(angle)))
        reached = WALL_M / direction[0]
        lower, upper = np.array((12.0, car_y_m)), np.array((12.0 + CAR_M[0], car_y_m + CAR_M[1]))
        with np.errstate(divide="ignore", invalid="ignore"):
            planes = np.sort(np.stack((lower / direction, upper / direction)), axis=0)
        if planes[0].max() < planes[1].min() and planes[0].max() > 0:
            reached = planes[0].max()
        returns.append((*(reached * direction), 0.0))
    points = torch.tensor(returns).float()
    return trace(Points.of_one_key_frame(points, torch.zeros_like(points)), GRID)


def occupied_before_the_wall(conflicts: Conflicts, car_y_m: list[float], key: int) -> set[tuple[int, ...]]:
    sweeps = [scan(y) for y in car_y_m]
    states = accumulate(sweeps[key], sweeps[:key] + sweeps[key + 1 :], conflicts)
    cells = np.argwhere(states & OCCUPIED != 0)
    return {tuple(cell) for cell in cells.tolist() if cell[0] < WALL_M / 0.5 - 1}


@pytest.mark.parametrize("key", [0, 4, 8])
def test_accumulate__a_car_that_passes_leaves_no_trail(key: int) -> None:
    way_m = [-5.0 + number for number in range(9)]
    alone = occupied_before_the_wall("key-sweep", [way_m[key]], 0)
    assert 4 <= len(alone) <= 12
    assert occupied_before_the_wall("key-sweep", way_m, key) == alone
    assert len(occupied_before_the_wall("ignore", way_m, key)) > 2 * len(alone)


def test_accumulate__a_parked_car_stays_and_its_shadow_is_filled() -> None:
    passing, parked = [-5.0 + number for number in range(9)], [-5.0] * 9
    assert occupied_before_the_wall("key-sweep", parked, 4) == occupied_before_the_wall(
        "key-sweep", parked[:1], 0
    )
    sweeps = [scan(y) for y in passing]
    alone = accumulate(sweeps[4], [], "key-sweep")
    together = accumulate(sweeps[4], sweeps[:4] + sweeps[5:], "key-sweep")
    wall = int(WALL_M / 0.5)
    assert (together[wall] == OCCUPIED).sum() > (alone[wall] == OCCUPIED).sum()
    assert ((together == 0) & (alone != 0)).sum() == 0

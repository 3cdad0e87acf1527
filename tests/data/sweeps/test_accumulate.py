"""States of voxels from several sweeps, beside plain Python and for a scene with a car that passes."""

import math
from typing import get_args

import numpy as np
import pytest
import torch

from occfeat.data.sample.lidar import EMPTY, IN_CONFLICT, OCCUPIED, Points
from occfeat.data.sweeps.accumulate import accumulate, on_ground
from occfeat.data.sweeps.slices import SLICES, RaySlices, trace_slices
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import Conflicts
from tests.data.sweeps.plain_window import Seen, is_on_ground, state

SHAPE = (6, 5, 4)
AROUND = (2, 1)
BITS = {"unknown": 0, "empty": EMPTY, "occupied": OCCUPIED}


def random_sweep(random: np.random.Generator) -> RaySlices:
    """A sweep that hits and crosses some slices of some voxels."""
    hit, crossed = (
        random.integers(0, 256, SHAPE, dtype=np.uint8) * (random.random(SHAPE) < share)
        for share in (0.2, 0.5)
    )
    few = random.integers(0, 256, SHAPE, dtype=np.uint8)
    hit[:, :, 0] = 0  # some voxels have nothing below
    return RaySlices((hit & few).astype(np.uint8), (crossed & few & ~hit).astype(np.uint8))


def seen(sweep: RaySlices, cell: tuple[int, ...]) -> Seen:
    """What a sweep says of a voxel."""
    hit, crossed = int(sweep.hit[cell]), int(sweep.crossed[cell])
    return Seen(*({number for number in range(SLICES) if bits >> number & 1} for bits in (hit, crossed)))


@pytest.mark.parametrize("conflicts", get_args(Conflicts))
@pytest.mark.parametrize("sides", [(0, 0), (1, 0), (0, 2), (1, 1), (2, 1), (3, 3)])
def test_accumulate__equals_plain_python(conflicts: Conflicts, sides: tuple[int, int]) -> None:
    random = np.random.default_rng(sum(sides))
    key = random_sweep(random)
    before, after = ([random_sweep(random) for _ in range(count)] for count in sides)
    states = accumulate(key, iter(before), iter(after), conflicts, AROUND)
    hit = np.logical_or.reduce([one.hit_voxels for one in (key, *before, *after)])
    found = set()
    for cell in np.ndindex(SHAPE):
        expected, conflict = state(
            seen(key, cell),
            [seen(one, cell) for one in before],
            [seen(one, cell) for one in after],
            on_ground=is_on_ground(lambda other: bool(hit[other]), cell, AROUND, SHAPE),
            believe_hits=conflicts == "ignore",
        )
        assert states[cell] == BITS[expected] + IN_CONFLICT * conflict
        found.add((expected, conflict))
    assert len(found) >= (4 if sum(sides) > 2 else 3)


def test_accumulate__of_the_key_sweep_alone() -> None:
    key = random_sweep(np.random.default_rng(0))
    expected = OCCUPIED * key.hit_voxels + EMPTY * key.crossed_voxels
    assert (accumulate(key, [], [], "key-sweep", AROUND) == expected).all()


def test_on_ground__follows_a_slope_and_leaves_what_stands_on_it() -> None:
    hit = np.zeros((30, 9, 4), dtype=bool)
    for x in range(30):
        hit[x, :, x // 15] = True  # a step
    hit[5, 4, 2] = True
    ground = on_ground(hit, (3, 3))
    assert ground[0, 0, 0]
    assert ground[25, 4, 1]
    assert not ground[5, 4, 2]
    assert not ground[16, 4, 1]  # near the step down


GRID = VoxelGrid((0.0, -10.0, -1.0), (25.0, 10.0, 1.0), (0.5, 0.5, 2.0))
CAR_M = (2.0, 2.0)
"""Length and width of a car that crosses the road from right to left, 12 m ahead."""
WALL_M = 20.0
HEIGHTS_M = (-0.3, 0.3)
"""Heights of the returns: a car is hit in two slices."""


def scan(car_y_m: float) -> RaySlices:
    """Two flat LiDARs at the origin, one above the other, see a car before a wall."""
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
    points = torch.tensor([(x, y, z) for x, y, _ in returns for z in HEIGHTS_M]).float()
    origins = points * torch.tensor([0.0, 0.0, 1.0])
    return trace_slices(Points.of_one_key_frame(points, origins), GRID)


def occupied_before_the_wall(conflicts: Conflicts, car_y_m: list[float], key: int) -> set[tuple[int, ...]]:
    sweeps = [scan(y) for y in car_y_m]
    states = accumulate(sweeps[key], sweeps[:key], sweeps[key + 1 :], conflicts, (10, 10))
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
    alone = accumulate(sweeps[4], [], [], "key-sweep", (10, 10))
    together = accumulate(sweeps[4], sweeps[:4], sweeps[5:], "key-sweep", (10, 10))
    wall = int(WALL_M / 0.5)
    assert (together[wall] == OCCUPIED).sum() > (alone[wall] == OCCUPIED).sum()
    assert ((together == 0) & (alone != 0)).sum() == 0


def test_accumulate__the_road_stays_under_rays_that_end_behind_it() -> None:
    grid = VoxelGrid((0.0, -2.0, -1.25), (25.0, 2.0, 1.25), (0.5, 0.5, 1.25))
    ahead_m = np.arange(4.0, 24.0, 0.02)

    def road(offset_m: float) -> RaySlices:
        """Rings of a LiDAR on the road, 0.6 m below the origin of a voxel's height."""
        rings = torch.tensor([(x + offset_m, 0.1, -0.6) for x in ahead_m[::75]]).float()
        origins = torch.tensor([0.0, 0.1, 1.2]).expand(len(rings), 3)
        return trace_slices(Points.of_one_key_frame(rings, origins), grid)

    sweeps = [road(0.15 * number) for number in range(9)]
    states = accumulate(sweeps[4], sweeps[:4], sweeps[5:], "key-sweep", (10, 10))
    hit = np.logical_or.reduce([one.hit_voxels for one in sweeps])
    twice = sum(one.hit_voxels.astype(int) for one in sweeps) >= 3
    assert (twice & sweeps[4].crossed_voxels).sum() > 5  # the own sweep passes over it
    assert (states[twice] == OCCUPIED).all()
    assert twice.sum() > 0.5 * hit.sum()

"""The way of the car: poses beside a plain join of the tables, and covered cells beside plain loops."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.keyframe import EgoPath
from occfeat.data.sample.contents import Contents, PathRequest
from occfeat.data.sample.sample import collate
from occfeat.data.sweeps.path import driven_cells
from occfeat.geometry.frames import from_rotation, rotation_about_z
from occfeat.geometry.grid import BevGrid
from occfeat.settings.sections import AugmentConfig, ViewConfig
from tests.data.index.test_index import files_of
from tests.support.rigs import GRID

REQUEST = PathRequest(3.0, (-1.0, -0.8), (3.0, 0.8))
CELLS = BevGrid((-8.0, -6.0), (8.0, 6.0), (0.5, 0.25))


def way(*poses: tuple[float, float, float, float]) -> EgoPath:
    """A path of (time in s, x, y in m, heading in rad)."""
    time_s, x, y, heading = torch.tensor(poses, dtype=torch.float64).reshape(-1, 4).unbind(1)
    position = torch.stack((x, y, torch.zeros_like(x)), dim=1)
    return EgoPath(time_s, from_rotation(rotation_about_z(heading), position))


def corners(x: float, y: float, heading: float) -> list[tuple[float, float]]:
    """Corners of the car at a pose."""
    (back, right), (front, left) = REQUEST.car_lower_m, REQUEST.car_upper_m
    cos, sin = math.cos(heading), math.sin(heading)
    found = [(back, right), (back, left), (front, left), (front, right)]
    return [(x + cos * a - sin * b, y + sin * a + cos * b) for a, b in found]


def slow_cells(poses: list[tuple[float, float, float, float]], step_cells: float) -> torch.Tensor:
    """Ask each cell at each pose, and at poses between them no further apart than a part of a cell."""
    driven = torch.zeros(CELLS.shape, dtype=torch.bool)
    every = [poses[-1][1:]] if poses else []
    for one, other in pairwise(poses):
        apart = [math.dist(a, b) for a, b in zip(corners(*one[1:]), corners(*other[1:]), strict=True)]
        steps = max(1, math.ceil(max(apart) / (step_cells * 0.25)))
        steps = 1 if other[0] - one[0] > 1 else steps
        for number in range(steps):
            part = number / steps
            x, y = (one[axis] + part * (other[axis] - one[axis]) for axis in (1, 2))
            cos, sin = (
                (1 - part) * turned(one[3]) + part * turned(other[3]) for turned in (math.cos, math.sin)
            )
            every.append((x, y, math.atan2(sin, cos)))
    (back, right), (front, left) = REQUEST.car_lower_m, REQUEST.car_upper_m
    for x, y, heading in every:
        cos, sin = math.cos(heading), math.sin(heading)
        for i in range(CELLS.shape[0]):
            for j in range(CELLS.shape[1]):
                a, b = -8 + 0.5 * (i + 0.5) - x, -6 + 0.25 * (j + 0.5) - y
                if back <= cos * a + sin * b <= front and right <= cos * b - sin * a <= left:
                    driven[i, j] = True
    return driven


POSES = st.tuples(
    *(st.floats(low, high) for low, high in ((0.05, 0.6), (-12.0, 12.0), (-9.0, 9.0), (-3.0, 3.0)))
)


@given(st.lists(POSES, max_size=4))
def test_driven_cells__equal_plain_loops(steps: list[tuple[float, float, float, float]]) -> None:
    times = np.cumsum([one[0] for one in steps]).tolist()
    poses, heading = [], 0.0
    for time_s, (_, x, y, turn) in zip(times, steps, strict=True):
        heading += turn / 3  # no more than a radian between two poses
        poses.append((time_s, x, y, heading))
    found = driven_cells(way(*poses), REQUEST, torch.eye(4, dtype=torch.float64), CELLS)
    differing = found ^ slow_cells(poses, 0.5)
    assert differing.sum() <= 1  # a centre on the border of the car, by rounding


def test_driven_cells__between_poses_nothing_is_left_out() -> None:
    poses = [(0.0, -7.0, -3.0, 0.2), (0.5, 0.0, -1.0, 0.5), (1.0, 6.0, 4.0, 0.9)]
    found = driven_cells(way(*poses), REQUEST, torch.eye(4, dtype=torch.float64), CELLS)
    fine = slow_cells(poses, 0.02)
    assert not (found & ~fine).any()
    assert (fine & ~found).sum() <= 0.03 * fine.sum()
    assert fine.sum() > 200


def test_driven_cells__a_gap_in_time_is_not_bridged() -> None:
    poses = way((0.0, -6.0, 0.0, 0.0), (1.5, 4.0, 0.0, 0.0))
    found = driven_cells(poses, REQUEST, torch.eye(4, dtype=torch.float64), CELLS)
    rows = found.any(dim=1).nonzero()[:, 0].tolist()
    assert rows == [*range(2, 10), *range(22, 30)]
    assert not driven_cells(way(), REQUEST, torch.eye(4, dtype=torch.float64), CELLS).any()


def test_driven_cells__follow_mirroring_and_turning() -> None:
    poses = way((0.0, 0.0, 0.0, 0.1), (0.5, 4.0, 2.0, 0.6))
    plain = driven_cells(poses, REQUEST, torch.eye(4, dtype=torch.float64), CELLS)
    mirror = torch.diag(torch.tensor([1.0, -1, 1, 1], dtype=torch.float64))
    assert torch.equal(driven_cells(poses, REQUEST, mirror, CELLS), plain.flip(1))
    half_turn = torch.diag(torch.tensor([-1.0, -1, 1, 1], dtype=torch.float64))
    assert torch.equal(driven_cells(poses, REQUEST, half_turn, CELLS), plain.flip(0, 1))


def test_path__equals_a_plain_join(folder: Path, index: Index) -> None:
    own = files_of(folder, index.token(1), "LIDAR_TOP")[0]
    records = [one for row in range(3) for one in files_of(folder, index.token(row), "LIDAR_TOP")]
    records.sort(key=lambda record: record["timestamp"])
    path = index.path(1, 3.0)
    apart_us = [record["timestamp"] - index.key_frame(1).timestamp_us for record in records]
    assert (path.after_s * 1e6).round().tolist() == apart_us
    expected = np.stack([np.linalg.inv(own["ego"]) @ record["ego"] for record in records])
    np.testing.assert_allclose(path.ego_from_car, expected, atol=1e-9)


def test_path__stays_in_its_scene_and_its_window(index: Index) -> None:
    assert index.path(2, 100.0).after_s.round(decimals=3).tolist()[0] == -1.1
    assert index.path(2, 100.0).after_s.max() == 0
    assert index.path(3, 100.0).after_s.min().item() == pytest.approx(-0.1)
    assert index.path(1, 0.45).after_s.round(decimals=3).tolist() == [-0.1, -0.05, 0, 0.4, 0.45]
    middle = index.path(1, 0.0)
    assert torch.allclose(middle.ego_from_car, torch.eye(4, dtype=torch.float64)[None], atol=1e-9)


def test_sample__has_the_path_in_the_augmented_frame(index: Index) -> None:
    contents, view = Contents(path=replace(REQUEST, window_s=0.3)), ViewConfig(image_size=(24, 40))
    plain = KeyFrames(index, view, contents, grid=GRID)
    mirrored = KeyFrames(index, view, contents, grid=GRID, augment=AugmentConfig(bev_flip=True), seed=1)
    batch = collate([plain.sample(0), plain.sample(1)])
    assert batch.path is not None
    assert batch.path.driven.shape == (2, *GRID.bev.shape)
    own = batch.path.driven[0]
    assert own[8:11, 7:9].all()  # where it stands
    assert own[6:11].sum() == own.sum() == 10  # it came 1 m in the 0.1 s since the scene began
    flips = set()
    for epoch in range(8):
        path = mirrored.of_epoch(epoch)[0].path
        assert path is not None
        flips |= {axes for axes in ((), (0,), (1,), (0, 1)) if torch.equal(path.driven, own.flip(axes))}
    assert {(0,), (0, 1)} & flips
    with pytest.raises(ValueError, match="expected the path of the car in all samples or none"):
        collate([plain.sample(0), replace(plain.sample(1), path=None)])

"""LiDAR beams that are left out of targets."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from occfeat.data.augment import BeamChange, draw_change
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.source.sweep import Sweep
from occfeat.data.sweeps.points import ELEVATION_BINS, without_beams
from occfeat.settings.sections import AugmentConfig, DataConfig, ViewConfig
from tests.support.rigs import GRID


def sweep_of(rings: int = 20, returns: int = 50) -> Sweep:
    """Return rings of different elevation, their numbers in the last column."""
    random = np.random.default_rng(0)
    ring = np.arange(rings).repeat(returns)
    azimuth, range_m = random.uniform(0, 2 * np.pi, len(ring)), random.uniform(5, 50, len(ring))
    elevation = np.radians(-25 + 1.5 * ring)
    level = range_m * np.cos(elevation)
    points = np.stack(
        (level * np.cos(azimuth), level * np.sin(azimuth), range_m * np.sin(elevation), 7 * ring), axis=1
    )
    return Sweep(points[random.permutation(len(ring))].astype(np.float32), ring_column=3)


@pytest.mark.parametrize("share", [0.0, 0.04, 0.5, 0.99])
def test_without_beams__leaves_out_whole_rings(share: float) -> None:
    sweep = sweep_of()
    kept = without_beams(sweep, BeamChange(share, seed=1)).points
    rings, counts = np.unique(kept[:, 3], return_counts=True)
    assert len(rings) == 20 - int(share * 20)
    assert (counts == 50).all()
    order = [tuple(row) for row in sweep.points.tolist() if row[3] in set(rings.tolist())]
    assert [tuple(row) for row in kept.tolist()] == order


def test_without_beams__another_seed_leaves_out_others() -> None:
    one, same, other = (without_beams(sweep_of(), BeamChange(0.5, seed)).points for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert set(one[:, 3]) != set(other[:, 3])


def test_without_beams__by_elevation_where_rings_are_not_told() -> None:
    sweep = replace(sweep_of(rings=ELEVATION_BINS), ring_column=None)
    kept = without_beams(sweep, BeamChange(0.5, seed=1)).points
    rings, counts = np.unique(kept[:, 3], return_counts=True)
    assert len(rings) == ELEVATION_BINS / 2
    assert (counts == 50).all()


def test_without_beams__elevation_is_that_of_the_ray() -> None:
    sweep = sweep_of(rings=ELEVATION_BINS)
    shift = np.random.default_rng(1).uniform(-3, 3, (len(sweep.points), 3))
    moved = sweep.points.astype(np.float64)
    moved[:, :3] += shift
    kept = without_beams(Sweep(moved, origins=shift), BeamChange(0.5, seed=1))
    assert kept.origins is not None
    assert len(kept.origins) == len(kept.points)
    still = without_beams(replace(sweep, ring_column=None), BeamChange(0.5, seed=1))
    assert np.array_equal(kept.points[:, 3], still.points[:, 3])


def test_without_beams__of_few_returns() -> None:
    nothing = Sweep(np.zeros((0, 4), dtype=np.float32), ring_column=3)
    assert without_beams(nothing, BeamChange(0.9)) is nothing
    one = Sweep(np.ones((3, 4), dtype=np.float32))  # at a single elevation
    assert len(without_beams(one, BeamChange(0.9, seed=3)).points) == 3


def test_change__beams_are_drawn_last() -> None:
    config = AugmentConfig(scale=(0.8, 1.2), shift=0.1, bev_rotation_deg=10)
    plain, beams = (
        draw_change(one, 3, seed=1, epoch=2, row=5)
        for one in (config, config.model_copy(update={"lidar_beams": 0.5}))
    )
    assert plain.images == beams.images
    assert torch.equal(plain.new_ego_from_ego, beams.new_ego_from_ego)
    assert plain.beams.share == 0
    assert 0 < beams.beams.share < 0.5


def test_key_frames__leave_out_beams_in_targets_alone(folder: Path) -> None:
    index = Index.open(DataConfig(root=folder))

    def points(augment: AugmentConfig | None, epoch: int = 0) -> torch.Tensor:
        """Return the returns of a key frame."""
        contents = Contents(points=True)
        key_frames = KeyFrames(index, ViewConfig(), contents, grid=GRID, augment=augment)
        cloud = key_frames.sample(1, epoch).points
        assert cloud is not None
        return cloud.points_ego

    some = AugmentConfig(lidar_beams=0.9)
    whole = points(None)
    assert torch.equal(points(AugmentConfig()), whole)
    fewer = [points(some, epoch) for epoch in range(3)]
    assert torch.equal(points(some, 1), fewer[1])
    assert len({len(one) for one in fewer}) == 3
    assert all(0 < len(one) < len(whole) for one in fewer)
    every = {tuple(row) for row in whole.tolist()}
    assert all(tuple(row) in every for row in fewer[0].tolist())

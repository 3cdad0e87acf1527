"""A rig with three LiDARs: what they see is joined in one frame, and agrees with the truth about it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from occfeat.data.index.index import Index
from occfeat.data.keyframe import KeyFrame
from occfeat.data.sample.lidar import Points
from occfeat.data.sweeps.points import read_points
from occfeat.geometry.grid import VoxelGrid
from occfeat.pretraining.objectives.evidence import occupancy_target
from occfeat.settings.sections import DataConfig
from streetworld.build import build_world
from streetworld.config import WorldConfig
from streetworld.rigs import RIGS

GRID = VoxelGrid((-40.0, -40.0, -1.0), (40.0, 40.0, 4.0), (0.5, 0.5, 0.5))
CHANNELS = ("LIDAR_TOP", "LIDAR_LEFT", "LIDAR_RIGHT")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"scenes": 1, "val_scenes": 0, "test_scenes": 0, "key_frames": 2, "town_size": 3, "workers": 1}
    out = tmp_path_factory.mktemp("lidars") / "world"
    return build_world(
        WorldConfig(
            out=out, rig="lidars3", image_size=(36, 64), lights=("noon",), sweeps=1, truth=True, **settings
        )
    )


@pytest.fixture(scope="module")
def key_frame(world: Path) -> KeyFrame:
    return Index.open(DataConfig(root=world)).key_frame(1, sweeps=1)


def points_of(world: Path, key_frame: KeyFrame, channel: str) -> Points:
    source = Index.open(DataConfig(root=world)).source
    return read_points(source, [sweep for sweep in key_frame.sweeps if sweep.lidar == channel])


def objects_of(world: Path, key_frame: KeyFrame, channel: str) -> np.ndarray:
    """The true object of each return of a LiDAR."""
    (path,) = (Path(sweep.path) for sweep in key_frame.sweeps if sweep.lidar == channel)
    name = path.name.removesuffix(".pcd.bin")
    return np.fromfile(world / "truth" / channel / f"{name}.bin", "<i2")


def test_returns__begin_at_the_lidar_that_saw_them(world: Path, key_frame: KeyFrame) -> None:
    assert tuple(sweep.lidar for sweep in key_frame.sweeps) == CHANNELS
    index = Index.open(DataConfig(root=world))
    assert [len(index.key_frame(1, sweeps=2).sweeps), index.lidars] == [6, CHANNELS]
    for lidar in RIGS["lidars3"].lidars:
        points = points_of(world, key_frame, lidar.channel)
        assert len(points) > 5000
        expected = torch.tensor(lidar.position_m).expand_as(points.origins_ego)
        torch.testing.assert_close(points.origins_ego, expected, atol=1e-5, rtol=0)


def test_lidars__see_the_same_objects_at_the_same_places(world: Path, key_frame: KeyFrame) -> None:
    boxes, seen_by_two, counted = key_frame.boxes, 0, np.zeros(len(key_frame.boxes), dtype=int)
    owners: list[dict[str, int]] = [{} for _ in range(len(boxes))]
    for channel in CHANNELS:
        points, objects = (
            points_of(world, key_frame, channel).points_ego,
            objects_of(world, key_frame, channel),
        )
        assert len(points) == len(objects)
        for number, (center, turn) in enumerate(zip(boxes.center_ego, boxes.ego_from_box, strict=True)):
            local = (points.double() - center) @ turn
            inside = ((local.abs() <= boxes.size_m[number] / 2 + 1e-4).all(dim=1)).numpy()
            counted[number] += inside.sum()
            if inside.sum() >= 10:
                owners[number][channel] = int(np.bincount(objects[inside] + 1).argmax())
    for found in owners:
        seen_by_two += len(found) > 1
        assert len(set(found.values())) <= 1
    assert seen_by_two >= 2
    np.testing.assert_allclose(counted, boxes.lidar_points, atol=2, rtol=0.02)


def test_joined_lidars__occupy_what_each_of_them_occupies(world: Path, key_frame: KeyFrame) -> None:
    source = Index.open(DataConfig(root=world)).source
    joined = occupancy_target(read_points(source, key_frame.sweeps), 1, GRID)
    each = [occupancy_target(points_of(world, key_frame, channel), 1, GRID) for channel in CHANNELS]
    assert torch.equal(joined, each[0] | each[1] | each[2])
    for alone in each:
        assert int(joined.sum()) > 1.05 * int(alone.sum()) > 0

"""Poses by KISS-ICP: what is given to it, and what becomes of its poses. The package itself stands in."""

import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from occfeat.cli import main
from occfeat.data.index.index import Index
from occfeat.data.recordings.bags.clouds.read import Cloud
from occfeat.data.recordings.bags.messages import Header
from occfeat.data.recordings.bags.odometry import poses_by_kiss_icp
from occfeat.errors import MissingExtraError
from occfeat.settings.sections import DataConfig
from tests.support.recordings.drives import MOUNTINGS, write_drive

START_US = 1_700_000_000_000_000
MOUNT = np.eye(4)
MOUNT[:3, :3] = Rotation.from_euler("z", np.array(1.5)).as_matrix()
MOUNT[:3, 3] = (1.0, 0.0, 1.8)


class Driven:
    """Knows the true motion: one metre along a circle per sweep."""

    made: "Driven"

    def __init__(self, config: Any) -> None:
        self.config, self.frames, self.last_pose = config, [], np.eye(4)
        Driven.made = self

    def register_frame(self, frame: np.ndarray, timestamps: np.ndarray) -> None:
        self.frames.append((frame, timestamps))
        self.last_pose = np.linalg.inv(MOUNT) @ true_pose(len(self.frames) - 1) @ MOUNT


def true_pose(number: int) -> np.ndarray:
    """The car in its first frame."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(np.array((0, 0, 0.1)) * number).as_matrix()
    pose[:2, 3] = 10 * np.sin(0.1 * number), 10 - 10 * np.cos(0.1 * number)
    return pose


def cloud(number: int, *, timed: bool = True, points: int = 200) -> Cloud:
    points_m = np.random.default_rng(number).uniform(-50, 50, (points, 3)).astype(np.float32)
    after_s = np.linspace(0, 0.09, points) if timed else None
    return Cloud(Header(START_US + number * 100_000, "lidar"), points_m, None, None, after_s, 0, 0.0)


@pytest.fixture
def kiss_icp(monkeypatch: pytest.MonkeyPatch) -> None:
    def config() -> SimpleNamespace:
        return SimpleNamespace(
            mapping=SimpleNamespace(voxel_size=None),
            data=SimpleNamespace(min_range=0.0, max_range=100.0),
            registration=SimpleNamespace(max_num_threads=0),
        )

    for name, content in (("", {}), (".config", {"KISSConfig": config}), (".kiss_icp", {"KissICP": Driven})):
        module = ModuleType(f"kiss_icp{name}")
        module.__dict__.update(content)
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.usefixtures("kiss_icp")
def test_poses_of_the_lidar__become_those_of_the_car(timed: bool) -> None:
    clouds = [cloud(number, timed=timed) for number in range(5)]
    found = poses_by_kiss_icp(iter(clouds), MOUNT)
    late_us = 90_000 if timed else 0
    np.testing.assert_array_equal(found.times_us, START_US + np.arange(5) * 100_000 + late_us)
    np.testing.assert_allclose(found.at(found.times_us), [true_pose(n) for n in range(5)], atol=1e-9)
    for sent, (frame, timestamps) in zip(clouds, Driven.made.frames, strict=True):
        np.testing.assert_array_equal(frame, sent.points_m)
        assert frame.dtype == np.float64
        assert len(timestamps) == (200 if timed else 0)
    config = Driven.made.config
    assert (config.mapping.voxel_size, config.data.min_range, config.registration.max_num_threads) == (
        1.0,
        2.5,
        1,
    )


@pytest.mark.usefixtures("kiss_icp")
def test_rig_file__asks_for_poses_of_a_drive_without_any(tmp_path: Path) -> None:
    x, y, z, w = Rotation.from_matrix(MOUNT[:3, :3]).as_quat()
    mountings = {**MOUNTINGS, "lidar": (*MOUNT[:3, 3], w, x, y, z)}
    bag, rig = write_drive(tmp_path / "bag", poses="none", mountings=mountings), tmp_path / "rig.yaml"
    assert main(["import", str(bag), "--inspect", "--rig", str(rig)]) == 0
    draft = yaml.safe_load(rig.read_text())
    assert draft["poses"]["source"] == "none"
    rig.write_text(yaml.safe_dump({**draft, "poses": {"source": "kiss-icp", "lidar": "LIDAR_TOP"}}))
    out = tmp_path / "drive"
    assert main(["import", str(bag), "--rig", str(rig), "--out", str(out), "--workers", "1"]) == 0
    index = Index.open(DataConfig(root=out))
    assert len(index) == 6
    for row in range(6):
        key_frame = index.key_frame(row)
        sweep = round((key_frame.timestamp_us - START_US) / 100_000)
        np.testing.assert_allclose(key_frame.global_from_ego, true_pose(sweep), atol=1e-6)
    assert round((index.key_frame(5).timestamp_us - START_US) / 100_000) == 25


@pytest.mark.usefixtures("kiss_icp")
def test_sweep_with_few_points__is_left_out_and_counted() -> None:
    found = poses_by_kiss_icp([cloud(0), cloud(1, points=3), cloud(2)], MOUNT)
    assert len(found) == 2
    assert found.faults == ("1 sweeps have fewer than 100 points.",)


def test_missing_package__is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kiss_icp", None)
    monkeypatch.setattr("occfeat.machine.extras.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"occfeat\[slam\]"):
        poses_by_kiss_icp([], MOUNT)

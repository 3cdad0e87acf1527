"""Several LiDARs: what the writer stores, what the index chooses, what is joined and what is missing."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from occfeat.data.check.check import check, quick_check
from occfeat.data.check.files import lidar_files
from occfeat.data.dataset import KeyFrames
from occfeat.data.formats.nuscenes.calibrated_sensors import order_lidars
from occfeat.data.formats.nuscenes.writer.folder import NuScenesWriter
from occfeat.data.formats.nuscenes.writer.values import CalibratedRig, CameraImage, LidarSweep
from occfeat.data.index.index import Index
from occfeat.data.index.validate import validate
from occfeat.data.keyframe import KeyFrame, SweepRecord
from occfeat.data.sample.contents import Contents
from occfeat.data.source.sweep import Sweep
from occfeat.data.sweeps.points import read_points
from occfeat.errors import DatasetError, SettingsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import DataConfig, ViewConfig
from tests.data.formats.nuscenes.writer.test_writer import (
    PIXELS,
    POINTS,
    VERSION,
    box,
    camera,
    pose,
    table,
    turned,
)
from tests.support.nuscenes_folder import build_nuscenes_folder, edit_table
from tests.support.own_source import Drives, build_drives_folder

LIDARS = {"LIDAR_REAR": (-1.0, 0.2, 1.0), "LIDAR_LEFT": (1.5, 0.9, 1.2), "LIDAR_TOP": (0.9, 0.0, 1.8)}
ORDER = ("LIDAR_TOP", "LIDAR_LEFT", "LIDAR_REAR")
GRID = VoxelGrid((-16.0, -16.0, -1.0), (16.0, 16.0, 3.0), (1.0, 1.0, 1.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_nuscenes_folder(
        tmp_path, lidars=LIDARS, image_size=(20, 32), channels=("CAM_FRONT",), boxes=4, returns=200
    )


@pytest.fixture
def index(folder: Path) -> Index:
    return Index.open(DataConfig(root=folder))


def names(key_frame: KeyFrame) -> list[str]:
    return [sweep.lidar for sweep in key_frame.sweeps]


def remove_record(folder: Path, part: str) -> None:
    """Remove the first record of `sample_data` with a part of a file name."""
    edit_table(
        folder,
        "sample_data",
        lambda records: records.remove(next(one for one in records if part in one["filename"])),
    )


def test_order_lidars__reference_first() -> None:
    assert order_lidars(["B", "LIDAR_TOP", "A", "B"]) == ("LIDAR_TOP", "A", "B")
    assert order_lidars(["LIDAR_RIGHT", "LIDAR_LEFT"]) == ("LIDAR_LEFT", "LIDAR_RIGHT")
    assert order_lidars([]) == ()


def test_index__every_lidar_has_its_own_sweeps(index: Index) -> None:
    assert index.lidars == ORDER
    key_frame = index.key_frame(1)
    assert names(key_frame) == list(ORDER)
    assert [sweep.timestamp_us - key_frame.timestamp_us for sweep in key_frame.sweeps] == [20_000, 10_000, 0]
    assert all(f"samples/{sweep.lidar}/" in sweep.path for sweep in key_frame.sweeps)


def test_index__the_reference_gives_the_pose(index: Index) -> None:
    """Its time is 20 ms after the key frame's, in which the car has driven 20 cm."""
    top, left, _ = index.key_frame(1).sweeps
    np.testing.assert_allclose(top.ego_from_lidar[:3, 3], LIDARS["LIDAR_TOP"], atol=1e-9)
    moved = left.ego_from_lidar[:3, 3].numpy() - LIDARS["LIDAR_LEFT"]
    assert moved[0] == pytest.approx(-0.1, abs=2e-3)  # 10 ms earlier


def test_index__sweeps_count_for_each_lidar(index: Index) -> None:
    """The second key frame: own sweep, two before, own sweep of the first, two before."""
    key_frame = index.key_frame(1, sweeps=4)
    assert names(key_frame) == [name for name in ORDER for _ in range(4)]
    for name in ORDER:
        times = [sweep.timestamp_us for sweep in key_frame.sweeps if sweep.lidar == name]
        assert [time - times[0] for time in times] == [0, -50_000, -100_000, -500_000]
    assert names(index.key_frame(0, sweeps=9)) == [name for name in ORDER for _ in range(3)]


def test_index__chosen_lidars(index: Index) -> None:
    assert names(index.key_frame(1, lidars=("LIDAR_REAR", "LIDAR_TOP"))) == ["LIDAR_TOP", "LIDAR_REAR"]
    chosen, everything = index.key_frame(1, sweeps=3, lidars=("LIDAR_LEFT",)), index.key_frame(1, sweeps=3)
    mine = [sweep for sweep in everything.sweeps if sweep.lidar == "LIDAR_LEFT"]
    assert [sweep.path for sweep in chosen.sweeps] == [sweep.path for sweep in mine]
    torch.testing.assert_close(chosen.global_from_ego, everything.global_from_ego, rtol=0, atol=0)


def test_index__a_lidar_without_a_record_is_left_out(folder: Path) -> None:
    remove_record(folder, "samples/LIDAR_TOP")
    key_frame = Index.open(DataConfig(root=folder)).key_frame(0, sweeps=2)
    assert names(key_frame) == ["LIDAR_LEFT", "LIDAR_LEFT", "LIDAR_REAR", "LIDAR_REAR"]
    np.testing.assert_allclose(key_frame.sweeps[0].ego_from_lidar[:3, 3], LIDARS["LIDAR_LEFT"], atol=1e-9)


def test_read_points__joins_all_lidars(folder: Path, index: Index) -> None:
    """Each LiDAR sees the same ground and boxes, from its own place, without the car around it."""
    key_frame = index.key_frame(4)
    points = read_points(index.source, key_frame.sweeps, 1.0)
    ends = [0]
    for sweep in key_frame.sweeps:
        own = read_points(index.source, [sweep], 1.0)
        ends.append(ends[-1] + len(own))
        joined = slice(ends[-2], ends[-1])
        torch.testing.assert_close(points.points_ego[joined], own.points_ego, rtol=0, atol=0)
        torch.testing.assert_close(points.origins_ego[joined], own.origins_ego, rtol=0, atol=0)
        torch.testing.assert_close(own.origins_ego[0], sweep.ego_from_lidar[:3, 3].float(), rtol=0, atol=0)
        assert own.points_ego[:200, 2].abs().max() < 1e-3  # the ground
    assert len(points) == ends[-1]
    assert len(points.origins_ego.unique(dim=0)) == 3


def test_read_points__origins_of_rays(folder: Path, index: Index) -> None:
    """Two sensors in one file: radius and origins are those of each return's own ray."""
    random = np.random.default_rng(0)
    origins = np.repeat([[1.4, 0.0, 1.6], [1.4, 0.0, 1.3]], 50, axis=0).astype(np.float32)
    points = origins + random.normal(0, 3, (100, 3)).astype(np.float32)
    ego_from_lidar = torch.from_numpy(turned(0.3, 1, 2, 3))
    record = SweepRecord("token", "a.bin", "LIDAR", 0, True, ego_from_lidar)

    class Source(Drives):
        def read_sweep(self, path: Path) -> Sweep:
            return Sweep(points, origins)

    read = read_points(Source(folder, ""), [record], 2.0)
    far = np.hypot(*(points - origins)[:, :2].T) >= 2
    assert 0 < far.sum() < 100
    for found, expected in ((read.points_ego, points), (read.origins_ego, origins)):
        moved = expected[far].astype(np.float64) @ ego_from_lidar[:3, :3].numpy().T + (1, 2, 3)
        np.testing.assert_allclose(found, moved, atol=1e-5)


def test_samples__have_the_points_of_the_chosen_lidars(index: Index) -> None:
    contents = Contents(points=True)
    size = {"image_size": (16, 24)}
    everything, top = (
        KeyFrames(index, ViewConfig(**size, lidars=lidars), contents, grid=GRID)[0].points
        for lidars in ((), ("LIDAR_TOP",))
    )
    assert everything is not None
    assert top is not None
    assert len(top) < len(everything) / 2
    with pytest.raises(SettingsError, match="no LiDAR LIDAR_ROOF") as caught:
        KeyFrames(index, ViewConfig(lidars=("LIDAR_ROOF",)), contents, grid=GRID)
    assert "LIDAR_TOP, LIDAR_LEFT, LIDAR_REAR" in caught.value.hint


def test_check__lists_missing_files_of_each_lidar(folder: Path, index: Index) -> None:
    (folder / index.key_frame(0).sweeps[0].path).unlink()
    for row in (2, 3):
        (folder / index.key_frame(row).sweeps[2].path).unlink()
    report = check(DataConfig(root=folder))
    kinds = {problem.kind: problem.count for problem in report.problems}
    assert kinds == {"missing LiDAR file of LIDAR_TOP": 1, "missing LiDAR file of LIDAR_REAR": 2}
    assert all("LiDAR archives" in problem.hint for problem in report.problems)
    assert report.complete == 3
    assert "The LiDARs are LIDAR_TOP, LIDAR_LEFT, LIDAR_REAR" in report.notes[0]


def test_check__records_that_a_lidar_lacks_are_a_note(folder: Path) -> None:
    remove_record(folder, "samples/LIDAR_LEFT")
    report = check(DataConfig(root=folder))
    assert (report.problems, report.complete) == ((), 6)
    assert "1 key frames have no record of LIDAR_LEFT." in report.notes


def test_quick_check__looks_for_the_chosen_lidars_only(folder: Path, index: Index) -> None:
    (folder / index.key_frame(0).sweeps[0].path).unlink()
    rows = index.rows("all")
    quick_check(index, rows, view=ViewConfig(lidars=("LIDAR_LEFT",)), needs_lidar=True)
    with pytest.raises(DatasetError, match="1 of 6 key frames"):
        quick_check(index, rows, view=ViewConfig(), needs_lidar=True)


def test_lidar_files__are_those_of_the_key_frames(index: Index) -> None:
    rows = np.array([1, 3, 4])
    expected = {
        (int(row), sweep.lidar, sweep.path)
        for row in rows
        for sweep in index.key_frame(row, sweeps=4, lidars=("LIDAR_TOP", "LIDAR_REAR")).sweeps
    }
    found = [(file.row, file.lidar, file.path) for file in lidar_files(index, rows, 4, ORDER[::2])]
    assert set(found) == expected
    assert len(found) == len(expected) == 2 * (4 + 3 + 4)


def test_writer__keeps_every_lidar_with_its_own_time(tmp_path: Path) -> None:
    lidars = {"LIDAR_RIGHT": turned(0, 1, -1, 1), "LIDAR_LEFT": turned(np.pi, 1, 1, 1)}
    with NuScenesWriter(tmp_path, VERSION) as writer:
        writer.add_scene("one", CalibratedRig("car", (camera("CAM_FRONT"),), lidars), split="train")
        writer.add_sweep("LIDAR_LEFT", pose(-20), POINTS + 1)
        sweeps = {"LIDAR_LEFT": LidarSweep(POINTS), "LIDAR_RIGHT": LidarSweep(POINTS[:2], pose(15))}
        center = (pose(0).global_from_ego @ lidars["LIDAR_LEFT"] @ (10, 0, -1, 1))[:3]
        around = box(center_global_m=center, size_m=(0.2, 0.2, 0.2))
        writer.add_key_frame(pose(0), {"CAM_FRONT": CameraImage(PIXELS)}, sweeps, [around])
    index = Index.open(DataConfig(root=tmp_path))
    assert index.lidars == ("LIDAR_LEFT", "LIDAR_RIGHT")
    left, before, right = index.key_frame(0, sweeps=2).sweeps
    assert [one.timestamp_us - left.timestamp_us for one in (before, right)] == [-20_000, 15_000]
    np.testing.assert_allclose(left.ego_from_lidar, lidars["LIDAR_LEFT"], atol=1e-9)
    seen = np.linalg.inv(pose(0).global_from_ego) @ pose(15).global_from_ego @ lidars["LIDAR_RIGHT"]
    np.testing.assert_allclose(right.ego_from_lidar, seen, atol=1e-9)
    np.testing.assert_array_equal(index.source.read_sweep(tmp_path / right.path).points, POINTS[:2])
    assert [row["num_lidar_pts"] for row in table(tmp_path, "sample_annotation")] == [1]
    assert check(DataConfig(root=tmp_path), decode=True).problems == ()


@pytest.mark.parametrize(("lidar", "message"), [([2] * 4, "sweeps.lidar"), ([0, None, 0, 0], "no nulls")])
def test_validate__lidars_of_an_own_source(tmp_path: Path, lidar: list[int | None], message: str) -> None:
    joined = Drives(build_drives_folder(tmp_path), "").join(lambda count: None)
    sweeps = joined.sweeps.append_column("lidar", pa.array(lidar, pa.int16()))
    with pytest.raises(ValueError, match=message):
        validate(type(joined)(**{**vars(joined), "sweeps": sweeps, "lidars": ("A", "B")}), "file")
    assert validate(joined, "file").sweeps["lidar"].to_pylist() == [0] * 4

"""Logs of Argoverse 2 that lack something or are damaged: the check names it, and other logs stay usable."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather

from occfeat.data.check.check import check
from occfeat.data.dataset import KeyFrames
from occfeat.data.formats.argoverse2 import lidar
from occfeat.data.formats.argoverse2.lidar import read_sweep
from occfeat.data.formats.argoverse2.map_file import read_map_file
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Sample
from occfeat.errors import DatasetError, KeyFrameError
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import DataConfig, ViewConfig
from tests.support.argoverse_folder import build_argoverse_folder, log_name, write_feather
from tests.support.nuscenes_folder import build_nuscenes_folder

LOG = Path("train") / log_name("scene-0061")
POSES, CALIBRATION = "city_SE3_egovehicle.feather", "calibration/egovehicle_SE3_sensor.feather"
INTRINSICS, FRONT = "calibration/intrinsics.feather", "sensors/cameras/ring_front_center"
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    source = build_nuscenes_folder(folder / "nuscenes", image_size=(20, 32), returns=50)
    return build_argoverse_folder(source, folder / "sensor")


@pytest.fixture
def sensor(written: Path, tmp_path: Path) -> Path:
    lidar._lidar_positions.cache_clear()  # pytest may give folders of one name to several tests
    return shutil.copytree(written, tmp_path / "sensor")


def keep(path: Path, chosen: Callable[[pa.Table], np.ndarray]) -> None:
    """Keep some rows of a feather file."""
    table = feather.read_table(path)
    write_feather(path, {name: table.filter(pa.array(chosen(table)))[name] for name in table.column_names})


def put(path: Path, column: str, row: int, value: float) -> None:
    """Change one number of a feather file."""
    table = feather.read_table(path)
    values = table[column].to_numpy().copy()
    values[row] = value
    write_feather(path, {name: table[name] for name in table.column_names} | {column: values})


def without_front(path: Path) -> None:
    """Drop the row of the front camera."""
    keep(
        path, lambda table: np.array([one != "ring_front_center" for one in table["sensor_name"].to_pylist()])
    )


def of_lidars(path: Path) -> None:
    """Keep the rows of the LiDARs alone."""
    keep(path, lambda table: np.array(["lidar" in one for one in table["sensor_name"].to_pylist()]))


def cut(path: Path) -> None:
    """Cut a file off in the middle."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def sweep_times(log: Path) -> list[int]:
    """Times of the sweeps, of which each third is a key frame's."""
    return sorted(int(path.stem) for path in (log / "sensors/lidar").iterdir())


def spare_time(log: Path) -> int:
    """Time of the second key frame."""
    return sweep_times(log)[3]


def read(root: Path, row: int) -> Sample:
    """Read a key frame."""
    grid = VoxelGrid((-16.0, -16.0, -1.0), (16.0, 16.0, 3.0), (1.0, 1.0, 1.0))
    index = Index.open(DataConfig(root=root))
    return KeyFrames(index, ViewConfig(image_size=(16, 24)), Contents(points=True), grid=grid).sample(row)


CASES: dict[str, tuple[Damage, dict[str, int], str]] = {
    "no intrinsics": (
        lambda log: without_front(log / INTRINSICS),
        {"missing calibration": 3},
        "ring_front_center",
    ),
    "no sensor pose": (
        lambda log: without_front(log / CALIBRATION),
        {"missing calibration": 3},
        "ring_front_center",
    ),
    "no camera in the intrinsics": (
        lambda log: of_lidars(log / INTRINSICS),
        {"missing calibration": 3},
        "expected rows of cameras in both tables",
    ),
    "no camera among the sensor poses": (
        lambda log: of_lidars(log / CALIBRATION),
        {"missing calibration": 3},
        "expected rows of cameras in both tables",
    ),
    "no table of intrinsics": (lambda log: (log / INTRINSICS).unlink(), {"missing table": 3}, INTRINSICS),
    "poses cut off": (lambda log: cut(log / POSES), {"unreadable table": 3}, POSES),
    "no poses": (lambda log: (log / POSES).unlink(), {"missing table": 3}, POSES),
    "no pose at the end": (
        lambda log: keep(log / POSES, lambda table: np.array(table["timestamp_ns"]) < spare_time(log) + 4e8),
        {"missing pose": 9},
        POSES,
    ),
    "other columns": (
        lambda log: write_feather(log / POSES, {"time": [1.0], "x": [2.0]}),
        {"unreadable table": 3},
        "expected columns timestamp_ns, ",
    ),
    "text for numbers": (
        lambda log: write_feather(log / INTRINSICS, {"sensor_name": ["a"], "fx_px": ["b"]}),
        {"unreadable table": 3},
        "expected columns",
    ),
    "no annotations": (
        lambda log: (log / "annotations.feather").unlink(),
        {"missing annotations": 1},
        "annotations",
    ),
    "NaN in a box": (
        lambda log: put(log / "annotations.feather", "tx_m", 0, np.nan),
        {"box left out": 1},
        "is not a box",
    ),
    "NaN in intrinsics": (
        lambda log: put(log / INTRINSICS, "fx_px", 0, np.nan),
        {"singular intrinsics": 3},
        "intrinsics that cannot be used",
    ),
    "one image gone": (lambda log: sorted((log / FRONT).iterdir())[0].unlink(), {"missing image": 1}, FRONT),
    "all images gone": (lambda log: shutil.rmtree(log / "sensors/cameras"), {"missing image": 18}, FRONT),
    "image without a time": (
        lambda log: (log / FRONT / "front.jpg").write_bytes(b""),
        {"impossible file name": 1},
        "front.jpg",
    ),
    "unknown camera": (
        lambda log: (log / "sensors/cameras/ring_roof").mkdir(),
        {"unknown camera": 1},
        "ring_roof",
    ),
    "no LiDAR folder": (
        lambda log: shutil.rmtree(log / "sensors/lidar"),
        {"missing LiDAR file": 3},
        "sensors/lidar",
    ),
    "sweep cut off": (
        lambda log: cut(sorted((log / "sensors/lidar").iterdir())[0]),
        {"damaged LiDAR file": 1},
        "cannot be read",
    ),
    "no row of a LiDAR": (
        lambda log: keep(log / CALIBRATION, lambda table: np.arange(len(table)) < len(table) - 1),
        {"damaged LiDAR file": 3},
        "no usable row of down_lidar",
    ),
    "an empty folder": (
        lambda log: (log.parent / "download").mkdir(),
        {"incomplete log": 1},
        "train/download",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_damage__is_named_and_nothing_else(sensor: Path, case: str) -> None:
    damage, kinds, named = CASES[case]
    damage(sensor / LOG)
    report = check(DataConfig(root=sensor), decode=True)
    assert {problem.kind: problem.count for problem in report.problems} == kinds
    (problem,) = report.problems
    assert named in problem.first[0]
    assert problem.hint
    assert report.key_frames == 6
    assert report.complete >= 3


def test_camera_without_calibration__costs_itself_alone(sensor: Path) -> None:
    without_front(sensor / LOG / INTRINSICS)
    report = check(DataConfig(root=sensor), decode=True)
    assert report.complete == 3
    assert "3 key frames are used without some camera." in report.notes
    sample, other = read(sensor, 0), read(sensor, 3)
    assert sample.cameras.present.tolist() == [False, *[True] * 5]
    assert other.cameras.present.all()
    (message,) = sample.lost_images
    assert message.endswith("calibration: expected rows of ring_front_center in both tables, got none")
    assert not sample.images[0].any()
    assert sample.images[1].any()


def test_stereo_camera_without_calibration__is_nobody_s_loss(sensor: Path) -> None:
    cameras = sensor / LOG / "sensors/cameras"
    shutil.copytree(cameras / "ring_front_center", cameras / "stereo_front_left")
    report = check(DataConfig(root=sensor), decode=True)
    assert (report.problems, report.complete) == ((), 6)


def test_images_without_poses__cost_themselves_alone(sensor: Path) -> None:
    """An image before the first pose, and a sweep after it."""
    log = sensor / LOG
    image = sorted((log / FRONT).iterdir())[0]
    image = image.rename(image.with_name(f"{sweep_times(log)[0] - 20_000_000}.jpg"))
    report = check(DataConfig(root=sensor), decode=True)
    (problem,) = report.problems
    assert (problem.kind, problem.count) == ("missing pose", 1)
    assert image.stem in problem.first[0]
    assert report.complete == 5
    assert "1 key frames are used without some camera." in report.notes
    assert read(sensor, 0).cameras.present.tolist() == [False, *[True] * 5]


def test_key_frame_without_lidar__takes_no_pose_of_an_image_without_one(sensor: Path) -> None:
    """The image without a pose is the nearest in time, after which the poses have a gap."""
    log = sensor / LOG
    key_ns = spare_time(log)
    before = Index.open(DataConfig(root=sensor)).key_frame(1).global_from_ego
    for folder in (log / "sensors/cameras").iterdir():
        image = sorted(folder.iterdir())[1]
        image.rename(folder / f"{key_ns + (20_000_000 if folder.name == FRONT[-17:] else -24_000_000)}.jpg")
    shutil.rmtree(log / "sensors/lidar")
    key_frame = Index.open(DataConfig(root=sensor)).key_frame(1)
    assert list(key_frame.faulty_cameras) == ["ring_front_center"]
    assert (key_frame.global_from_ego - before).abs().max() < 1.0  # not the origin of the city


def test_sweep__of_nothing_or_infinity(sensor: Path) -> None:
    path = sorted((sensor / LOG / "sensors/lidar").iterdir())[0]
    table = feather.read_table(path)
    write_feather(path, {name: table[name][:0] for name in table.column_names})
    with pytest.raises(KeyFrameError, match="has no returns"):
        read_sweep(path)
    far = np.full(len(table), np.inf, np.float16)
    write_feather(path, {name: table[name] for name in table.column_names} | {"x": far})
    with pytest.raises(KeyFrameError, match="non-finite values"):
        read_sweep(path)
    with pytest.raises(KeyFrameError, match="is missing"):
        read_sweep(path.with_name("1.feather"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "named layers"),
        ("{}", "no layer 'drivable_areas'"),
        ('{"drivable_areas": {"1": {}}}', "without points in 'area_boundary'"),
        ('{"drivable_areas": {"1": {"area_boundary": [{"x": 1e300, "y": 0}]}}}', "impossible position"),
    ],
)
def test_map__damaged(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "log_map_archive_x____PIT_city_1.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match=said):
        read_map_file(path)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_map_file(tmp_path / "none.json")

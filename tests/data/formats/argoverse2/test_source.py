"""Argoverse 2 read in place: folders, key frames, images, poses, boxes, maps."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import feather
from scipy.spatial.transform import Rotation, Slerp

from occfeat.data.check.check import check
from occfeat.data.dataset import KeyFrames
from occfeat.data.formats.argoverse2.calibrated_sensors import read_sensor_poses
from occfeat.data.formats.argoverse2.log import choose_key_frames
from occfeat.data.formats.argoverse2.map_file import read_map_file
from occfeat.data.formats.argoverse2.poses import Poses, compose
from occfeat.data.formats.argoverse2.source import Argoverse2
from occfeat.data.formats.sources import find_source
from occfeat.data.index.index import Index
from occfeat.data.keyframe import transform_from_pose
from occfeat.data.labels import require_classes
from occfeat.data.sample.contents import Contents
from occfeat.data.sweeps.points import read_points
from occfeat.errors import DatasetError, SettingsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import DataConfig, ViewConfig
from tests.support.argoverse_folder import build_argoverse_folder, log_name, write_feather
from tests.support.nuscenes_folder import build_nuscenes_folder

GRID = VoxelGrid((-16.0, -16.0, -1.0), (16.0, 16.0, 3.0), (1.0, 1.0, 1.0))
TRAIN, VAL = (log_name(scene) for scene in ("scene-0061", "scene-0103"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doors")
    return build_argoverse_folder(build_nuscenes_folder(folder / "nuscenes"), folder / "sensor")


@pytest.fixture
def sensor(written: Path, tmp_path: Path) -> Path:
    """The folder of `train` and `val`, for one test to change."""
    return shutil.copytree(written, tmp_path / "sensor", ignore=shutil.ignore_patterns("occfeat-index*"))


def open_index(root: Path) -> Index:
    return Index.open(DataConfig(root=root))


def edit_feather(path: Path, **columns: object) -> None:
    """Replace or add columns of a feather file."""
    table = feather.read_table(path)
    write_feather(path, {name: table[name] for name in table.column_names} | columns)


def problems(root: Path) -> dict[str, int]:
    return {one.kind: one.count for one in check(DataConfig(root=root)).problems}


def test_folder__of_splits(sensor: Path) -> None:
    index = open_index(sensor)
    assert isinstance(index.source, Argoverse2)
    assert index.splits() == ("train", "val")
    assert set(index.scene_of(index.rows("val"))) == {VAL}
    assert len(index.rows("all")) == 6
    assert index.token(0) == f"{TRAIN}-1500000001000000000"
    assert check(DataConfig(root=sensor), decode=True).text().endswith("No problems found.")


def test_folder__of_one_split_and_of_logs(sensor: Path, tmp_path: Path) -> None:
    assert open_index(sensor / "val").splits() == ("val",)
    mine = (sensor / "val").rename(tmp_path / "mine")
    assert open_index(mine).splits() == ()
    assert len(open_index(mine).rows("all")) == 3


def test_folder__own_splits_replace_the_folders(sensor: Path) -> None:
    (sensor / "splits.json").write_text(json.dumps({"learn": [VAL], "both": [TRAIN, VAL]}))
    index = open_index(sensor)
    assert index.splits() == ("learn", "both")
    assert set(index.scene_of(index.rows("learn"))) == {VAL}


def test_folder__near_misses_are_told_what_to_give(sensor: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"give {sensor}"):
        find_source(tmp_path, None)
    with pytest.raises(DatasetError, match=f"give its parent folder, {sensor / 'val'}"):
        find_source(sensor / "val" / VAL, None)
    (tmp_path / "forecasting" / "train" / "1").mkdir(parents=True)
    with pytest.raises(DatasetError, match="the folder of `train`, `val` and `test`, or a folder of logs"):
        find_source(tmp_path / "forecasting", None)


def test_folder__a_log_in_two_splits_is_refused(sensor: Path) -> None:
    shutil.copytree(sensor / "val" / VAL, sensor / "train" / VAL)
    with pytest.raises(DatasetError, match="logs in more than one split") as caught:
        open_index(sensor)
    assert caught.value.first == (VAL,)


def test_index__follows_new_files_and_not_copies(
    sensor: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = open_index(sensor).fingerprint
    copy = shutil.copytree(sensor, tmp_path / "copy")
    with caplog.at_level(logging.WARNING, "occfeat"):
        caplog.clear()
        assert open_index(copy).fingerprint == before
        assert caplog.messages == []
        front = copy / "train" / TRAIN / "sensors/cameras/ring_front_center"
        sorted(front.iterdir())[0].unlink()
        assert open_index(copy).fingerprint != before
    assert len(caplog.messages) == 1
    shutil.rmtree(copy / "val" / VAL)
    assert len(open_index(copy)) == 3


@pytest.mark.parametrize("period_ns", [100_000_000, 99_860_000, 100_190_000])
def test_key_frames__are_every_half_second_and_the_nearest(period_ns: int) -> None:
    time_ns = 315_966_253_660_357_000 + np.arange(157) * period_ns
    chosen = time_ns[choose_key_frames(time_ns)]
    ideal_ns = time_ns[0] + np.arange(len(chosen)) * 500_000_000
    assert chosen[0] == time_ns[0]
    assert np.abs(chosen - ideal_ns).max() <= period_ns / 2 + 1
    assert len(chosen) == round((time_ns[-1] - time_ns[0]) / 5e8) + 1


def test_key_frames__skip_gaps() -> None:
    time_ns = np.array([0, 100, 500, 2_000, 2_400, 2_600, 3_240, 9_000]) * 1_000_000
    assert choose_key_frames(time_ns).tolist() == [True, False, True, True, True, False, True, True]
    assert choose_key_frames(time_ns[:0]).tolist() == []
    assert choose_key_frames(np.array([7])).tolist() == [True]


def test_sweeps__between_key_frames_are_read_on_request(sensor: Path) -> None:
    index = open_index(sensor)
    times_us = [sweep.timestamp_us for sweep in index.key_frame(1, sweeps=9).sweeps]
    assert times_us == [1_500_000_001_500_000 - back for back in (0, 50_000, 100_000, 500_000)]
    view = ViewConfig(image_size=(16, 24), sweeps=4)
    key_frames = KeyFrames(index, view, Contents(points=True), grid=GRID)
    points = key_frames.sample(1).points
    assert points is not None
    on_ground = (points.points_ego[:, 2].abs() < 0.02).float().mean()
    assert on_ground > 0.8  # half floats, and a car that turns: every sweep lies on the same ground


def test_points__equal_a_plain_way(sensor: Path) -> None:
    """Those of the key frame's own file, without the returns within some metres of either LiDAR."""
    sweeps = open_index(sensor).key_frame(1).sweeps
    path = sensor / sweeps[0].path
    rows = feather.read_table(path)
    lasers = np.where(np.arange(len(rows)) % 3, rows["laser_number"], 40).astype(np.uint8)
    write_feather(path, {name: rows[name] for name in rows.column_names} | {"laser_number": lasers})
    poses = read_sensor_poses(path.parents[2])
    xyz = np.stack([rows[axis].to_numpy().astype(np.float32) for axis in "xyz"], axis=1)
    origins = np.where((lasers >= 32)[:, None], poses["down_lidar"][:3], poses["up_lidar"][:3] + 2.0)
    far = np.linalg.norm((xyz - origins.astype(np.float32))[:, :2], axis=1) >= 8.0
    assert 0.2 < far.mean() < 0.98
    moved = feather.read_table(path.parents[2] / "calibration/egovehicle_SE3_sensor.feather")
    shift = np.where(np.array(moved["sensor_name"].to_pylist()) == "up_lidar", 2.0, 0.0)
    shifted = {name: moved[name].to_numpy() + shift for name in ("tx_m", "ty_m", "tz_m")}
    edit_feather(path.parents[2] / "calibration/egovehicle_SE3_sensor.feather", **shifted)
    points = read_points(Argoverse2(sensor, ""), sweeps, 8.0)
    assert points.points_ego.is_contiguous()
    np.testing.assert_array_equal(points.points_ego, xyz[far])
    np.testing.assert_array_equal(points.origins_ego, origins[far].astype(np.float32))


def test_images__are_the_nearest_within_25_ms(sensor: Path) -> None:
    """An image 25 ms away still counts. One that is farther does not, and its camera is black."""
    folder = sensor / "train" / TRAIN / "sensors/cameras/ring_front_center"
    key_ns = 1_500_000_001_000_000_000
    image = sorted(folder.iterdir())[0]
    poses = sensor / "train" / TRAIN / "city_SE3_egovehicle.feather"
    for off_ns, found in ((25_000_000, True), (25_000_001, False), (-25_000_000, True)):
        image = image.rename(folder / f"{key_ns + off_ns}.jpg")
        table = feather.read_table(poses)
        first = {
            name: pa.concat_arrays([table[name].combine_chunks().slice(0, 1)]) for name in table.column_names
        }
        first["timestamp_ns"] = pa.array([key_ns + off_ns])
        write_feather(
            poses, {name: pa.concat_arrays([table[name].combine_chunks(), first[name]]) for name in first}
        )
        index = open_index(sensor)
        cameras = {camera.channel: camera.path for camera in index.key_frame(0).cameras}
        assert ("ring_front_center" in cameras) == found
        if found:
            assert cameras["ring_front_center"].endswith(image.name)
            assert problems(sensor) == {}
        else:
            assert problems(sensor) == {"missing image": 1}
            report = check(DataConfig(root=sensor))
            assert report.complete == 6  # usable, with one black image
            assert report.notes[0] == "1 key frames have no record of some of the 6 cameras."
            view = ViewConfig(image_size=(16, 24))
            sample = KeyFrames(index, view, Contents(), grid=GRID).sample(0)
            assert sample.cameras.present.tolist() == [False, *[True] * 5]
            assert not sample.images[0].any()


def test_cameras__stereo_only_where_it_is_named(sensor: Path) -> None:
    log = sensor / "train" / TRAIN
    for name in ("calibration/egovehicle_SE3_sensor.feather", "calibration/intrinsics.feather"):
        table = feather.read_table(log / name)
        names = [
            "stereo_front_left" if one == "ring_side_left" else one
            for one in table["sensor_name"].to_pylist()
        ]
        edit_feather(log / name, sensor_name=names)
    cameras = log / "sensors/cameras"
    (cameras / "ring_side_left").rename(cameras / "stereo_front_left")
    index = open_index(sensor)
    assert index.channels[-1] == "stereo_front_left"
    assert "stereo_front_left" not in index.default_channels
    assert problems(sensor) == {}
    stereo = ViewConfig(image_size=(16, 24), cameras=("stereo_front_left", "ring_front_center"))
    sample = KeyFrames(index, stereo, Contents(), grid=GRID).sample(0)
    assert sample.cameras.present.all()
    plain = KeyFrames(index, ViewConfig(image_size=(16, 24)), Contents(), grid=GRID)
    assert plain.channels == index.channels[:-1]
    shutil.rmtree(cameras / "stereo_front_left")
    assert problems(sensor) == {}  # who downloads no stereo images misses none


def test_poses__exact_or_between_neighbours() -> None:
    """Rows may be a nanosecond apart, and the exact one counts."""
    time_ns = np.array([0, 1, 10_000_000, 500_000_000])
    turn = Rotation.from_rotvec([(0, 0, angle) for angle in (0.0, 0.01, 0.02, 1.0)])
    x, y, z, w = turn.as_quat().T
    pose = np.stack((time_ns * 1e-8, 0 * x, 0 * x, w, x, y, z), axis=1)
    pose[2, 3:] *= -1  # the same rotation
    poses = Poses(time_ns, pose)
    np.testing.assert_array_equal(poses.at(time_ns), pose)
    middle = poses.at(np.array([4_000_001]))
    expected = Slerp(time_ns, turn)([4_000_001]).as_matrix()
    np.testing.assert_allclose(
        transform_from_pose(torch.from_numpy(middle))[:, :3, :3].numpy(), expected, atol=1e-9
    )
    np.testing.assert_allclose(middle[0, 0], 4_000_001e-8)
    outside = np.array([-1, 500_000_001, 200_000_000])  # before, after, in a gap
    assert np.isnan(poses.at(outside)).all()
    assert np.isnan(Poses(time_ns[:0], pose[:0]).at(outside)).all()


def test_compose__is_the_product_of_matrices() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 50, 7))
    product = transform_from_pose(torch.from_numpy(compose(first, second)))
    one, other = (transform_from_pose(torch.from_numpy(pose)) for pose in (first, second))
    torch.testing.assert_close(product, one @ other)


def test_boxes__and_taxonomy(sensor: Path) -> None:
    index = open_index(sensor)
    boxes = index.key_frame(0).boxes
    assert sorted(set(boxes.category)) == ["BOLLARD", "PEDESTRIAN", "REGULAR_VEHICLE", "TRUCK"]
    assert boxes.lidar_points.tolist() == [40] * 8
    assert boxes.visibility.tolist() == [0] * 8
    assert not index.source.taxonomy.has_visibility
    classes = index.source.taxonomy.classes
    riders = ("BICYCLE", "BICYCLIST", "MOTORCYCLE", "MOTORCYCLIST", "TRUCK_CAB", "SCHOOL_BUS")
    assert all(name.startswith(classes["vehicle"]) for name in riders)
    others = ("SIGN", "STOP_SIGN", "BOLLARD", "DOG", "ANIMAL", "CONSTRUCTION_CONE", "TRAFFIC_LIGHT")
    assert not any(name.startswith((*classes["vehicle"], *classes["pedestrian"])) for name in others)
    people = ("PEDESTRIAN", "WHEELCHAIR", "WHEELED_DEVICE", "WHEELED_RIDER", "STROLLER", "OFFICIAL_SIGNALER")
    assert all(name.startswith(classes["pedestrian"]) for name in people)


def test_map__layers(sensor: Path) -> None:
    square = [{"x": x, "y": y, "z": 70.0} for x, y in ((990, 490), (1010, 490), (1010, 510), (990, 510))]
    bow = [square[i] for i in (0, 2, 1, 3)]
    lane = {"left_lane_boundary": square[:2], "left_lane_mark_type": "SOLID_WHITE"}
    lane |= {"right_lane_boundary": square[2:], "right_lane_mark_type": "NONE"}
    document = {
        "drivable_areas": {"1": {"area_boundary": square, "id": 1}, "2": {"area_boundary": bow, "id": 2}},
        "pedestrian_crossings": {"3": {"edge1": square[:2], "edge2": [square[3], square[2]], "id": 3}},
        "lane_segments": {"4": lane, "5": lane},
    }
    folder = sensor / "train" / TRAIN / "map"
    folder.mkdir()
    (folder / f"log_map_archive_{TRAIN}____PIT_city_47896.json").write_text(json.dumps(document))
    index = open_index(sensor)
    place = index.key_frame(0).place
    assert place.location == "PIT"
    cells = np.array(((1.0, 0.0, -980.0), (0.0, 1.0, -480.0), (0.0, 0.0, 1.0)))
    drawn = {
        layer: index.source.read_map(place, (layer,)).draw(layer, cells, (40, 40))
        for layer in ("drivable_area", "ped_crossing", "divider")
    }
    assert drawn["drivable_area"].sum() == drawn["ped_crossing"].sum() == 21 * 21
    assert drawn["divider"][15, 10]
    assert not drawn["divider"][15, 30]
    for layer in ("walkway", "stop_line", "carpark_area"):
        with pytest.raises(SettingsError, match=f"{layer}: the maps of Argoverse 2 have no such layer"):
            require_classes(index, index.places(index.rows("train")), (layer,))
    with pytest.raises(SettingsError, match=f"no map in {sensor}/val/{VAL}/map"):
        require_classes(index, index.places(index.rows("val")), ("drivable_area",))
    notes = check(DataConfig(root=sensor)).notes
    assert notes == (f"1 logs have no map, and no map layers; the first: val/{VAL}/map.",)
    read_map_file.cache_clear()


def test_portrait_camera__beside_landscape_ones(sensor: Path) -> None:
    """Points project to the same share of a resized portrait image as of the original."""
    from PIL import Image

    log = sensor / "train" / TRAIN
    table = feather.read_table(log / "calibration/intrinsics.feather")
    names = ("height_px", "width_px", "cx_px", "cy_px")
    columns = {name: table[name].to_numpy().copy() for name in names}
    assert table["sensor_name"][0].as_py() == "ring_front_center"
    for name, value in zip(names, (160, 90, 45, 80), strict=True):
        columns[name][0] = value
    edit_feather(log / "calibration/intrinsics.feather", **columns)
    for path in (log / "sensors/cameras/ring_front_center").iterdir():
        with Image.open(path) as image:
            image.resize((90, 160)).save(path)
    index = open_index(sensor)
    assert problems(sensor) == {}
    camera = index.key_frame(0).cameras[0]
    assert camera.size == (160, 90)
    sample = KeyFrames(index, ViewConfig(image_size=(32, 56)), Contents(), grid=GRID).sample(0)
    assert sample.images.shape == (6, 3, 32, 56)
    scale = torch.diag(torch.tensor((56 / 90, 32 / 160, 1.0), dtype=torch.float64))
    torch.testing.assert_close(sample.cameras.intrinsics[0], (scale @ camera.intrinsics).float())

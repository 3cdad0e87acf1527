import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from occfeat.data.check.check import check
from occfeat.data.index.index import Index
from occfeat.errors import DatasetError, SettingsError
from occfeat.settings.sections import DataConfig
from tests.support.nuscenes_folder import CHANNELS, build_nuscenes_folder, edit_table, read_records

Record = dict[str, Any]


def by_token(root: Path, name: str) -> dict[str, Record]:
    return {record["token"]: record for record in read_records(root, name)}


def matrix(record: Record) -> np.ndarray:
    """Transform of a record's rotation and translation, written out once more and differently."""
    w, *axis = np.array(record["rotation"]) / np.linalg.norm(record["rotation"])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    result = np.eye(4)
    result[:3, :3] += 2 * w * cross + 2 * cross @ cross
    result[:3, 3] = record["translation"]
    return result


def files_of(root: Path, sample: str, channel: str) -> list[Record]:
    """Records of one sensor for a key frame, with their transforms, in plain Python."""
    sensors, calibrated = by_token(root, "sensor"), by_token(root, "calibrated_sensor")
    poses = by_token(root, "ego_pose")
    found = []
    for record in read_records(root, "sample_data"):
        calibration = calibrated[record["calibrated_sensor_token"]]
        if record["sample_token"] == sample and sensors[calibration["sensor_token"]]["channel"] == channel:
            transforms = {"ego": matrix(poses[record["ego_pose_token"]]), "sensor": matrix(calibration)}
            found.append({**record, **transforms, "intrinsics": calibration["camera_intrinsic"]})
    return sorted(found, key=lambda record: -record["timestamp"])


def test_key_frame__equals_a_plain_join(folder: Path, index: Index) -> None:
    samples = sorted(read_records(folder, "sample"), key=lambda sample: sample["timestamp"])
    assert [index.token(row) for row in index.rows("all")] == [sample["token"] for sample in samples]
    for row in (0, 4):
        key_frame = index.key_frame(row)
        lidar = files_of(folder, samples[row]["token"], "LIDAR_TOP")[0]
        np.testing.assert_allclose(key_frame.global_from_ego, lidar["ego"], atol=1e-9)
        assert key_frame.timestamp_us == samples[row]["timestamp"]
        assert [camera.channel for camera in key_frame.cameras] == list(CHANNELS)
        for camera in key_frame.cameras:
            (image,) = files_of(folder, samples[row]["token"], camera.channel)
            assert (camera.token, camera.path) == (image["token"], image["filename"])
            assert camera.size == (image["height"], image["width"])
            np.testing.assert_array_equal(camera.intrinsics, image["intrinsics"])
            np.testing.assert_allclose(camera.camera_ego_from_camera, image["sensor"], atol=1e-12)
            moved = np.linalg.inv(lidar["ego"]) @ image["ego"] @ image["sensor"]
            np.testing.assert_allclose(camera.lidar_ego_from_camera, moved, atol=1e-9)


def test_key_frame__ego_motion_counts(index: Index) -> None:
    """The first camera fires 40 ms before the LiDAR, at 10 m/s: it stood 0.4 m farther back."""
    front = index.key_frame(0).cameras[0]
    moved = front.lidar_ego_from_camera - front.camera_ego_from_camera
    assert moved[0, 3].item() == pytest.approx(-0.4, abs=0.01)


def test_key_frame__boxes_equal_a_plain_join(folder: Path, index: Index) -> None:
    categories, instances = by_token(folder, "category"), by_token(folder, "instance")
    key_frame = index.key_frame(2)
    expected = [
        one for one in read_records(folder, "sample_annotation") if one["sample_token"] == key_frame.token
    ]
    ego_from_global = np.linalg.inv(key_frame.global_from_ego.numpy())
    boxes = key_frame.boxes
    assert list(boxes.tokens) == [one["token"] for one in expected]
    for i, one in enumerate(expected):
        ego_from_box = ego_from_global @ matrix(one)
        width, length, height = one["size"]
        category = categories[instances[one["instance_token"]]["category_token"]]["name"]
        assert boxes.category[i] == category
        assert boxes.size_m[i].tolist() == [length, width, height]
        assert boxes.visibility[i] == int(one["visibility_token"])
        assert boxes.lidar_points[i] == one["num_lidar_pts"]
        np.testing.assert_allclose(boxes.center_ego[i], ego_from_box[:3, 3], atol=1e-9)
        np.testing.assert_allclose(boxes.ego_from_box[i], ego_from_box[:3, :3], atol=1e-12)


def test_key_frame__sweeps(folder: Path, index: Index) -> None:
    key_frame = index.key_frame(1, sweeps=4)
    assert [sweep.timestamp_us - key_frame.timestamp_us for sweep in key_frame.sweeps] == [
        0,
        -50_000,
        -100_000,
        -500_000,
    ]
    records = files_of(folder, index.token(1), "LIDAR_TOP")
    for sweep, record in zip(key_frame.sweeps, records, strict=False):
        assert sweep.token == record["token"]
        expected = np.linalg.inv(records[0]["ego"]) @ record["ego"] @ record["sensor"]
        np.testing.assert_allclose(sweep.ego_from_lidar, expected, atol=1e-9)


def test_key_frame__sweeps_end_with_the_scene(index: Index) -> None:
    assert len(index.key_frame(1).sweeps) == 1
    assert len(index.key_frame(1, sweeps=100).sweeps) == 6
    assert len(index.key_frame(3, sweeps=100).sweeps) == 3  # the first of the second scene


def test_key_frame__without_lidar_takes_the_nearest_camera(tmp_path: Path) -> None:
    root = build_nuscenes_folder(tmp_path, lidars={})
    index = Index.open(DataConfig(root=root))
    key_frame = index.key_frame(0)
    assert key_frame.sweeps == ()
    assert not index.has_lidar_file(0)
    nearest = files_of(root, key_frame.token, "CAM_FRONT_LEFT")[0]  # 5 ms before, all others earlier
    np.testing.assert_allclose(key_frame.global_from_ego, nearest["ego"], atol=1e-12)
    last = key_frame.cameras[-1]
    torch.testing.assert_close(last.lidar_ego_from_camera, last.camera_ego_from_camera)


def test_key_frame__missing_camera(folder: Path) -> None:
    def drop(records: list[Record]) -> None:
        records.remove(next(record for record in records if "CAM_BACK_LEFT" in record["filename"]))

    edit_table(folder, "sample_data", drop)
    index = Index.open(DataConfig(root=folder))
    assert [camera.channel for camera in index.key_frame(0).cameras] == [
        channel for channel in CHANNELS if channel != "CAM_BACK_LEFT"
    ]
    assert index.channels == CHANNELS


def test_key_frame__records_in_any_order(folder: Path, index: Index) -> None:
    rng = np.random.default_rng(0)
    before = index.key_frame(4, sweeps=3)
    for name in ("sample", "sample_data", "ego_pose", "calibrated_sensor", "instance"):
        edit_table(folder, name, rng.shuffle)
    after = Index.open(DataConfig(root=folder)).key_frame(4, sweeps=3)
    assert before.token == after.token
    assert [one.token for one in before.sweeps] == [one.token for one in after.sweeps]
    assert [one.token for one in before.cameras] == [one.token for one in after.cameras]
    assert before.boxes.tokens == after.boxes.tokens


def test_rows(index: Index) -> None:
    assert index.splits() == ("train", "val", "mini_train", "mini_val")
    assert index.rows("mini_train").tolist() == [0, 1, 2]
    assert index.rows("val").tolist() == [3, 4, 5]
    assert index.rows("all").tolist() == list(range(6)) == list(range(len(index)))
    assert index.scene_of(index.rows("all")).tolist() == ["scene-0061"] * 3 + ["scene-0103"] * 3
    assert index.row_of(index.token(4)) == 4
    assert index.has_lidar_file(0)


def test_rows__unknown_split(index: Index) -> None:
    with pytest.raises(SettingsError, match="'test' has no key frames") as caught:
        index.rows("test")
    assert "mini_train" in caught.value.hint


def test_rows__own_splits_in_their_order(folder: Path) -> None:
    splits = {"mine": ["scene-0103", "scene-0061", "scene-9999"], "none": ["scene-9999"]}
    (folder / "splits.json").write_text(json.dumps(splits))
    index = Index.open(DataConfig(root=folder))
    assert index.splits() == ("mine",)
    assert index.rows("mine").tolist() == [3, 4, 5, 0, 1, 2]


def test_rows__scenes_without_key_frames_do_not_count(folder: Path) -> None:
    """A table of key frames may be cut to some scenes while that of scenes is whole."""
    scene = next(one["token"] for one in read_records(folder, "scene") if one["name"] == "scene-0103")

    def keep_one_scene(samples: list[Record]) -> None:
        samples[:] = [sample for sample in samples if sample["scene_token"] == scene]

    edit_table(folder, "sample", keep_one_scene)
    (folder / "splits.json").write_text(json.dumps({"a": ["scene-0061"], "b": ["scene-0061", "scene-0103"]}))
    index = Index.open(DataConfig(root=folder))
    assert index.splits() == ("b",)
    assert index.rows("b").tolist() == index.rows("all").tolist() == [0, 1, 2]
    with pytest.raises(SettingsError, match="'a' has no key frames"):
        index.rows("a")
    with pytest.raises(SettingsError, match="'a' has no key frames"):
        check(DataConfig(root=folder), "a")


def test_row_of__unknown(index: Index) -> None:
    with pytest.raises(DatasetError, match="no key frame 'nonsense'"):
        index.row_of("nonsense")


def test_pickle(index: Index) -> None:
    again = pickle.loads(pickle.dumps(index))
    assert (again.file, len(again), again.fingerprint) == (index.file, len(index), index.fingerprint)
    assert len(pickle.dumps(index)) < 1000


def test_pickle__replaced_meanwhile(folder: Path, index: Index) -> None:
    pickled = pickle.dumps(index)
    edit_table(folder, "sample_annotation", lambda records: records.pop())
    Index.open(DataConfig(root=folder))
    with pytest.raises(DatasetError, match="rebuilt while"):
        pickle.loads(pickled)


@pytest.mark.data
def test_real_key_frames(nuscenes_root: Path) -> None:
    index = Index.open(DataConfig(root=nuscenes_root))
    key_frame = index.key_frame(index.row_of("ca9a282c9e77460f8360f564131a8af5"))
    assert index.channels == CHANNELS
    assert (key_frame.scene, len(key_frame.boxes), len(key_frame.sweeps)) == ("scene-0061", 68, 1)
    assert [len(index.key_frame(int(row)).boxes) for row in index.rows("mini_val")] == [30, 44]

"""What is found in a bag: what belongs together, and every fault by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.inspect import inspect_bag
from occfeat.data.recordings.bags.summary import BagSummary
from tests.support.nuscenes_folder import build_nuscenes_folder
from tests.support.recordings.bag_writer import FORMS, BagFile, Form, write_scene_as_bag
from tests.support.recordings.content import POINT, jpeg, points

START_US = 1_700_000_000_000_000
K = np.array([[50.0, 0, 31.5], [0, 50.0, 19.5], [0, 0, 1]])
Change = Callable[[dict[str, Any]], object]


def inspect(path: Path) -> BagSummary:
    with open_bag([path]) as bag:
        return inspect_bag(bag)


def drive(path: Path, **changes: Any) -> BagSummary:
    """Inspect a drive of two seconds with one camera, one LiDAR and odometry, changed in some ways.

    Args:
        path: The bag.
        changes: See the first lines.
    """
    settings = {
        "camera_until": 20,
        "lidar_ahead_us": 0,
        "zero": (),
        "swapped": False,
        "sizes": ((40, 64),),
        "info": True,
        "lidar_frame": "lidar",
        "log_ahead_us": 2000,
        "jump_m": 0.0,
        **changes,
    }
    with BagFile(path) as bag:
        mounts = [("base_link", "cam"), ("base_link", "lidar"), ("elsewhere", "radar")]
        for parent, child in mounts[: 3 if settings["lidar_frame"] == "radar" else 2]:
            moved = bag.transform(parent, child, START_US, (1, 0, 1, 1, 0, 0, 0))
            bag.write("/tf_static", "tf2_msgs/msg/TFMessage", START_US, bag.transforms(moved))
        for number in range(20):
            time_us = START_US + number * 100_000
            log_us = time_us + settings["log_ahead_us"]
            _write_moment(bag, number, time_us, log_us, settings)
    return inspect(path)


def _write_moment(bag: BagFile, number: int, time_us: int, log_us: int, settings: dict[str, Any]) -> None:
    stamp_us = 0 if number in settings["zero"] else time_us
    if settings["swapped"] and number in (5, 6):
        stamp_us = time_us + (100_000 if number == 5 else -100_000)
    pose = (number * 1.0 + (settings["jump_m"] if number > 10 else 0), 0, 0, 1, 0, 0, 0)
    bag.write("/odom", "nav_msgs/msg/Odometry", log_us, bag.odometry(time_us, pose))
    if number < settings["camera_until"]:
        size = settings["sizes"][number % len(settings["sizes"])]
        image = bag.compressed(stamp_us, "cam", jpeg(size))
        bag.write("/cam/image_raw/compressed", "sensor_msgs/msg/CompressedImage", log_us, image)
    if settings["info"]:
        info = bag.camera_info(time_us, "cam", (40, 64), K, d=[0.1, 0, 0, 0, 0])
        bag.write("/cam/camera_info", "sensor_msgs/msg/CameraInfo", log_us, info)
    cloud = bag.cloud(time_us + settings["lidar_ahead_us"], settings["lidar_frame"], points(50, POINT))
    bag.write("/lidar/points", "sensor_msgs/msg/PointCloud2", log_us, cloud)


@pytest.mark.parametrize("form", FORMS)
def test_folder_as_bag__is_understood(tmp_path: Path, form: Form) -> None:
    folder = build_nuscenes_folder(tmp_path / "set", returns=100, sweeps=0)
    found = inspect(write_scene_as_bag(folder, tmp_path / "bag", form, sweep_s=0.1))
    assert found.faults == ()
    assert len(found.cameras) == 6
    for camera in found.cameras:
        name = camera.topic.split("/")[1]
        assert camera.info_topic == f"/{name}/camera_info"
        assert camera.model is not None
        assert (camera.model.size, camera.sizes) == ((90, 160), ((90, 160),))
        assert camera.is_rectified
    (lidar,) = found.lidars
    assert (lidar.topic, lidar.points > 400, lidar.has_times) == ("/lidar_top/points", True, True)
    assert lidar.sweep_s == pytest.approx(0.1)
    assert found.ego_frame == "base_link"
    (source,) = found.pose_sources
    assert (source.topic, source.poses.global_frame, source.poses.moving_frame) == ("", "map", "base_link")
    assert len(source.poses.trajectory) == len(np.unique(source.poses.trajectory.times_us))


def test_ordinary_drive__has_no_faults(tmp_path: Path) -> None:
    found = drive(tmp_path / "bag")
    assert found.faults == ()
    (camera,) = found.cameras
    assert camera.model is not None
    assert camera.model.lens.model == "brown_conrady"
    assert not camera.is_rectified
    stamps = found.topics["/lidar/points"].stamps
    assert stamps is not None
    assert (stamps.count, stamps.rate_hz) == (20, pytest.approx(10))
    assert found.topics["/lidar/points"].frames == ("lidar",)
    assert [(one.topic, one.poses.moving_frame) for one in found.pose_sources] == [("/odom", "base_link")]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"camera_until": 10}, "/cam/image_raw/compressed stops 1.0 s before most topics."),
        ({"zero": (3, 4)}, "/cam/image_raw/compressed: 2 messages have a stamp of 0 and are left out."),
        ({"swapped": True}, "/cam/image_raw/compressed: 1 messages are out of order by their stamps."),
        ({"sizes": ((40, 64), (20, 32))}, "the size of its images changes: 64 x 40, 32 x 20."),
        ({"sizes": ((20, 32),)}, "images have 32 x 20 pixels, but /cam/camera_info says 64 x 40."),
        ({"info": False}, "/cam/image_raw/compressed has no CameraInfo."),
        ({"lidar_ahead_us": 37_000_000}, "/lidar/points: its clock is 37.000 s ahead of that of most topics"),
        ({"log_ahead_us": 5_000_000}, "Stamps are 5.000 s behind the log times; only stamps are used."),
        ({"lidar_frame": "radar"}, "/lidar/points: its frame 'radar' is not connected to base_link."),
        ({"lidar_frame": "radar"}, "The frames are 2 trees that are not connected: base_link, cam, lidar;"),
        ({"jump_m": 500.0}, f"/odom: the poses jump 1 times, first at {START_US + 1_100_000} us."),
        ({"zero": (3, 4)}, "1 gaps at 10.0 Hz; the longest is 0.300 s."),
    ],
)
def test_fault__is_named(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    faults = drive(tmp_path / "bag", **changes).faults
    assert any(sentence in fault for fault in faults), faults


def test_topic_that_stops_just_before_the_others__is_not_worth_a_word(tmp_path: Path) -> None:
    assert drive(tmp_path / "bag", camera_until=17).faults == ()


def test_bag_without_poses__is_named(tmp_path: Path) -> None:
    folder = build_nuscenes_folder(tmp_path / "set", returns=50, sweeps=0)
    found = inspect(write_scene_as_bag(folder, tmp_path / "bag", poses="none"))
    assert found.pose_sources == ()
    assert any("There are no poses" in fault for fault in found.faults)


def test_depth_images__are_not_cameras(tmp_path: Path) -> None:
    with BagFile(tmp_path / "bag") as bag:
        image = bag.image(START_US, "cam", (2, 2), "16UC1", bytes(8), 4)
        bag.write("/cam/depth", "sensor_msgs/msg/Image", START_US, image)
    found = inspect(tmp_path / "bag")
    assert found.cameras == ()
    assert found.topics["/cam/depth"].count == 1


def test_images_that_cannot_be_read__are_named(tmp_path: Path) -> None:
    with BagFile(tmp_path / "bag") as bag:
        image = bag.image(START_US, "cam", (2, 2), "nv12", bytes(6), 2)
        bag.write("/cam/image_raw", "sensor_msgs/msg/Image", START_US, image)
    found = inspect(tmp_path / "bag")
    assert found.cameras == ()
    assert "/cam/image_raw is not a camera: Images of encoding 'nv12' are not read." in found.faults


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, "its clouds have no points; 50 of each have no position."),
        (20_000.0, "half of the points are farther than 34,641 m; points are read in metres."),
    ],
)
def test_clouds_that_hold_no_scene__are_named(tmp_path: Path, value: float, said: str) -> None:
    cloud = points(50, POINT)
    for axis in "xyz":
        cloud[axis] = value
    with BagFile(tmp_path / "bag") as bag:
        message = bag.cloud(START_US, "lidar", cloud)
        bag.write("/lidar/points", "sensor_msgs/msg/PointCloud2", START_US, message)
    assert f"/lidar/points: {said}" in inspect(tmp_path / "bag").faults


def test_stamps_that_repeat_and_poses_of_another_time__are_named(tmp_path: Path) -> None:
    with BagFile(tmp_path / "bag") as bag:
        for number in range(4):
            time_us = START_US + 100_000 * number
            pose = bag.transform("map", "base_link", time_us, (number, 0, 0, 1, 0, 0, 0))
            bag.write("/tf", "tf2_msgs/msg/TFMessage", time_us, bag.transforms(pose))
            cloud = bag.cloud(START_US - 9_000_000, "lidar", points(50, POINT))
            bag.write("/lidar/points", "sensor_msgs/msg/PointCloud2", time_us, cloud)
    faults = inspect(tmp_path / "bag").faults
    assert "/lidar/points: 3 messages repeat the stamp of another one and are left out." in faults
    assert (
        "/lidar/points: its stamps, 1699999991.000 to 1699999991.000 s, are outside of the poses of "
        "map <- base_link, 1700000000.000 to 1700000000.300 s."
    ) in faults

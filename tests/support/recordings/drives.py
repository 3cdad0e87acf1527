"""Bags of a small drive: two cameras and a LiDAR on a car, with anything wrong that a test asks for."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tests.support.recordings.bag_writer import BagFile, Form
from tests.support.recordings.content import POINT, jpeg, points

START_US = 1_700_000_000_000_000
SIZE = (36, 64)
K = np.array([[40.0, 0, 31.5], [0, 40, 17.5], [0, 0, 1]])
FRONT = (1.7, 0.0, 1.5, 0.5, -0.5, 0.5, -0.5)
"""Optical frame of a camera that looks forward."""
BACK = (-0.5, 0.0, 1.5, 0.5, -0.5, -0.5, 0.5)
LIDAR = (0.9, 0.0, 1.8, 1.0, 0.0, 0.0, 0.0)
MOUNTINGS: Mapping[str, tuple[float, ...]] = {"front": FRONT, "back": BACK, "lidar": LIDAR}
KINDS = {"image": "sensor_msgs/msg/CompressedImage", "cloud": "sensor_msgs/msg/PointCloud2"}


def on_time(sensor: str, number: int, time_us: int) -> tuple[int, int] | None:
    """Every message arrives 5 ms after its stamp."""
    return time_us, time_us + 5000


def write_drive(
    path: Path,
    form: Form = "mcap",
    *,
    seconds: float = 3.0,
    poses: str = "tf",
    infos: bool = True,
    mountings: Mapping[str, tuple[float, ...]] = MOUNTINGS,
    when: Callable[[str, int, int], tuple[int, int] | None] = on_time,
    size_of: Callable[[int], tuple[int, int]] = lambda number: SIZE,
    near_points: int = 0,
    units_per_m: float = 1.0,
) -> Path:
    """Write a drive at 10 m/s along x: images and clouds at 10 Hz, poses at 50 Hz.

    Args:
        path: The bag, without an ending.
        form: Kind of bag.
        seconds: Length.
        poses: `tf`, `odometry` or `none`.
        infos: Whether there is a CameraInfo per camera.
        mountings: x y z qw qx qy qz of the sensors in the frame of the car.
        when: Stamp and log time of each message of a sensor, by sensor, number and true time.
        size_of: Size of the images of the front camera, by number.
        near_points: Points of the car itself in every cloud.
        units_per_m: Unit of the coordinates of points.
    """
    with BagFile(path, form) as bag:
        static = [
            bag.transform("base_link", name, START_US, mounting) for name, mounting in mountings.items()
        ]
        bag.write("/tf_static", "tf2_msgs/msg/TFMessage", START_US, bag.transforms(*static))
        for number in range(round(seconds * 50) + 1):
            _write_pose(bag, START_US + 20_000 * number, poses)
        for number in range(round(seconds * 10)):
            for sensor in ("front", "back", "lidar"):
                times = when(sensor, number, START_US + 100_000 * number)
                if times is not None:
                    size = size_of(number) if sensor == "front" else SIZE
                    _write_sensor(bag, sensor, number, times, size, infos, near_points, units_per_m)
    return bag.path


def _write_pose(bag: BagFile, time_us: int, poses: str) -> None:
    pose = (10 * (time_us - START_US) / 1e6, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    if poses == "tf":
        transform = bag.transform("map", "base_link", time_us, pose)
        bag.write("/tf", "tf2_msgs/msg/TFMessage", time_us, bag.transforms(transform))
    elif poses == "odometry":
        bag.write("/odom", "nav_msgs/msg/Odometry", time_us, bag.odometry(time_us, pose))


def _write_sensor(
    bag: BagFile,
    sensor: str,
    number: int,
    times: tuple[int, int],
    size: tuple[int, int],
    infos: bool,
    near_points: int,
    units_per_m: float,
) -> None:
    stamp_us, log_us = times
    if sensor == "lidar":
        cloud = points(200, POINT, number)
        cloud["z"] = 0.0
        cloud[:near_points] = (1.0, 0.1, -0.5, 1.0)
        for axis in "xyz":
            cloud[axis] *= units_per_m
        bag.write("/lidar/points", KINDS["cloud"], log_us, bag.cloud(stamp_us, sensor, cloud))
        return
    if infos:
        info = bag.camera_info(stamp_us, sensor, SIZE, K)
        bag.write(f"/{sensor}/camera_info", "sensor_msgs/msg/CameraInfo", log_us, info)
    other = 1000 * (sensor == "back")  # no two cameras see the same
    image = bag.compressed(stamp_us, sensor, jpeg(size, number + other))
    bag.write(f"/{sensor}/image_raw/compressed", KINDS["image"], log_us, image)

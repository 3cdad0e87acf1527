"""A scene in nuScenes format as a drive of KITTI raw: what an import must turn back into the same drive.

The front camera is written as both colour cameras, half a metre apart. Poses are written for every time of a
sensor, so that nothing is lost by interpolation.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from occfeat.data.formats.points.floats import read_floats
from occfeat.data.index.index import Index
from occfeat.data.keyframe import KeyFrame
from occfeat.settings.sections import DataConfig
from tests.support.nuscenes_folder import read_records

DAY, DRIVE = "2011_09_26", "2011_09_26_drive_0001_sync"
BASELINE_M = 0.5
EARTH_M, LATITUDE, LONGITUDE = 6_378_137.0, 49.0, 8.4
IMU_HEIGHT_M = 0.93
NAMES = {"vehicle.car": "Car", "vehicle.truck": "Truck", "human.pedestrian.adult": "Pedestrian"}


def write_kitti(source: Path, out: Path, scene: str) -> Path:
    """Write one scene and return the folder of the drive.

    Args:
        source: Folder in nuScenes format.
        out: Folder of the data set.
        scene: Name of the scene.
    """
    index = Index.open(DataConfig(root=source))
    rows = np.flatnonzero(index.scene_of(np.arange(len(index))) == scene)
    key_frames = [index.key_frame(row) for row in rows]
    records = read_records(index.root, "sample_data", index.version)
    time_us = {record["filename"]: record["timestamp"] for record in records}
    drive = out / DAY / DRIVE
    _write_calibration(out / DAY, key_frames[0])
    poses = {}
    for number, key_frame in enumerate(key_frames):
        sweep, camera = key_frame.sweeps[0], key_frame.cameras[0]
        poses[sweep.timestamp_us] = key_frame.global_from_ego.numpy()
        moved = camera.lidar_ego_from_camera @ camera.camera_ego_from_camera.inverse()
        poses[time_us[camera.path]] = (key_frame.global_from_ego @ moved).numpy()
        points = read_floats(index.root / sweep.path).points[:, :4] / np.float32((1, 1, 1, 255))
        _write(drive / f"velodyne_points/data/{number:010}.bin", points.astype("<f4").tobytes())
        for name in ("image_02", "image_03"):
            path = drive / name / "data" / f"{number:010}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.open(index.root / camera.path).save(path)
    _write_times(drive / "velodyne_points", [key_frame.sweeps[0].timestamp_us for key_frame in key_frames])
    for name in ("image_02", "image_03"):
        _write_times(drive / name, [time_us[key_frame.cameras[0].path] for key_frame in key_frames])
    _write_poses(drive / "oxts", dict(sorted(poses.items())))
    _write_tracklets(drive / "tracklet_labels.xml", index, key_frames)
    return drive


def _write(path: Path, content: bytes | str) -> None:
    """Write a file into a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _write_times(folder: Path, times_us: list[int]) -> None:
    """Write the times of a sensor."""
    lines = [f"{np.datetime64(time_us, 'us')}000".replace("T", " ") for time_us in times_us]
    _write(folder / "timestamps.txt", "\n".join(lines) + "\n")


def _words(numbers: np.ndarray) -> str:
    """Return numbers as text, exactly."""
    return " ".join(repr(float(number)) for number in numbers.ravel())


def _write_calibration(folder: Path, first: KeyFrame) -> None:
    """Write the calibration, with a rectification that is not the identity."""
    camera, ego_from_imu = first.cameras[0], np.eye(4)
    ego_from_imu[2, 3] = IMU_HEIGHT_M
    ego_from_lidar = first.sweeps[0].ego_from_lidar.numpy()
    turned = np.eye(4)
    turned[:3, :3] = _about_z(0.02)
    rectified_from_lidar = np.linalg.inv(camera.camera_ego_from_camera.numpy()) @ ego_from_lidar
    cam0_from_lidar, lidar_from_imu = (
        turned.T @ rectified_from_lidar,
        np.linalg.inv(ego_from_lidar) @ ego_from_imu,
    )
    for name, transform in (("velo_to_cam", cam0_from_lidar), ("imu_to_velo", lidar_from_imu)):
        lines = f"R: {_words(transform[:3, :3])}\nT: {_words(transform[:3, 3])}\n"
        _write(folder / f"calib_{name}.txt", f"calib_time: 15-Mar-2012 11:37:16\n{lines}")
    lines = [f"R_rect_00: {_words(turned[:3, :3])}"]
    for name, shift_m in (("02", 0.0), ("03", -BASELINE_M)):
        projection = camera.intrinsics.numpy() @ np.column_stack((np.eye(3), [shift_m, 0, 0]))
        lines.append(f"P_rect_{name}: {_words(projection)}")
    _write(folder / "calib_cam_to_cam.txt", "calib_time: 09-Jan-2012 13:57:47\n" + "\n".join(lines) + "\n")


def _write_poses(folder: Path, poses: dict[int, np.ndarray]) -> None:
    """Write positions as latitude and longitude, by the devkit's Mercator projection."""
    first = next(iter(poses.values()))
    scale = EARTH_M * math.cos(math.radians(LATITUDE))
    for number, pose in enumerate(poses.values()):
        imu = pose @ np.array([0, 0, IMU_HEIGHT_M, 1]) - first @ np.array([0, 0, IMU_HEIGHT_M, 1])
        north = imu[1] / scale + math.log(math.tan(math.radians(90 + LATITUDE) / 2))
        latitude = math.degrees(2 * math.atan(math.exp(north))) - 90
        turn = pose[:3, :3]
        roll, yaw = math.atan2(turn[2, 1], turn[2, 2]), math.atan2(turn[1, 0], turn[0, 0])
        place = [
            latitude,
            LONGITUDE + math.degrees(imu[0] / scale),
            imu[2],
            roll,
            math.asin(-turn[2, 0]),
            yaw,
        ]
        _write(folder / "data" / f"{number:010}.txt", _words(np.array([*place, *([0.0] * 24)])) + "\n")
    _write_times(folder, list(poses))


def _write_tracklets(path: Path, index: Index, key_frames: list[KeyFrame]) -> None:
    """Write the boxes that have a name in KITTI, one tracklet per box."""
    items = []
    for number, key_frame in enumerate(key_frames):
        boxes, ego_from_lidar = key_frame.boxes, key_frame.sweeps[0].ego_from_lidar.numpy()
        for i, category in enumerate(boxes.category):
            if category in NAMES:
                center = np.linalg.inv(ego_from_lidar) @ [*boxes.center_ego[i].tolist(), 1]
                ahead = ego_from_lidar[:3, :3].T @ boxes.ego_from_box[i, :, 0].numpy()
                length, width, height = boxes.size_m[i].tolist()
                pose = dict(zip(("tx", "ty", "tz"), (*center[:2], center[2] - height / 2), strict=True))
                pose |= {"rx": 0.0, "ry": 0.0, "rz": math.atan2(ahead[1], ahead[0])}
                inner = "".join(f"<{name}>{float(value)!r}</{name}>" for name, value in pose.items())
                items.append(
                    f"<item><objectType>{NAMES[category]}</objectType><h>{height!r}</h><w>{width!r}</w>"
                    f"<l>{length!r}</l><first_frame>{number}</first_frame>"
                    f"<poses><count>1</count><item_version>2</item_version><item>{inner}</item></poses></item>"
                )
    text = f"<tracklets><count>{len(items)}</count><item_version>1</item_version>{''.join(items)}</tracklets>"
    _write(
        path, f'<?xml version="1.0" encoding="UTF-8"?>\n<boost_serialization>{text}</boost_serialization>\n'
    )


def _about_z(angle: float) -> np.ndarray:
    """Return a rotation about z."""
    return np.array(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )

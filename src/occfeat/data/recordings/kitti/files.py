"""The files of a drive: times, poses, calibration."""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from occfeat.data.formats.nuscenes.writer.values import CalibratedCamera, CalibratedRig, require_rigid
from occfeat.data.recordings.bags.trajectory import Trajectory, build_trajectory
from occfeat.errors import DatasetError
from occfeat.geometry.motion import quaternions

CAMERAS = {"CAM_LEFT": "image_02", "CAM_RIGHT": "image_03"}
"""Folder of each colour camera."""
LIDAR = "LIDAR_TOP"
IMU_HEIGHT_M = 0.93
"""Height of the IMU above the ground, from the paper."""
EARTH_M = 6_378_137.0
"""Radius of the earth in the devkit's Mercator projection."""


def read_times(folder: Path, ending: str) -> dict[int, tuple[Path, int]]:
    """Return file and time in microseconds of each frame of a sensor that has both, by number.

    Raises:
        DatasetError: The file of times is missing or damaged, or there is no frame.
    """
    lines = _read_text(folder / "timestamps.txt").splitlines()
    found = {}
    for path in sorted((folder / "data").glob(f"*{ending}")):
        number = int(path.stem) if re.fullmatch(r"\d{1,10}", path.stem) else len(lines)
        if number < len(lines) and lines[number].strip():
            found[number] = path, _time_us(lines[number], folder)
    if not found:
        raise DatasetError(f"{folder} has no {ending} file with a time.", hint="Extract the drive again.")
    return found


def read_poses(folder: Path) -> Trajectory:
    """Return the poses of the ego frame in a global frame that begins at the first of them.

    Raises:
        DatasetError: A file is missing or damaged.
    """
    times = read_times(folder, ".txt")
    rows = np.stack([_numbers(_read_text(path), 6, path) for path, _ in times.values()])
    latitude, longitude, altitude_m, roll, pitch, yaw = rows.T
    if not (np.abs(rows) < (90, 361, 1e5, 7, 7, 7)).all():
        raise DatasetError(f"{folder} has impossible positions or angles.", hint="Extract the drive again.")
    scale = np.cos(np.radians(latitude[0])) * EARTH_M
    north = scale * np.log(np.tan(np.radians(90 + latitude) / 2))
    global_from_imu = np.zeros((len(rows), 4, 4))
    global_from_imu[:, :3, :3] = _about(yaw, 0, 1) @ _about(pitch, 2, 0) @ _about(roll, 1, 2)
    global_from_imu[:, :3, 3] = np.stack((scale * np.radians(longitude), north, altitude_m), axis=1)
    global_from_imu[:, 3, 3] = 1
    global_from_ego = global_from_imu @ np.linalg.inv(_ego_from_imu())
    positions_m = global_from_ego[:, :3, 3] - global_from_ego[0, :3, 3]
    times_us = np.array([time_us for _, time_us in times.values()])
    return build_trajectory(times_us, positions_m, quaternions(global_from_ego[:, :3, :3]))


def read_rig(folder: Path) -> CalibratedRig:
    """Return the rig of a day.

    Images are rectified. So cameras are pinholes, and their poses hold the rectification.

    Raises:
        DatasetError: A file is missing or damaged.
    """
    cameras = _calibration(folder / "calib_cam_to_cam.txt")
    cam0_from_velodyne = _rigid(_calibration(folder / "calib_velo_to_cam.txt"))
    velodyne_from_imu = _rigid(_calibration(folder / "calib_imu_to_velo.txt"))
    ego_from_velodyne = _ego_from_imu() @ np.linalg.inv(velodyne_from_imu)
    rectified_from_cam0 = np.eye(4)
    rectified_from_cam0[:3, :3] = _field(cameras, "R_rect_00", 9).reshape(3, 3)
    require_rigid(f"{folder / 'calib_cam_to_cam.txt'}: R_rect_00", rectified_from_cam0)
    ego_from_rectified = ego_from_velodyne @ np.linalg.inv(rectified_from_cam0 @ cam0_from_velodyne)
    rig = []
    for channel, name in CAMERAS.items():
        projection = _field(cameras, f"P_rect_{name[-2:]}", 12).reshape(3, 4)
        intrinsics, rectified_from_camera = projection[:, :3], np.eye(4)
        if not np.linalg.matrix_rank(intrinsics) == 3:
            raise DatasetError(f"{folder}: P_rect_{name[-2:]} of {channel} is singular.")
        rectified_from_camera[:3, 3] = -np.linalg.solve(intrinsics, projection[:, 3])
        rig.append(CalibratedCamera(channel, ego_from_rectified @ rectified_from_camera, intrinsics))
    return CalibratedRig(folder.resolve().name, rig, {LIDAR: ego_from_velodyne})


def _ego_from_imu() -> Float64[ndarray, "4 4"]:
    """Return the transform of the IMU to the ground below it."""
    ego_from_imu = np.eye(4)
    ego_from_imu[2, 3] = IMU_HEIGHT_M
    return ego_from_imu


def _about(angle: Float64[ndarray, " n"], first: int, second: int) -> Float64[ndarray, "n 3 3"]:
    """Return rotations from one axis towards another."""
    turned = np.broadcast_to(np.eye(3), (len(angle), 3, 3)).copy()
    turned[:, first, first] = turned[:, second, second] = np.cos(angle)
    turned[:, second, first], turned[:, first, second] = np.sin(angle), -np.sin(angle)
    return turned


def _calibration(path: Path) -> dict[str, str]:
    """Return the fields of a calibration file."""
    lines = (line.partition(":") for line in _read_text(path).splitlines())
    return {name.strip(): value for name, _, value in lines} | {"": str(path)}


def _field(fields: dict[str, str], name: str, count: int) -> Float64[ndarray, " n"]:
    """Return the numbers of a field."""
    if name not in fields:
        raise DatasetError(f"{fields['']} has no field {name}.", hint="Extract the calibration again.")
    return _numbers(fields[name], count, Path(fields[""]))


def _rigid(fields: dict[str, str]) -> Float64[ndarray, "4 4"]:
    """Return the transform of a file with the fields R and T."""
    transform = np.eye(4)
    transform[:3, :3] = _field(fields, "R", 9).reshape(3, 3)
    transform[:3, 3] = _field(fields, "T", 3)
    require_rigid(fields[""], transform)
    return transform


def _numbers(text: str, count: int, path: Path) -> Float64[ndarray, " n"]:
    """Return the first numbers of a text."""
    try:
        numbers = np.array(text.split(), dtype=np.float64)
    except ValueError as error:
        raise DatasetError(f"{path} is damaged: {error}.", hint="Extract it again.") from error
    if len(numbers) < count or not np.isfinite(numbers).all():
        what = f"{path}: expected {count} finite numbers, got {text.strip()[:60]!r}."
        raise DatasetError(what, hint="Extract it again.")
    return numbers[:count]


def _time_us(line: str, folder: Path) -> int:
    """Return a time such as `2011-09-26 13:02:25.964389445`, taken as UTC, in microseconds since 1970."""
    try:
        return int(np.datetime64(line.strip(), "us").astype(np.int64))
    except ValueError as error:
        raise DatasetError(f"{folder / 'timestamps.txt'} is damaged: {error}.") from error


def _read_text(path: Path) -> str:
    """Return the content of a file."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read: {error}.", hint="Extract the drive again.") from error

"""A street of round posts, seen exactly by LiDAR and cameras, with errors of calibration put in on demand.

The LiDAR and the cameras share their place, so both see the same edges of depth.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import torch
from jaxtyping import Float

from occfeat.data.formats.nuscenes.writer.folder import NuScenesWriter
from occfeat.data.formats.nuscenes.writer.values import (
    CalibratedCamera,
    CalibratedRig,
    CameraImage,
    EgoPose,
    LidarSweep,
    RecordingLog,
)
from occfeat.geometry.distortion import undistort
from occfeat.geometry.lens import PINHOLE, Lens

SIZE = (150, 200)
HEIGHT_M, WALL_M, SEEN_M = 1.7, 60.0, 45.0
BEAMS, AZIMUTHS = 32, 720
START_US, DELAY_US = 1_700_000_000_000_000, 20_000
FISHEYE = Lens("kannala_brandt", (-0.01, 0.0, 0.0, -0.0008))
BARREL = Lens("brown_conrady", (-0.2, 0.05, 0.0006, -0.0004, -0.01))


@dataclass(frozen=True)
class Camera:
    """A camera of the rig and what is wrong about it."""

    yaw_deg: float = 0.0
    lens: Lens = PINHOLE
    focal_px: float = 160.0
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Error of the calibration about the axes of the camera."""
    late_s: float = 0.0
    """How much later images are taken than their time stamps say."""


@dataclass(frozen=True)
class Street:
    """How the car drives."""

    key_frames: int = 14
    speed_m_s: float = 8.0
    posts: int = 140
    rings: bool = True
    seed: int = 0

    def global_from_ego(self, time_s: float) -> Float[np.ndarray, "4 4"]:
        """Return the pose of the car, which sways from side to side."""
        x = self.speed_m_s * time_s
        yaw = 0.25 * math.sin(x / 6)
        pose = np.eye(4)
        pose[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
        pose[0, 3] = 100 + x
        return pose

    def objects(self) -> np.ndarray:
        """Return x, y, radius, lower and upper end in metres, and grey level of each post."""
        random = np.random.default_rng(self.seed)
        count = self.posts
        x, side = random.uniform(70, 190, count), random.choice((-1, 1), count)
        y, radius = side * random.uniform(4, 25, count), random.uniform(0.15, 0.9, count)
        lower = np.where(random.random(count) < 0.5, 0.0, random.uniform(0.5, 2.0, count))
        upper = lower + random.uniform(0.6, 3.0, count)
        return np.column_stack((x, y, radius, lower, upper, random.uniform(0, 90, count)))


def look(street: Street, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance along rays of the map's frame, and the grey level of what they hit."""
    flat = np.maximum(np.hypot(rays[:, 0], rays[:, 1]), 1e-9)
    along = rays[:, :2] / flat[:, None]
    rise = rays[:, 2] / flat
    far_m = np.full(len(rays), WALL_M)
    grey = np.full(len(rays), 160.0)
    ground_m = -HEIGHT_M / np.minimum(rise, -1e-9)
    on_ground = ground_m < far_m
    far_m, grey = np.where(on_ground, ground_m, far_m), np.where(on_ground, 130.0, grey)
    for x, y, radius, lower, upper, level in street.objects():
        to = np.array([x, y]) - origin[:2]
        if np.hypot(*to) > SEEN_M:
            continue
        ahead = along @ to
        near = np.flatnonzero((np.abs(along[:, 1] * to[0] - along[:, 0] * to[1]) < radius) & (ahead > 0))
        beside = along[near, 1] * to[0] - along[near, 0] * to[1]
        hit_m = ahead[near] - np.sqrt(radius**2 - beside**2)
        height_m = HEIGHT_M + rise[near] * hit_m
        hit = (hit_m > 1) & (hit_m < far_m[near]) & (height_m > lower) & (height_m < upper)
        far_m[near[hit]], grey[near[hit]] = hit_m[hit], level
    return far_m * np.hypot(1, rise), grey


def build_posts(root: Path, cameras: Mapping[str, Camera], street: Street | None = None) -> Path:
    """Write a data set of one scene."""
    street = street or Street()
    root.mkdir(parents=True, exist_ok=True)
    (root / "maps").mkdir()
    cv2.imwrite(str(root / "maps" / "empty.png"), np.zeros((8, 8), dtype=np.uint8))
    rig = CalibratedRig(
        "posts", [_calibrated(name, one) for name, one in cameras.items()], {"LIDAR_TOP": _up()}
    )
    with patch("os.fsync"), NuScenesWriter(root, "v1.0-mini") as writer:
        writer.add_scene("scene-0001", rig, split="train", log=RecordingLog("town", "maps/empty.png"))
        for number in range(street.key_frames):
            time_us = START_US + number * 500_000
            images = {}
            for name, one in cameras.items():
                stamp_us = time_us - DELAY_US
                image = _image(street, one, (stamp_us - START_US) / 1e6 + one.late_s)
                images[name] = CameraImage(image, _pose(street, stamp_us))
            sweep = LidarSweep(_sweep(street, number * 0.5))
            writer.add_key_frame(_pose(street, time_us), images, {"LIDAR_TOP": sweep})
    return root


def _up() -> np.ndarray:
    pose = np.eye(4)
    pose[2, 3] = HEIGHT_M
    return pose


def _pose(street: Street, time_us: int) -> EgoPose:
    return EgoPose(time_us, street.global_from_ego((time_us - START_US) / 1e6))


def _mounted(one: Camera) -> np.ndarray:
    """Return where a camera really is."""
    yaw = math.radians(one.yaw_deg)
    turn = np.array([[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]])
    pose = _up()
    pose[:3, :3] = turn @ [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    return pose


def _calibrated(name: str, one: Camera) -> CalibratedCamera:
    error = np.eye(4)
    error[:3, :3] = cv2.Rodrigues(np.radians(one.turn_deg))[0]
    return CalibratedCamera(name, _mounted(one) @ error, _intrinsics(one), one.lens)


def _intrinsics(one: Camera) -> np.ndarray:
    return np.array([[one.focal_px, 0, SIZE[1] / 2], [0, one.focal_px, SIZE[0] / 2], [0, 0, 1.0]])


def _image(street: Street, one: Camera, time_s: float) -> np.ndarray:
    v, u = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].reshape(2, -1) + 0.5
    x, y = ((value - half / 2) / one.focal_px for value, half in ((u, SIZE[1]), (v, SIZE[0])))
    lenses = torch.tensor(one.lens.numbers(), dtype=torch.float64)
    rays = undistort(lenses, torch.from_numpy(x), torch.from_numpy(y))[0].numpy()
    global_from_camera = street.global_from_ego(time_s) @ _mounted(one)
    _, grey = look(street, global_from_camera[:3, 3], rays @ global_from_camera[:3, :3].T)
    image = grey.reshape(SIZE)
    return np.repeat(image.astype(np.uint8)[..., None], 3, axis=2)


def _sweep(street: Street, time_s: float) -> np.ndarray:
    """Return x, y, z in the LiDAR's frame, intensity and ring."""
    ring, step = np.mgrid[0:BEAMS, 0:AZIMUTHS].reshape(2, -1)
    rise = np.radians(np.linspace(-25, 12, BEAMS))[ring]
    azimuth = 2 * np.pi * step / AZIMUTHS
    rays = np.stack((np.cos(rise) * np.cos(azimuth), np.cos(rise) * np.sin(azimuth), np.sin(rise)), axis=1)
    global_from_lidar = street.global_from_ego(time_s) @ _up()
    far_m, _ = look(street, global_from_lidar[:3, 3], rays @ global_from_lidar[:3, :3].T)
    points = rays * far_m[:, None]
    return np.column_stack((points, np.full(len(ring), 10.0), ring if street.rings else np.zeros(len(ring))))

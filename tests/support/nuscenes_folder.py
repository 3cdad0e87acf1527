"""A small data folder in nuScenes format, made on the spot, for tests that need no real data.

`build_nuscenes_folder(path)` writes tables, JPEGs and LiDAR files of a car on a curve over flat ground
among boxes. Everything is consistent: cameras and LiDAR have time stamps and ego poses of their own, returns
lie on the ground, on the boxes and on the car itself. `edit_table` changes a table, to make bad input.
"""

import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from occfeat.data.formats.nuscenes.writer.folder import NuScenesWriter
from occfeat.data.formats.nuscenes.writer.values import (
    AnnotatedBox,
    CalibratedCamera,
    CalibratedRig,
    CameraImage,
    EgoPose,
    LidarSweep,
    RecordingLog,
)

CHANNELS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_FRONT_LEFT",
)
"""Cameras, front first and then clockwise, looking 60 degrees apart."""

LIDAR_M = (0.94, 0.0, 1.84)
START_US = 1_500_000_000_000_000
THINGS = (
    ("vehicle.car", (4.6, 1.9, 1.7)),
    ("human.pedestrian.adult", (0.7, 0.7, 1.8)),
    ("vehicle.truck", (8.0, 2.5, 3.0)),
    ("movable_object.barrier", (0.5, 2.0, 1.0)),
)
"""Categories of things and their length, width and height in metres."""

Records = list[dict[str, Any]]


def build_nuscenes_folder(
    root: Path,
    *,
    scenes: Sequence[str] = ("scene-0061", "scene-0103"),
    key_frames: int = 3,
    image_size: tuple[int, int] = (90, 160),
    channels: Sequence[str] = CHANNELS,
    lidars: Mapping[str, tuple[float, float, float]] = MappingProxyType({"LIDAR_TOP": LIDAR_M}),
    sweeps: int = 2,
    boxes: int = 8,
    returns: int = 2000,
    version: str = "v1.0-mini",
    seed: int = 0,
) -> Path:
    """Write a data folder and return `root`.

    Args:
        root: Folder to write into; made if need be.
        scenes: Names of the scenes. By default one of mini_train (and train), one of mini_val (and val).
        key_frames: Per scene, half a second apart; the car drives 5 m between two.
        image_size: (height, width) in pixels.
        channels: Cameras, evenly spaced clockwise from the front.
        lidars: Name and place (x, y, z in metres, ego frame) of each LiDAR, each 10 ms after the one before.
        sweeps: LiDAR sweeps before each key frame that are not key frames.
        boxes: Annotations per key frame, categories and visibilities 1 to 4 in turn.
        returns: LiDAR returns per sweep.
        version: Name of the folder with the tables.
        seed: Of everything random.
    """
    (root / "maps").mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(root / "maps" / "empty.png")
    drive = _Drive(_rig(image_size, channels, lidars), image_size, np.random.default_rng(seed))
    log = RecordingLog("singapore-onenorth", "maps/empty.png")
    with patch("os.fsync"), NuScenesWriter(root, version) as writer:  # no need to survive a power cut
        for number, name in enumerate(scenes):
            writer.add_scene(name, drive.rig, split=None, log=log)
            start_us = START_US + number * 100_000_000
            _write_key_frames(writer, drive, start_us, key_frames, sweeps, _things(boxes), returns)
    return root


def edit_table(
    root: Path, name: str, change: Callable[[Records], object], version: str = "v1.0-mini"
) -> None:
    """Read a table, let `change` alter the list of records in place, and write it again."""
    path = root / version / f"{name}.json"
    records = json.loads(path.read_text())
    change(records)
    path.write_text(json.dumps(records))


def read_records(root: Path, name: str, version: str = "v1.0-mini") -> Records:
    """All records of a table."""
    records: Records = json.loads((root / version / f"{name}.json").read_text())
    return records


@dataclass
class _Drive:
    """A car that drives, its sensors, and what is random about them."""

    rig: CalibratedRig
    image_size: tuple[int, int]
    random: np.random.Generator

    def image(self) -> bytes:
        """Draw a coarse random image and encode it."""
        height, width = self.image_size
        coarse = self.random.integers(0, 256, size=(6, 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((width, height)).save(buffer, format="JPEG", quality=90)
        return buffer.getvalue()

    def scan(self, channel: str, things: Sequence[AnnotatedBox], pose: EgoPose, returns: int) -> np.ndarray:
        """Return the points of a LiDAR: on the ground, in the boxes, and 50 on the car itself."""
        far_m, azimuth = self.random.uniform(4, 45, returns), self.random.uniform(0, 2 * math.pi, returns)
        ground = np.stack((far_m * np.cos(azimuth), far_m * np.sin(azimuth), np.zeros(returns)), axis=1)
        car = self.random.uniform((0.5, -0.4, 1.2), (1.4, 0.4, 1.7), size=(50, 3))
        inside = [np.zeros((0, 3))]
        for thing in things:
            local = self.random.uniform(-0.5, 0.5, size=(40, 3)) * thing.size_m
            inside.append(local @ _turn(thing.yaw_global_rad).T + thing.center_global_m)
        seen = (np.concatenate(inside) - pose.global_from_ego[:3, 3]) @ pose.global_from_ego[:3, :3]
        x, y, z = (np.concatenate((ground, car, seen)) - self.rig.lidars[channel][:3, 3]).T
        intensity, ring = self.random.uniform(0, 255, len(x)), self.random.integers(0, 32, len(x))
        return np.stack((-y, x, z, intensity, ring), axis=1)  # the LiDAR's x points right


def _write_key_frames(
    writer: NuScenesWriter,
    drive: _Drive,
    start_us: int,
    key_frames: int,
    sweeps: int,
    things: Sequence[AnnotatedBox],
    returns: int,
) -> None:
    """Write the key frames of a scene, and the sweeps before each."""
    for i in range(key_frames):
        time_us = start_us + 1_000_000 + i * 500_000
        images = {
            camera.channel: CameraImage(drive.image(), _pose(time_us - 40_000 + 7_000 * j, start_us))
            for j, camera in enumerate(drive.rig.cameras)
        }
        scans, pose = {}, _pose(time_us, start_us)
        for number, channel in enumerate(drive.rig.lidars):
            for back in range(sweeps, 0, -1):
                swept = _pose(time_us + number * 10_000 - back * 50_000, start_us)
                writer.add_sweep(channel, swept, drive.scan(channel, things, swept, returns))
            swept = _pose(time_us + number * 10_000, start_us)
            scans[channel] = LidarSweep(drive.scan(channel, things, swept, returns), swept)
        writer.add_key_frame(pose, images, scans, things)


def _rig(
    image_size: tuple[int, int], channels: Sequence[str], places: Mapping[str, tuple[float, float, float]]
) -> CalibratedRig:
    """Return cameras evenly spaced around the car, and its LiDARs."""
    height, width = image_size
    focal_px = width * 0.8
    intrinsics = np.array([[focal_px, 0.0, width / 2], [0.0, focal_px, height / 2], [0.0, 0.0, 1.0]])
    cameras = []
    for i, channel in enumerate(channels):
        azimuth = -2 * math.pi * i / len(channels)
        pose = np.eye(4)
        pose[:3, :3] = _turn(azimuth) @ [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]  # z forward, x right, y down
        pose[:3, 3] = 1.0 + 0.5 * math.cos(azimuth), 0.5 * math.sin(azimuth), 1.5
        cameras.append(CalibratedCamera(channel, pose, intrinsics))
    lidars = {channel: np.eye(4) for channel in places}
    for channel, place_m in places.items():
        lidars[channel][:3, :3], lidars[channel][:3, 3] = _turn(-math.pi / 2), place_m
    return CalibratedRig("car", cameras, lidars)


def _pose(time_us: int, start_us: int) -> EgoPose:
    """Return where the car is, which drives 10 m/s on a circle of 100 m radius."""
    angle = 10 * (time_us - start_us) / 1e6 / 100
    pose = np.eye(4)
    pose[:3, :3] = _turn(angle)
    pose[:2, 3] = 1000 + 100 * math.sin(angle), 500 + 100 * (1 - math.cos(angle))
    return EgoPose(time_us, pose)


def _things(boxes: int) -> list[AnnotatedBox]:
    """Return objects that stand along the way, each counted as 40 LiDAR points."""
    things = []
    for i in range(boxes):
        category, size_m = THINGS[i % len(THINGS)]
        center = (1000.0 + 5 * i, 500.0 + (-8.0 if i % 2 else 9.0), size_m[2] / 2)
        things.append(
            AnnotatedBox(
                category, f"thing-{i}", center, size_m, 0.3 * i, visibility=1 + i % 4, lidar_points=40
            )
        )
    return things


def _turn(angle: float) -> np.ndarray:
    """Return the rotation matrix of a counter-clockwise turn about z."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])

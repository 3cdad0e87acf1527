"""A folder in nuScenes format as Waymo Open Dataset v2: what an import must turn back into the same drive.

The LiDAR becomes the one on the roof. Five cameras are kept. Objects keep their class, not their category,
and no level of visibility. Sweeps between key frames become frames without images and boxes.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from occfeat.data.formats.points.floats import read_floats
from occfeat.data.index.index import Index
from occfeat.data.keyframe import CameraRecord, KeyFrame, SweepRecord
from occfeat.data.recordings.waymo.sensors import CAMERAS
from occfeat.settings.sections import DataConfig
from tests.support.nuscenes_folder import read_records
from tests.support.recordings.waymo_ranges import images_of
from tests.support.recordings.waymo_tables import (
    CAMERA,
    LASER,
    OBJECT,
    TIME,
    ComponentWriter,
    write_component,
)

WIDTH = 2048
"""Columns of range images: far more than the LiDARs of street worlds and of nuScenes fire."""
FOLDERS = {"train": "training", "val": "validation", "test": "testing"}
OPTICAL_FROM_CAMERA = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


@dataclass
class Written:
    """What became of a data set."""

    cameras: dict[str, str]
    """Channel in nuScenes format of each Waymo camera."""
    points: int = 0
    lost_points: int = 0
    """Points that no range image can represent."""
    boxes: int = 0


def write_waymo(source: Path, out: Path, *, sweeps: int = 1, keep_origin: bool = False) -> Written:
    """Write a data set and return what became of it.

    Args:
        source: Folder in nuScenes format.
        out: Folder to write to.
        sweeps: Sweeps per key frame, with the key frame's own.
        keep_origin: Keep the global frame. Otherwise it begins at the first pose of a scene. Poses of pixels
            are float32, which rounds by 0.06 mm at a kilometre from the origin.
    """
    index = Index.open(DataConfig(root=source))
    read = _KeyFrames(index, sweeps, keep_origin=keep_origin)
    split_of = {
        index.scene_of(index.rows(split))[i]: split
        for split in index.splits()
        for i in range(len(index.rows(split)))
    }
    written = Written(_choose_cameras(index.key_frame(0)))
    facts = _Facts(index)
    for scene in dict.fromkeys(index.scene_of(np.arange(len(index))).tolist()):
        folder = out / FOLDERS[split_of.get(scene, "train")]
        _SceneWriter(folder, scene, facts, written).write(read.of_scene(scene))
    return written


class _KeyFrames:
    """Reads the key frames of a scene, if need be in a global frame of its own."""

    def __init__(self, index: Index, sweeps: int, *, keep_origin: bool) -> None:
        self.index, self.sweeps, self.keep_origin = index, sweeps, keep_origin

    def of_scene(self, scene: str) -> list[KeyFrame]:
        """Return the key frames in order of time."""
        rows = np.flatnonzero(self.index.scene_of(np.arange(len(self.index))) == scene)
        key_frames = [self.index.key_frame(row, sweeps=self.sweeps) for row in rows]
        if self.keep_origin:
            return key_frames
        shift = torch.eye(4, dtype=torch.float64)
        shift[:3, 3] = -key_frames[0].global_from_ego[:3, 3]
        return [replace(one, global_from_ego=shift @ one.global_from_ego) for one in key_frames]


class _Facts:
    """What the index does not tell: times of images, and the object of each box."""

    def __init__(self, index: Index) -> None:
        self.root = index.root
        data = read_records(index.root, "sample_data", index.version)
        self.time_us = {row["filename"]: row["timestamp"] for row in data}
        boxes = read_records(index.root, "sample_annotation", index.version)
        self.instance = {row["token"]: row["instance_token"] for row in boxes}


class _SceneWriter:
    """Writes one scene as a segment."""

    def __init__(self, folder: Path, name: str, facts: _Facts, written: Written) -> None:
        self.folder, self.name, self.facts, self.written = folder, name, facts, written
        tags = ("vehicle_pose", "camera_image", "lidar", "lidar_pose", "lidar_box")
        self.files = {tag: ComponentWriter(folder, tag, name) for tag in tags}

    def write(self, key_frames: list[KeyFrame]) -> None:
        """Write everything."""
        self._write_calibration(key_frames[0])
        last_us = 0
        for key_frame in key_frames:
            own = key_frame.sweeps[0]
            mounted = own.ego_from_lidar.numpy()
            pose = key_frame.global_from_ego.numpy()
            for sweep in reversed(key_frame.sweeps):
                if sweep.timestamp_us > last_us:
                    moved = pose @ sweep.ego_from_lidar.numpy() @ np.linalg.inv(mounted)
                    self._write_sweep(sweep, moved, mounted)
                    last_us = sweep.timestamp_us
            self._write_images(key_frame)
            self._write_boxes(key_frame)
        for file in self.files.values():
            file.close()

    def _write_calibration(self, first: KeyFrame) -> None:
        """Write the calibration of all sensors, and the statistics."""
        cameras = {record.channel: record for record in first.cameras}
        rows = []
        for number, name in enumerate(CAMERAS, 1):
            if name in self.written.cameras:
                record = cameras[self.written.cameras[name]]
                extrinsic = record.camera_ego_from_camera.numpy() @ OPTICAL_FROM_CAMERA
                (f_u, _, c_u), (_, f_v, c_v), _ = record.intrinsics.tolist()
                optics = dict(zip(("f_u", "f_v", "c_u", "c_v"), (f_u, f_v, c_u, c_v), strict=True))
                optics |= dict(zip(("k1", "k2", "p1", "p2", "k3"), _distortion(record), strict=True))
                row = {f"intrinsic.{key}": value for key, value in optics.items()}
                size = {"height": record.size[0], "width": record.size[1]}
                rows.append({CAMERA: number, "extrinsic.transform": extrinsic.ravel(), **row, **size})
        write_component(self.folder, "camera_calibration", self.name, rows)
        self.beams = _beams(self._points(first.sweeps[0]))
        laser = {
            LASER: 1,
            "extrinsic.transform": first.sweeps[0].ego_from_lidar.numpy().ravel(),
            "beam_inclination.min": self.beams[0],
            "beam_inclination.max": self.beams[-1],
            "beam_inclination.values": self.beams,
        }
        write_component(self.folder, "lidar_calibration", self.name, [laser])
        stats = {
            TIME: first.timestamp_us,
            "time_of_day": "Day",
            "location": "location_other",
            "weather": "sunny",
        }
        write_component(self.folder, "stats", self.name, [stats])

    def _points(self, sweep: SweepRecord) -> np.ndarray:
        """Return the points of a sweep."""
        return read_floats(self.facts.root / sweep.path).points

    def _write_sweep(self, sweep: SweepRecord, pose: np.ndarray, mounted: np.ndarray) -> None:
        """Write a sweep and the pose of its frame."""
        points = self._points(sweep)
        images = images_of(points, self.beams, WIDTH, mounted, pose)
        self.written.points += len(points)
        self.written.lost_points += images.lost
        key = {TIME: sweep.timestamp_us}
        self.files["vehicle_pose"].write([{**key, "world_from_vehicle.transform": pose.ravel()}])
        row = {**key, LASER: 1}
        for name, image in (("range_image_return1", images.first), ("range_image_return2", images.second)):
            if name == "range_image_return1" or (image[..., 0] > 0).any():
                row |= {f"{name}.values": image.ravel(), f"{name}.shape": list(image.shape)}
        self.files["lidar"].write([row])
        posed = {
            f"range_image_return1.{key}": value
            for key, value in (
                ("values", images.pixel_poses.ravel()),
                ("shape", list(images.pixel_poses.shape)),
            )
        }
        self.files["lidar_pose"].write([{TIME: sweep.timestamp_us, LASER: 1, **posed}])

    def _write_images(self, key_frame: KeyFrame) -> None:
        """Write the images of a key frame."""
        cameras = {record.channel: record for record in key_frame.cameras}
        rows = []
        for number, name in enumerate(CAMERAS, 1):
            record = cameras.get(self.written.cameras.get(name, ""))
            if record is not None:
                moved = record.lidar_ego_from_camera @ record.camera_ego_from_camera.inverse()
                pose = (key_frame.global_from_ego @ moved).numpy()
                rows.append(
                    {
                        TIME: key_frame.timestamp_us,
                        CAMERA: number,
                        "image": (self.facts.root / record.path).read_bytes(),
                        "pose.transform": pose.ravel(),
                        "pose_timestamp": self.facts.time_us[record.path] / 1e6,
                    }
                )
        self.files["camera_image"].write(rows)

    def _write_boxes(self, key_frame: KeyFrame) -> None:
        """Write the boxes of a key frame that have a type."""
        boxes, rows = key_frame.boxes, []
        for i, token in enumerate(boxes.tokens):
            kind = _type(boxes.category[i])
            if kind:
                ahead = boxes.ego_from_box[i, :, 0].tolist()
                center = dict(zip("xyz", boxes.center_ego[i].tolist(), strict=True))
                size = dict(zip("xyz", boxes.size_m[i].tolist(), strict=True))
                rows.append(
                    {TIME: key_frame.timestamp_us, OBJECT: self.facts.instance[token], "type": kind}
                    | {f"box.center.{axis}": value for axis, value in center.items()}
                    | {f"box.size.{axis}": value for axis, value in size.items()}
                    | {"box.heading": math.atan2(ahead[1], ahead[0])}
                    | {
                        "num_lidar_points_in_box": int(boxes.lidar_points[i]),
                        "num_top_lidar_points_in_box": 0,
                    }
                )
        self.written.boxes += len(rows)
        self.files["lidar_box"].write(rows)


def _type(category: str) -> int:
    """Return Waymo's type of a category; 0 if it has none."""
    if category.startswith(("vehicle.bicycle", "vehicle.motorcycle")):
        return 4
    return 1 if category.startswith("vehicle.") else 2 if category.startswith("human.pedestrian") else 0


def _distortion(record: CameraRecord) -> tuple[float, ...]:
    """Return k1, k2, p1, p2 and k3 of a camera."""
    return tuple(record.lens.coefficients) or (0.0,) * 5


def _beams(points: np.ndarray) -> np.ndarray:
    """Return the median inclination of each ring, from below."""
    lift = np.arcsin(points[:, 2] / np.linalg.norm(points[:, :3], axis=1).clip(1e-9))
    return np.array([np.median(lift[points[:, 4] == ring]) for ring in range(int(points[:, 4].max()) + 1)])


def _choose_cameras(first: KeyFrame) -> dict[str, str]:
    """Return the channel of each Waymo camera: the front one, and two on each side from front to back."""
    ahead = {one.channel: one.camera_ego_from_camera[:2, 2].tolist() for one in first.cameras}
    yaw = {channel: math.atan2(y, x) for channel, (x, y) in ahead.items()}
    order = sorted(yaw, key=lambda channel: abs(yaw[channel]))
    left = [channel for channel in order[1:] if yaw[channel] > 0]
    right = [channel for channel in order[1:] if yaw[channel] <= 0]
    chosen = {"FRONT": order[0]}
    for side, channels in (("LEFT", left), ("RIGHT", right)):
        chosen |= dict(zip((f"FRONT_{side}", f"SIDE_{side}"), channels, strict=False))
    return chosen

"""A small data folder in nuScenes format, made on the spot, for tests that need no real data.

`build_nuscenes_folder(path)` writes tables, JPEGs and LiDAR files of a car on a curve over flat ground
among boxes. Everything is consistent: cameras and LiDAR have time stamps and ego poses of their own, returns
lie on the ground, on the boxes and on the car itself. `edit_table` changes a table, to make bad input.
"""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHANNELS = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_FRONT_LEFT",
)
"""Cameras, front first and then clockwise, looking 60 degrees apart."""

LIDAR_HEIGHT_M = 1.84
START_US = 1_500_000_000_000_000
CATEGORIES = ("vehicle.car", "human.pedestrian.adult", "vehicle.truck", "movable_object.barrier")

Records = list[dict[str, Any]]


def build_nuscenes_folder(
    root: Path,
    *,
    scenes: Sequence[str] = ("scene-0061", "scene-0103"),
    key_frames: int = 3,
    image_size: tuple[int, int] = (90, 160),
    channels: Sequence[str] = CHANNELS,
    lidar: bool = True,
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
        lidar: Write LIDAR_TOP records and files.
        sweeps: LiDAR sweeps before each key frame that are not key frames.
        boxes: Annotations per key frame, categories and visibilities 1 to 4 in turn.
        returns: LiDAR returns per sweep.
        version: Name of the folder with the tables.
        seed: Of everything random.
    """
    writer = _Writer(root, image_size, channels, np.random.default_rng(seed))
    for number, name in enumerate(scenes):
        writer.add_scene(number, name, key_frames, lidar=lidar, sweeps=sweeps, boxes=boxes, returns=returns)
    writer.write(root / version)
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


class _Writer:
    def __init__(
        self, root: Path, image_size: tuple[int, int], channels: Sequence[str], random: np.random.Generator
    ) -> None:
        self.root, self.image_size, self.random = root, image_size, random
        self.names = [*channels, "LIDAR_TOP"]
        self.channels = list(channels)
        self.tables: dict[str, Records] = {name: [] for name in _TABLES}
        self.count = 0
        for i, name in enumerate(CATEGORIES):
            self.add("category", token=f"category-{i}", name=name, description="")
        for level, text in enumerate(("v0-40", "v40-60", "v60-80", "v80-100"), start=1):
            self.add("visibility", token=str(level), level=text, description="")

    def add(self, table: str, **fields: Any) -> str:
        """Append a record; its token is made up where none is given."""
        self.count += 1
        record = {"token": fields.pop("token", f"{table}-{self.count:06d}"), **fields}
        self.tables[table].append(record)
        return str(record["token"])

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (self.root / "maps").mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(self.root / "maps" / "empty.png")
        for name, records in self.tables.items():
            (folder / f"{name}.json").write_text(json.dumps(records, indent=0))

    def add_scene(
        self, number: int, name: str, key_frames: int, *, lidar: bool, sweeps: int, boxes: int, returns: int
    ) -> None:
        log = self.add("log", logfile=f"log-{number}", location="singapore-onenorth")
        self.add("map", category="semantic_prior", filename="maps/empty.png", log_tokens=[log])
        scene = self.add("scene", name=name, log_token=log, nbr_samples=key_frames, description="")
        calibrations = self._calibrate(lidar)
        start_us = START_US + number * 100_000_000
        things = self._things(boxes)
        for i in range(key_frames):
            time_us = start_us + 1_000_000 + i * 500_000
            sample = self.add("sample", timestamp=time_us, scene_token=scene, prev="", next="")
            for j, channel in enumerate(self.channels):
                self._add_image(
                    sample, channel, calibrations[channel], time_us - 40_000 + 7_000 * j, start_us
                )
            if lidar:
                for back in range(sweeps, -1, -1):
                    at_us = time_us - back * 50_000
                    self._add_sweep(
                        sample, calibrations["LIDAR_TOP"], at_us, start_us, back == 0, things, returns
                    )
            self._annotate(sample, things)

    def _calibrate(self, lidar: bool) -> dict[str, str]:
        calibrations = {}
        height, width = self.image_size
        focal_px = width * 0.8
        intrinsics = [[focal_px, 0.0, width / 2], [0.0, focal_px, height / 2], [0.0, 0.0, 1.0]]
        for i, channel in enumerate(self.channels):
            sensor = self.add("sensor", channel=channel, modality="camera")
            azimuth = -2 * math.pi * i / len(self.channels)
            calibrations[channel] = self.add(
                "calibrated_sensor",
                sensor_token=sensor,
                translation=[1.0 + 0.5 * math.cos(azimuth), 0.5 * math.sin(azimuth), 1.5],
                rotation=_times(_yaw(azimuth), (0.5, -0.5, 0.5, -0.5)),  # z forward, x right, y down
                camera_intrinsic=intrinsics,
            )
        if lidar:
            sensor = self.add("sensor", channel="LIDAR_TOP", modality="lidar")
            calibrations["LIDAR_TOP"] = self.add(
                "calibrated_sensor",
                sensor_token=sensor,
                translation=[0.94, 0.0, LIDAR_HEIGHT_M],
                rotation=_yaw(-math.pi / 2),
                camera_intrinsic=[],
            )
        return calibrations

    def _pose(self, time_us: int, start_us: int) -> tuple[np.ndarray, float]:
        """Place and heading of the car, which drives 10 m/s on a circle of 100 m radius."""
        angle = 10 * (time_us - start_us) / 1e6 / 100
        return np.array([1000 + 100 * math.sin(angle), 500 + 100 * (1 - math.cos(angle)), 0.0]), angle

    def _add_record(
        self, sample: str, calibration: str, path: str, time_us: int, start_us: int, **fields: Any
    ) -> None:
        place, heading = self._pose(time_us, start_us)
        pose = self.add("ego_pose", timestamp=time_us, translation=place.tolist(), rotation=_yaw(heading))
        self.add(
            "sample_data",
            sample_token=sample,
            ego_pose_token=pose,
            calibrated_sensor_token=calibration,
            timestamp=time_us,
            fileformat=path.rsplit(".", 1)[-1],
            filename=path,
            prev="",
            next="",
            **fields,
        )

    def _add_image(self, sample: str, channel: str, calibration: str, time_us: int, start_us: int) -> None:
        height, width = self.image_size
        path = f"samples/{channel}/{channel}__{time_us}.jpg"
        coarse = self.random.integers(0, 256, size=(6, 8, 3), dtype=np.uint8)
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(coarse).resize((width, height)).save(self.root / path, quality=90)
        self._add_record(
            sample, calibration, path, time_us, start_us, is_key_frame=True, height=height, width=width
        )

    def _add_sweep(
        self,
        sample: str,
        calibration: str,
        time_us: int,
        start_us: int,
        is_key: bool,
        things: Records,
        returns: int,
    ) -> None:
        path = f"{'samples' if is_key else 'sweeps'}/LIDAR_TOP/LIDAR_TOP__{time_us}.pcd.bin"
        place, heading = self._pose(time_us, start_us)
        x, y, z = self._scan(things, place, heading, returns).T
        points_lidar = np.stack((-y, x - 0.94, z - LIDAR_HEIGHT_M), axis=1)  # the LiDAR's x points right
        rest = np.stack((self.random.uniform(0, 255, len(x)), self.random.integers(0, 32, len(x))), axis=1)
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        np.hstack((points_lidar, rest)).astype("<f4").tofile(self.root / path)
        self._add_record(sample, calibration, path, time_us, start_us, is_key_frame=is_key, height=0, width=0)

    def _scan(self, things: Records, place: np.ndarray, heading: float, returns: int) -> np.ndarray:
        """Returns in the ego frame: on the ground, in the boxes, and 50 on the car itself."""
        far_m, azimuth = self.random.uniform(4, 45, returns), self.random.uniform(0, 2 * math.pi, returns)
        ground = np.stack((far_m * np.cos(azimuth), far_m * np.sin(azimuth), np.zeros(returns)), axis=1)
        car = self.random.uniform((0.5, -0.4, 1.2), (1.4, 0.4, 1.7), size=(50, 3))
        clouds = [ground, car]
        turn = np.array([[math.cos(heading), math.sin(heading)], [-math.sin(heading), math.cos(heading)]])
        for thing in things:
            width, length, height = thing["size"]
            inside = self.random.uniform(-0.5, 0.5, size=(40, 3)) * (length, width, height)
            yaw = 2 * math.atan2(thing["rotation"][3], thing["rotation"][0])
            spin = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
            inside[:, :2] = inside[:, :2] @ spin.T
            inside += np.array(thing["translation"]) - place
            inside[:, :2] = inside[:, :2] @ turn.T
            clouds.append(inside)
        return np.concatenate(clouds)

    def _things(self, boxes: int) -> Records:
        """Objects that stand along the way, in global coordinates."""
        things = []
        for i in range(boxes):
            instance = self.add(
                "instance", category_token=f"category-{i % len(CATEGORIES)}", nbr_annotations=1
            )
            size = [(1.9, 4.6, 1.7), (0.7, 0.7, 1.8), (2.5, 8.0, 3.0), (2.0, 0.5, 1.0)][i % len(CATEGORIES)]
            side = -8.0 if i % 2 else 9.0
            things.append(
                {
                    "instance_token": instance,
                    "visibility_token": str(1 + i % 4),
                    "attribute_tokens": [],
                    "translation": [1000.0 + 5 * i, 500.0 + side, size[2] / 2],
                    "size": list(size),
                    "rotation": _yaw(0.3 * i),
                    "num_lidar_pts": 40,
                    "num_radar_pts": 0,
                    "prev": "",
                    "next": "",
                }
            )
        return things

    def _annotate(self, sample: str, things: Records) -> None:
        for thing in things:
            self.add("sample_annotation", sample_token=sample, **thing)


_TABLES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
)


def _yaw(angle: float) -> list[float]:
    """Quaternion (w, x, y, z) of a counter-clockwise turn about z."""
    return [math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)]


def _times(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """Product of two quaternions."""
    aw, ax, ay, az = a
    bw, bx, by, bz = b
    return [
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    ]

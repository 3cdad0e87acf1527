"""Recordings that are made up, for tests of what becomes of recordings."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from occfeat.data.formats.nuscenes.writer.values import (
    AnnotatedBox,
    CalibratedCamera,
    CalibratedRig,
    CameraImage,
    EgoPose,
    LidarSweep,
)
from occfeat.data.recordings.recording import Moment, Recording

START_US = 1_700_000_000_000_000
INTRINSICS = np.array([[50.0, 0, 32], [0, 51, 18], [0, 0, 1]])
OPTICAL = np.array([[0.0, 0, 1, 1.7], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
RIG = CalibratedRig("car", [CalibratedCamera("CAM_FRONT", OPTICAL, INTRINSICS)], {"LIDAR_TOP": np.eye(4)})


def pose_at(milliseconds: int) -> EgoPose:
    """Return where the car is: 10 m/s along x."""
    global_from_ego = np.eye(4)
    global_from_ego[0, 3] = milliseconds / 100
    return EgoPose(START_US + 1000 * milliseconds, global_from_ego)


class MadeRecording(Recording):
    """A drive along x: key frames at 2 Hz, and a sweep before each but the first.

    Args:
        name: Name of the scene.
        count: Number of key frames.
        split: Split of the scene.
        slow_s: Seconds that each key frame takes.
    """

    def __init__(self, name: str, count: int = 3, split: str | None = "train", slow_s: float = 0) -> None:
        super().__init__(name, RIG, count, split=split, description="made up")
        self.slow_s = slow_s

    def moments(self) -> Iterator[Moment]:
        self.left_out.clear()
        random = np.random.default_rng(sum(self.name.encode()))
        for number in range(self.count):
            time.sleep(self.slow_s)
            pixels = random.integers(0, 256, (36, 64, 3), dtype=np.uint8)
            points = random.normal(size=(50, 4)) * 10
            if number:
                sweep = LidarSweep(points + 1, pose_at(500 * number - 100))
                yield Moment(pose_at(500 * number - 100), is_key=False, sweeps={"LIDAR_TOP": sweep})
            box = AnnotatedBox("vehicle.car", "a", (10.0 + 5 * number, 0, 1), (4.0, 2, 1.5), 0.0)
            images = {"CAM_FRONT": CameraImage(pixels, pose_at(500 * number - 30))}
            yield Moment(pose_at(500 * number), True, images, {"LIDAR_TOP": LidarSweep(points)}, [box])
        self.left_out["made-up reason"] += 2


def made_recordings(scenes: int = 3, slow_s: float = 0) -> list[Recording]:
    """Return several recordings; the second one is for validation."""
    return [MadeRecording(f"drive-{i}", 3, "val" if i == 1 else "train", slow_s) for i in range(scenes)]


def files_of(root: Path) -> dict[str, bytes]:
    """Return the content of all files of a folder."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

"""A segment of Waymo Open Dataset v2 as a recording.

Frames come at 10 Hz. The time of a frame, which names it everywhere, is the start of the spin of the LiDAR on
the roof; its pose is that of the middle of the spin. Each image has time and pose of its own.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from occfeat.data.formats.nuscenes.writer.values import AnnotatedBox, EgoPose, LidarSweep
from occfeat.data.recordings.key_frames import choose_key_frames
from occfeat.data.recordings.recording import Moment, Recording
from occfeat.data.recordings.waymo.boxes import read_boxes
from occfeat.data.recordings.waymo.calibrated_sensors import make_rig, read_cameras, read_lasers
from occfeat.data.recordings.waymo.component import TIME, Component
from occfeat.data.recordings.waymo.frames import InTime, SweepReader, read_images
from occfeat.data.recordings.waymo.segments import Segment, find_segments
from occfeat.errors import DatasetError


def find_recordings(path: Path, *, key_hz: float = 2.0, sweeps: bool = False) -> list[Recording]:
    """Return the segments in a folder of Waymo Open Dataset v2; none if it is something else.

    Args:
        path: The data set, or one of its splits.
        key_hz: Key frames per second.
        sweeps: Keep the LiDAR sweeps between key frames.

    Raises:
        DatasetError: Components are missing or damaged.
    """
    return [WaymoRecording(segment, key_hz, sweeps=sweeps) for segment in find_segments(path)]


class WaymoRecording(Recording):
    """A segment.

    Args:
        segment: Its files.
        key_hz: Key frames per second.
        sweeps: Keep the LiDAR sweeps between key frames.

    Raises:
        DatasetError: A component is damaged.
    """

    def __init__(self, segment: Segment, key_hz: float, *, sweeps: bool) -> None:
        self._segment, self._sweeps = segment, sweeps
        self._poses = _read_poses(segment.open("vehicle_pose"))
        times_us = np.array(list(self._poses), dtype=np.int64)
        self._keys = times_us[choose_key_frames(times_us, key_hz)]
        self._lasers = read_lasers(segment.open("lidar_calibration")) if segment.has_lidar else {}
        super().__init__(
            segment.name,
            make_rig(segment.name, read_cameras(segment.open("camera_calibration")), self._lasers),
            len(self._keys),
            split=segment.split,
            description=_describe(segment),
        )

    def moments(self) -> Iterator[Moment]:
        """Yield the frames."""
        keys = {time_us: self._poses[time_us] for time_us in self._keys.tolist()}
        scanned = self._poses if self._sweeps else keys
        images, sweeps = InTime(read_images(self._open("camera_image"), self._keys)), self._scan(scanned)
        boxes = self._boxes(keys)
        for time_us, pose in scanned.items():
            seen = (images.at(time_us) or {}) if time_us in keys else {}
            swept = sweeps.at(time_us) or {}
            if seen or swept:
                yield Moment(pose, time_us in keys, seen, swept, boxes.get(time_us, ()))
            else:
                self.left_out["frame without an image or a sweep"] += 1

    def _scan(self, frames: Mapping[int, EgoPose]) -> InTime[dict[str, LidarSweep]]:
        """Return the LiDAR sweeps of some frames."""
        if not self._segment.has_lidar:
            self.left_out["LiDAR, as the component lidar is missing"] += 1
            return InTime(iter(()))
        lidar, poses = self._open("lidar"), self._open("lidar_pose")
        return InTime(SweepReader(lidar, poses, self._lasers, frames).sweeps())

    def _boxes(self, frames: Mapping[int, EgoPose]) -> dict[int, list[AnnotatedBox]]:
        """Return the boxes of some frames by time."""
        if "lidar_box" not in self._segment.files:
            self.left_out["boxes, as the component lidar_box is missing"] += 1
            return {}
        return read_boxes(self._open("lidar_box"), frames)

    def _open(self, tag: str) -> Component:
        """Return a component of the frames that have poses.

        Raises:
            DatasetError: It has other frames.
        """
        component = self._segment.open(tag)
        others = set(component.times_us().tolist()) - self._poses.keys()
        if others:
            what = f"{component.path} has {len(others)} frames that vehicle_pose does not have."
            hint = "Components of different downloads may be mixed: download both again."
            raise DatasetError(what, first=sorted(others)[:10], hint=hint)
        return component


def _read_poses(component: Component) -> dict[int, EgoPose]:
    """Return the pose of each frame by time, in order of time.

    Raises:
        DatasetError: The component is damaged, or a frame has two poses.
    """
    name = "world_from_vehicle.transform"
    rows = component.read((TIME, name))
    times_us = rows.integers(TIME).tolist()
    poses = dict(zip(times_us, rows.vectors(name, 16).reshape(-1, 4, 4), strict=True))
    if len(poses) < len(times_us):
        raise DatasetError(f"{component.path}: a frame has two poses.", hint="Download the file again.")
    return {time_us: EgoPose(time_us, poses[time_us]) for time_us in sorted(poses)}


def _describe(segment: Segment) -> str:
    """Return time of day, weather and place of a segment; empty if unknown."""
    if "stats" not in segment.files:
        return ""
    names = ("time_of_day", "weather", "location")
    first = segment.open("stats").read(names).row(0)
    return ", ".join(first.texts(name)[0] for name in names)

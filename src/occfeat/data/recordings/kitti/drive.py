"""A drive of KITTI raw (`2011_09_26/2011_09_26_drive_0001_sync`) as a recording.

It is also the example of a recording of your own: find the drives, describe the rig, yield what the sensors
recorded. Source: "Vision meets Robotics: The KITTI Dataset" (Geiger et al., 2013) and its devkit.

The ego frame is that of the IMU (x forward, y left, z up), on the ground below it (this project's choice).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from occfeat.data.formats.nuscenes.writer.values import AnnotatedBox, CameraImage, EgoPose, LidarSweep
from occfeat.data.recordings.key_frames import choose_key_frames
from occfeat.data.recordings.kitti.files import CAMERAS, LIDAR, read_poses, read_rig, read_times
from occfeat.data.recordings.kitti.tracklets import Tracklet, read_tracklets
from occfeat.data.recordings.recording import Moment, Recording
from occfeat.errors import DatasetError


def find_recordings(path: Path, *, key_hz: float = 2.0, sweeps: bool = False) -> list[Recording]:
    """Return the drives in a folder of KITTI raw; none if it is something else.

    Args:
        path: The data set, the folder of a day, or a drive.
        key_hz: Key frames per second.
        sweeps: Keep the LiDAR sweeps between key frames.

    Raises:
        DatasetError: The calibration or a file of times or poses is missing or damaged.
    """
    folders = [path, *path.glob("*_sync"), *path.glob("*/*_sync")]
    drives = sorted(folder for folder in folders if (folder / "oxts" / "data").is_dir())
    return [KittiDrive(drive, key_hz, sweeps=sweeps) for drive in drives]


class KittiDrive(Recording):
    """A drive. Its frames are those with a LiDAR file, which a few frames of some drives lack.

    Args:
        folder: Its folder; the calibration lies beside it.
        key_hz: Key frames per second.
        sweeps: Keep the LiDAR sweeps between key frames.

    Raises:
        DatasetError: The calibration or a file of times or poses is missing or damaged.
    """

    def __init__(self, folder: Path, key_hz: float, *, sweeps: bool) -> None:
        self._folder, self._sweeps = folder, sweeps
        self._global_from_ego = read_poses(folder / "oxts")
        self._scans = read_times(folder / "velodyne_points", ".bin")
        self._images = {channel: read_times(folder / name, ".png") for channel, name in CAMERAS.items()}
        times_us = np.array([time_us for _, time_us in self._scans.values()], dtype=np.int64)
        self._is_key = choose_key_frames(times_us, key_hz).tolist()
        super().__init__(folder.name, read_rig(folder.parent), sum(self._is_key), split="train")

    def moments(self) -> Iterator[Moment]:
        """Yield the frames."""
        tracklets = read_tracklets(self._folder / "tracklet_labels.xml")
        for (number, (path, time_us)), is_key in zip(self._scans.items(), self._is_key, strict=True):
            if is_key or self._sweeps:
                pose = self._pose(time_us)
                sweep = {LIDAR: LidarSweep(_read_points(path))}
                boxes = [self._box(one, pose) for one in tracklets.get(number, ())] if is_key else []
                yield Moment(pose, is_key, self._images_of(number) if is_key else {}, sweep, boxes)

    def _images_of(self, number: int) -> dict[str, CameraImage]:
        """Return the images of a frame; they are copied as they are."""
        found = {channel: files[number] for channel, files in self._images.items() if number in files}
        return {channel: CameraImage(path, self._pose(time_us)) for channel, (path, time_us) in found.items()}

    def _pose(self, time_us: int) -> EgoPose:
        """Return the ego pose at a time."""
        return EgoPose(time_us, self._global_from_ego.at(np.array([time_us]))[0])

    def _box(self, tracklet: Tracklet, pose: EgoPose) -> AnnotatedBox:
        """Return a box, which KITTI has in the LiDAR's frame, in the global frame."""
        global_from_lidar = pose.global_from_ego @ self.rig.lidars[LIDAR]
        ahead = global_from_lidar[:2, :2] @ (np.cos(tracklet.yaw_rad), np.sin(tracklet.yaw_rad))
        return AnnotatedBox(
            tracklet.category,
            tracklet.instance,
            global_from_lidar[:3, :3] @ tracklet.center_m + global_from_lidar[:3, 3],
            tracklet.size_m,
            float(np.arctan2(ahead[1], ahead[0])),
        )


def _read_points(path: Path) -> Float32[ndarray, "P 4"]:
    """Return the points of a scan: x, y, z in metres, and intensity from 0 to 255."""
    try:
        values = np.fromfile(path, dtype="<f4")
    except OSError as error:
        raise DatasetError(f"LiDAR file {path} cannot be read: {error}.") from error
    if len(values) % 4 or not np.isfinite(values).all():
        raise DatasetError(f"LiDAR file {path} is damaged.", hint="Extract it again.")
    return values.reshape(-1, 4) * np.array([1, 1, 1, 255], dtype=np.float32)

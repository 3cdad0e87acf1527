"""One scene of a bag: a stretch of time, read message by message."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from occfeat.data.formats.nuscenes.writer.values import CalibratedRig, CameraImage, EgoPose, LidarSweep
from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.clouds.deskew import deskew
from occfeat.data.recordings.bags.clouds.read import Cloud, read_cloud
from occfeat.data.recordings.bags.images import read_image
from occfeat.data.recordings.bags.messages import Message
from occfeat.data.recordings.bags.trajectory import Trajectory
from occfeat.data.recordings.from_bags.matching import LAG_US, Chosen, KeyFrameChooser, Rule, Shot
from occfeat.data.recordings.recording import Moment, Recording
from occfeat.data.recordings.rig_file import CarBody, LidarEntry, RigFile
from occfeat.errors import DatasetError, MessageError


@dataclass(frozen=True, eq=False)
class Calibration:
    """What is the same for all scenes of one recording."""

    paths: tuple[Path, ...]
    """The bag, or the bags that are read as one."""
    rig: CalibratedRig
    sizes: Mapping[str, tuple[int, int]]
    """Height and width of the first image of each camera, which its calibration is for."""
    poses: Trajectory | None
    """`global_from_ego`; None if it is not known."""
    faults: tuple[str, ...] = ()
    """What was wrong with transforms and poses, one sentence each."""


class BagRecording(Recording):
    """A scene of a bag.

    Args:
        name: Name of the scene.
        calibration: What it shares with other scenes of the bag.
        file: The rig file.
        start_us: Log time at which the scene begins.
        end_us: Log time at which it ends.
        split: Its split.
    """

    def __init__(
        self, name: str, calibration: Calibration, file: RigFile, start_us: int, end_us: int, split: str
    ) -> None:
        rule = _rule(file, start_us, end_us)
        count = max(1, round((end_us - start_us) / rule.period_us))
        names = " ".join(path.name for path in calibration.paths)
        has_poses = calibration.poses is not None
        about = f"Imported from {names}"
        super().__init__(name, calibration.rig, count, split=split, description=about, has_poses=has_poses)
        self._calibration, self._file, self._rule = calibration, file, rule
        self._body = _Body(file.car)
        entries = {**file.cameras, **file.lidars}
        self._channels = {entry.topic: channel for channel, entry in entries.items()}
        self._ahead_us = {channel: round(entry.clock_ahead_ms * 1000) for channel, entry in entries.items()}
        self._by_log = {channel for channel, entry in entries.items() if entry.use_log_time}

    def moments(self) -> Iterator[Moment]:
        """Yield the key frames, and the sweeps between them if they are kept."""
        self.left_out.clear()
        first_us, last_us = self._rule.start_us - LAG_US // 2, self._rule.end_us + LAG_US
        with open_bag(self._calibration.paths) as bag:
            messages = bag.messages(list(self._channels), max(first_us, 0), last_us)
            chooser = KeyFrameChooser(self._rule, self.left_out)
            for chosen in chooser.choose(self._shots(messages)):
                moment = self._key_frame(chosen) if chosen.is_key else self._sweep_alone(chosen)
                if moment is not None:
                    yield moment
            self.damage = (*bag.damage, *self._calibration.faults)

    def _shots(self, messages: Iterator[Message]) -> Iterator[Shot]:
        """Yield messages with their channels and corrected stamps."""
        for message in messages:
            channel = self._channels[message.topic]
            try:
                stamp_us = message.log_time_us if channel in self._by_log else message.header().time_us
            except MessageError:
                self.left_out[f"{channel}: messages that cannot be decoded"] += 1
                continue
            time_us = stamp_us - self._ahead_us[channel]
            if stamp_us <= 0 or time_us < 0:
                self.left_out[f"{channel}: messages without a stamp"] += 1
                continue
            yield Shot(channel, time_us, message.log_time_us, message)

    def _key_frame(self, chosen: Chosen) -> Moment | None:
        """Return a key frame, or None if it is left out."""
        shots = {chosen.at.channel: chosen.at, **chosen.others}
        poses = self._poses(shots)
        if chosen.at.channel not in poses:
            self.left_out["key frames at whose time the pose is not known"] += 1
            return None
        images, sweeps = {}, {}
        for channel in self._file.cameras:
            image = self._image(shots[channel], poses.get(channel)) if channel in shots else None
            if image is not None:
                images[channel] = image
            elif channel not in shots:
                self.left_out[f"{channel}: key frames without an image in time"] += 1
        for channel in self._file.lidars:
            sweep = self._sweep(shots[channel], poses.get(channel)) if channel in shots else None
            if sweep is not None:
                sweeps[channel] = sweep
            elif channel not in shots:
                self.left_out[f"{channel}: key frames without a sweep in time"] += 1
        is_whole = len(images) == len(self._file.cameras)
        if not is_whole and self._file.key_frames.missing_cameras == "drop":
            self.left_out["key frames in which a camera is missing"] += 1
            return None
        if (self._file.cameras and not images) or not (images or sweeps):
            self.left_out["key frames without any image"] += 1
            return None
        return Moment(poses[chosen.at.channel], True, images, sweeps)

    def _sweep_alone(self, chosen: Chosen) -> Moment | None:
        """Return a sweep between key frames, or None if it is left out."""
        if not self._file.key_frames.sweeps:
            return None
        channel = chosen.at.channel
        pose = self._poses({channel: chosen.at}).get(channel)
        sweep = self._sweep(chosen.at, pose)
        return None if pose is None or sweep is None else Moment(pose, False, sweeps={channel: sweep})

    def _poses(self, shots: Mapping[str, Shot]) -> dict[str, EgoPose]:
        """Return the poses of the car at the times of messages, by channel; without those not known."""
        known, poses = list(shots.items()), self._calibration.poses
        if poses is None:
            return {channel: EgoPose(shot.time_us, np.eye(4)) for channel, shot in known}
        times_us = np.array([shot.time_us for _, shot in known], dtype=np.int64)
        covered = poses.covers(times_us)
        if not covered.any():
            return {}
        known = [one for one, is_covered in zip(known, covered, strict=True) if is_covered]
        transforms = poses.at(times_us[covered])
        return {
            channel: EgoPose(shot.time_us, transform)
            for (channel, shot), transform in zip(known, transforms, strict=True)
        }

    def _image(self, shot: Shot, pose: EgoPose | None) -> CameraImage | None:
        """Return an image of a key frame, or None if it is left out."""
        channel = shot.channel
        if pose is None:
            self.left_out[f"{channel}: images at whose time the pose is not known"] += 1
            return None
        try:
            image = read_image(shot.content)
        except MessageError:
            self.left_out[f"{channel}: images that cannot be decoded"] += 1
            return None
        expected = self._calibration.sizes.get(channel, image.size)
        if image.size != expected:
            wrong, right = ("{1} x {0}".format(*size) for size in (image.size, expected))
            self.left_out[
                f"{channel}: images of {wrong} pixels, which it is not calibrated for ({right})"
            ] += 1
            return None
        return CameraImage(image.content, pose)

    def _sweep(self, shot: Shot, pose: EgoPose | None) -> LidarSweep | None:
        """Return a sweep, or None if it is left out."""
        channel = shot.channel
        if pose is None:
            self.left_out[f"{channel}: sweeps at whose time the pose is not known"] += 1
            return None
        try:
            cloud = read_cloud(shot.content)
        except MessageError:
            self.left_out[f"{channel}: sweeps that cannot be decoded"] += 1
            return None
        if cloud.dropped:
            self.left_out[f"{channel}: points that are not finite, or at the origin"] += cloud.dropped
        ego_from_lidar = np.asarray(self.rig.lidars[channel], dtype=np.float64)
        points_m = self._deskewed(cloud, shot, self._file.lidars[channel], ego_from_lidar)
        stored, others = _columns(cloud, points_m), self._body.others(points_m, ego_from_lidar)
        if others is not None and (dropped := len(others) - int(others.sum())):
            self.left_out[f"{channel}: points of the car itself"] += dropped
            stored = stored.take(np.flatnonzero(others), axis=0)  # a mask takes four times as long
        stored.flags.writeable = False  # so it is written without another copy
        return LidarSweep(stored, pose)

    def _deskewed(
        self, cloud: Cloud, shot: Shot, entry: LidarEntry, ego_from_lidar: np.ndarray
    ) -> Float32[np.ndarray, "P 3"]:
        """Return points moved to the time of their sweep, where that is asked for and possible."""
        poses = self._calibration.poses
        if not entry.deskew or poses is None or cloud.after_s is None:
            return cloud.points_m
        times_us = shot.time_us + cloud.after_s * 1e6
        try:
            return deskew(cloud.points_m, times_us, shot.time_us, poses, ego_from_lidar)
        except DatasetError:
            self.left_out[f"{shot.channel}: sweeps that were not deskewed for lack of poses"] += 1
            return cloud.points_m


class _Body:
    """Knows the points of the car itself.

    Args:
        car: Where the car is.
    """

    def __init__(self, car: CarBody) -> None:
        self._radius_m = car.radius_m
        self._box_m = None
        if car.lower_m and car.upper_m:
            self._box_m = np.array(car.lower_m, np.float32), np.array(car.upper_m, np.float32)

    def others(
        self, points_m: Float32[np.ndarray, "P 3"], ego_from_lidar: np.ndarray
    ) -> Bool[np.ndarray, " P"] | None:
        """Return a mask of the points, in the frame of their LiDAR, that are not of the car; None: all."""
        if not self._radius_m and self._box_m is None:
            return None
        others = np.ones(len(points_m), dtype=bool)
        if self._radius_m:
            others &= np.hypot(points_m[:, 0], points_m[:, 1]) >= self._radius_m
        if self._box_m is not None:
            lower_m, upper_m = self._box_m
            transform = ego_from_lidar.astype(np.float32)
            turn, origin_m = transform[:3, :3], transform[:3, 3]
            corner_m = np.maximum(np.abs(lower_m - origin_m), np.abs(upper_m - origin_m))
            x_m, y_m, z_m = points_m.T
            near = np.flatnonzero(x_m * x_m + y_m * y_m + z_m * z_m <= 1.01 * corner_m @ corner_m)
            near_ego = points_m[near] @ turn.T + origin_m  # most points are too far away to look at
            others[near[((near_ego >= lower_m) & (near_ego <= upper_m)).all(axis=1)]] = False
        return others


def _columns(cloud: Cloud, points_m: Float32[np.ndarray, "P 3"]) -> Float32[np.ndarray, "P 5"]:
    """Return points as they are stored: x, y, z, intensity, ring; 0 where unknown."""
    stored = np.empty((len(points_m), 5), np.float32)
    for axis in range(3):  # all three at once take three times as long
        stored[:, axis] = points_m[:, axis]
    intensity, ring = cloud.intensity, cloud.ring
    if intensity is not None and not np.isfinite(intensity).all():
        intensity = np.nan_to_num(intensity, nan=0.0, posinf=0.0, neginf=0.0)
    stored[:, 3] = 0 if intensity is None else intensity
    stored[:, 4] = 0 if ring is None else np.maximum(ring, 0)
    return stored


def _rule(file: RigFile, start_us: int, end_us: int) -> Rule:
    """Return which messages of a stretch of time belong together."""
    key_frames, reference = file.key_frames, file.reference
    delays_us = {channel: round(entry.delay_ms * 1000) for channel, entry in file.cameras.items()}
    own_us = delays_us.get(reference, 0)
    delays_us = {channel: delay - own_us for channel, delay in delays_us.items()}
    delays_us |= dict.fromkeys(file.lidars, -own_us)
    delays_us.pop(reference)
    return Rule(
        reference,
        delays_us,
        frozenset(file.lidars),
        round(1e6 / key_frames.rate_hz),
        round(key_frames.jitter_ms * 1000),
        start_us,
        end_us,
    )

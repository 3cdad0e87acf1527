"""From bags and a rig file to scenes: calibration, poses, stretches of time and splits."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from occfeat.data.formats.nuscenes.writer.values import CalibratedCamera, CalibratedRig
from occfeat.data.recordings.bags.bag import Bag, open_bag
from occfeat.data.recordings.bags.camera_info import CameraModel, is_rectified, read_camera_info
from occfeat.data.recordings.bags.clouds.read import (
    CLOUD_KINDS,
    FARTHEST_TYPICAL_M,
    Cloud,
    read_cloud,
    typical_distance_m,
)
from occfeat.data.recordings.bags.faults import DIFFERENT_CLOCK_S
from occfeat.data.recordings.bags.frames import FrameTree, read_frames
from occfeat.data.recordings.bags.images import IMAGE_KINDS, read_image
from occfeat.data.recordings.bags.odometry import poses_by_kiss_icp
from occfeat.data.recordings.bags.poses import poses_of_frames, poses_of_topic, read_kitti, read_tum
from occfeat.data.recordings.bags.trajectory import Trajectory, build_trajectory
from occfeat.data.recordings.from_bags.recording import BagRecording, Calibration
from occfeat.data.recordings.rig_file import (
    CameraEntry,
    FramePoses,
    KittiPoses,
    OdometryPoses,
    RigFile,
    SensorEntry,
    TopicPoses,
    TumPoses,
)
from occfeat.errors import DatasetError, FrameError, MessageError, did_you_mean
from occfeat.geometry.lens import PINHOLE
from occfeat.geometry.motion import quaternions

SHORTEST_US = 1_000_000
"""A shorter recording has no scene (this project's choice)."""


def plan_recordings(bags: Sequence[Sequence[Path]], file: RigFile) -> list[BagRecording]:
    """Return the scenes of recordings.

    Args:
        bags: The bags of each recording; those of one are read as one.
        file: The rig file.

    Raises:
        DatasetError: A topic, frame, calibration or pose is missing; the message says what to do.
    """
    recordings: list[BagRecording] = []
    names = unique_names([paths[0] for paths in bags])
    for number, (name, paths) in enumerate(zip(names, bags, strict=True)):
        with open_bag(paths) as bag:
            calibration = _calibrate(bag, tuple(paths), file, name)
            windows = _windows(bag, file, name)
        for part, (start_us, end_us) in enumerate(windows):
            share = number / len(bags) if file.splits.by == "recording" else part / len(windows)
            scene = name if len(windows) == 1 else f"{name}-{part:04d}"
            split = _split_at(share, file.splits.shares)
            recordings.append(BagRecording(scene, calibration, file, start_us, end_us, split))
    return recordings


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Return a plain name for each bag: that of its file, with a number where several are named alike."""
    stems = [_plain(path.absolute().stem) for path in paths]
    return [
        stem if stems.count(stem) == 1 else f"{stem}-{stems[:number].count(stem) + 1}"
        for number, stem in enumerate(stems)
    ]


def _plain(name: str) -> str:
    """Return a name that can be that of a file on any system."""
    kept = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
    return kept.strip(".") or "recording"


def _split_at(share: float, shares: dict[str, float]) -> str:
    """Return the split of what lies at a share of the whole, 0 to 1."""
    end = 0.0
    for name, size in shares.items():
        end += size
        if share < end - 1e-9:
            return name
    return list(shares)[-1]


def _windows(bag: Bag, file: RigFile, name: str) -> list[tuple[int, int]]:
    """Return beginning and end of each scene, in log time.

    Raises:
        DatasetError: Nothing is left of the recording.
    """
    rule = file.key_frames
    first_us, last_us = bag.span_us()
    start_us = first_us + round(rule.skip_start_s * 1e6)
    end_us = last_us + 1 - round(rule.skip_end_s * 1e6)
    if end_us - start_us < min(SHORTEST_US, last_us - first_us):
        seconds = (last_us - first_us) / 1e6
        hint = "Lower `skip_start_s` and `skip_end_s`."
        raise DatasetError(f"Nothing is left of the {seconds:.1f} s of {name}.", hint=hint)
    count = max(1, int(np.ceil((end_us - start_us) / (rule.scene_s * 1e6) - 1e-6)))
    edges = np.linspace(start_us, end_us, count + 1).astype(np.int64).tolist()
    return list(pairwise(edges))


def _calibrate(bag: Bag, paths: tuple[Path, ...], file: RigFile, name: str) -> Calibration:
    """Return the calibrated sensors of a recording and the poses of its car."""
    _require_topics(bag, file)
    tree = read_frames(bag)
    cameras = [_camera(bag, tree, file.base_frame, channel, entry) for channel, entry in file.cameras.items()]
    found = {channel: _image_size(bag, entry.topic) for channel, entry in file.cameras.items()}
    sizes = {channel: size for channel, size in found.items() if size is not None}
    lidars = {
        channel: _mounting(bag, tree, file.base_frame, channel, entry, entry.ego_from_lidar)
        for channel, entry in file.lidars.items()
    }
    _require_one_clock(bag, file)
    _require_metres(bag, file)
    rig = CalibratedRig(name, cameras, lidars)
    poses = _poses(bag, tree, file)
    if poses is not None:
        _require_poses_in_time(bag, file, poses)
    posed = () if poses is None or isinstance(file.poses, FramePoses) else poses.faults
    faults = (*(f"Transforms: {one}" for one in tree.faults), *(f"Poses: {one}" for one in posed))
    return Calibration(paths, rig, sizes, poses, faults)


def _require_topics(bag: Bag, file: RigFile) -> None:
    """Refuse a rig file that names topics which the bag does not have, or which hold something else."""
    named: dict[str, tuple[str, tuple[str, ...], str]]
    named = {channel: (entry.topic, IMAGE_KINDS, "images") for channel, entry in file.cameras.items()}
    named |= {channel: (entry.topic, CLOUD_KINDS, "clouds") for channel, entry in file.lidars.items()}
    missing = [
        f"{channel}: {topic}" for channel, (topic, _, _) in named.items() if topic not in bag.topics
    ] + [
        f"{channel}: info: {one.info}"
        for channel, one in file.cameras.items()
        if one.info is not None and one.info not in bag.topics
    ]
    hint = "Correct the rig file; `occfeat import BAG --inspect` lists the topics."
    if missing:
        close = did_you_mean(missing[0].rpartition(": ")[2], bag.topics)
        raise DatasetError("The bag has no such topics:", first=missing, hint=close + hint)
    other = [
        f"{channel}: {topic} holds {bag.topics[topic].kind}, not {what}"
        for channel, (topic, kinds, what) in named.items()
        if bag.topics[topic].kind not in kinds
    ]
    if other:
        raise DatasetError("Topics hold something else than the rig file says:", first=other, hint=hint)


def _require_metres(bag: Bag, file: RigFile) -> None:
    """Refuse LiDARs whose first points are too far away for metres.

    Raises:
        DatasetError: They are.
    """
    for channel, entry in file.lidars.items():
        message = bag.first_message(entry.topic)
        with suppress(MessageError):
            cloud = None if message is None else read_cloud(message)
            if cloud is not None and (typical_m := typical_distance_m(cloud)) > FARTHEST_TYPICAL_M:
                what = f"{channel}: half of the points are farther than {typical_m:,.0f} m."
                raise DatasetError(what, hint="Points are read in metres: convert millimetres.")


def _require_poses_in_time(bag: Bag, file: RigFile, poses: Trajectory) -> None:
    """Refuse poses that end before the first message of the reference sensor, or begin after all of them.

    Raises:
        DatasetError: They do, because clocks differ.
    """
    entries = {**file.cameras, **file.lidars}
    entry = entries[file.reference]
    message = bag.first_message(entry.topic)
    if message is None:
        return
    first_us, last_us = bag.span_us()
    stamp_us = message.log_time_us if entry.use_log_time else message.header().time_us
    begin_us = stamp_us - round(entry.clock_ahead_ms * 1000)
    if stamp_us <= 0 or poses.overlaps(begin_us, begin_us + last_us - first_us):
        return
    times = [f"{time_us / 1e6:.3f} s" for time_us in (poses.times_us[0], poses.times_us[-1], begin_us)]
    what = f"Poses reach from {times[0]} to {times[1]}, but {file.reference} begins at {times[2]}."
    hint = (
        "Their clocks differ: state `use_log_time` or `clock_ahead_ms` of all sensors in the rig file, or "
        "use other poses."
    )
    raise DatasetError(what, hint=hint)


def _require_one_clock(bag: Bag, file: RigFile) -> None:
    """Refuse sensors whose first stamps show that their clocks differ.

    Raises:
        DatasetError: They do; the message says by how much.
    """
    entries = {**file.cameras, **file.lidars}
    names = [file.reference, *(name for name in entries if name != file.reference)]
    ahead_s = {}
    for name in names:
        message = bag.first_message(entries[name].topic)
        stamp_us = message.header().time_us if message is not None else 0
        if message is not None and stamp_us > 0 and not entries[name].use_log_time:
            ahead_s[name] = (stamp_us - message.log_time_us) / 1e6 - entries[name].clock_ahead_ms / 1e3
    base_s = ahead_s.get(file.reference, 0.0)
    first = [
        f"{name} is ahead of {file.reference} by {seconds - base_s:.3f} s"
        for name, seconds in ahead_s.items()
        if abs(seconds - base_s) > DIFFERENT_CLOCK_S
    ]
    if file.reference in ahead_s and first:
        hint = "State so many milliseconds as `clock_ahead_ms` of these sensors in the rig file."
        raise DatasetError("Sensors have different clocks.", first=first, hint=hint)


def _camera(bag: Bag, tree: FrameTree, base: str, channel: str, entry: CameraEntry) -> CalibratedCamera:
    """Return a calibrated camera."""
    ego_from_camera = _mounting(bag, tree, base, channel, entry, entry.ego_from_camera)
    if entry.intrinsics is not None:
        lens = entry.lens.build() if entry.lens else PINHOLE
        return CalibratedCamera(channel, ego_from_camera, np.array(entry.intrinsics), lens)
    model = _model(bag, channel, entry)
    size = _image_size(bag, entry.topic)
    if size not in (None, model.size):
        images, calibrated = ("{1} x {0}".format(*one) for one in (size or (0, 0), model.size))
        hint = "Name the topic that this CameraInfo is of, or state `intrinsics` in place of `info`."
        what = f"{channel}: images have {images} pixels, and {entry.info} is of {calibrated}."
        raise DatasetError(what, hint=hint)
    return CalibratedCamera(channel, ego_from_camera, model.intrinsics, model.lens)


def _model(bag: Bag, channel: str, entry: CameraEntry) -> CameraModel:
    """Return what the CameraInfo of a camera says."""
    message = bag.first_message(str(entry.info))
    hint = "State `intrinsics` (and `lens`) of the camera in the rig file in place of `info`."
    if message is None:
        raise DatasetError(f"{channel}: {entry.info} has no messages.", hint=hint)
    rectified = is_rectified(entry.topic) if entry.rectified is None else entry.rectified
    try:
        return read_camera_info(message, rectified=rectified)
    except MessageError as error:
        raise DatasetError(f"{channel}: {error.message}", hint=hint) from error


def _image_size(bag: Bag, topic: str) -> tuple[int, int] | None:
    """Return height and width of the first image of a topic; None if it cannot be decoded."""
    message = bag.first_message(topic)
    try:
        return None if message is None else read_image(message).size
    except MessageError:
        return None


def _mounting(
    bag: Bag, tree: FrameTree, base: str, channel: str, entry: SensorEntry, stated: object
) -> Float64[np.ndarray, "4 4"]:
    """Return the transform from a sensor to the base frame."""
    if stated is not None:
        return np.array(stated, dtype=np.float64)
    frame = entry.frame or _frame_of(bag, entry.topic)
    try:
        return tree.look_up_static(base, frame)
    except FrameError as error:
        key = "ego_from_camera" if isinstance(entry, CameraEntry) else "ego_from_lidar"
        hint = f"{error.hint} Its name in the rig file is `{key}`, of {channel}."
        raise DatasetError(f"{channel}: {error.message}", first=error.first, hint=hint) from error


def _frame_of(bag: Bag, topic: str) -> str:
    """Return the frame that the messages of a topic name."""
    message = bag.first_message(topic)
    if message is None:
        raise DatasetError(f"Topic {topic} has no messages.", hint="Leave its sensor out of the rig file.")
    return message.header().frame


def _poses(bag: Bag, tree: FrameTree, file: RigFile) -> Trajectory | None:
    """Return `global_from_ego` of the base frame; None if the rig file says that poses are not known.

    Raises:
        DatasetError: None can be used.
    """
    poses = _read_poses(bag, tree, file)
    if poses is not None and not len(poses):
        hint = "Name other poses in the rig file, or `source: none`."
        raise DatasetError("There are no poses that can be used.", first=poses.faults, hint=hint)
    return poses


def _read_poses(bag: Bag, tree: FrameTree, file: RigFile) -> Trajectory | None:
    """Return `global_from_ego` of the base frame; None if poses are not known."""
    source, base = file.poses, file.base_frame
    if isinstance(source, FramePoses):
        return poses_of_frames(tree, source.global_frame, base).trajectory
    if isinstance(source, TopicPoses):
        posed = poses_of_topic(bag, source.topic)
        return _of_base(posed.trajectory, tree, source.frame or posed.moving_frame or base, base)
    if isinstance(source, TumPoses):
        return _of_base(read_tum(source.file), tree, source.frame or base, base)
    if isinstance(source, KittiPoses):
        return _of_base(read_kitti(source.file, source.times), tree, source.frame or base, base)
    if isinstance(source, OdometryPoses):
        entry = file.lidars[source.lidar]
        mounting = _mounting(bag, tree, base, source.lidar, entry, entry.ego_from_lidar)
        return poses_by_kiss_icp(_clouds(bag, entry.topic), mounting)
    return None


def _clouds(bag: Bag, topic: str) -> Iterator[Cloud]:
    """Yield the clouds of a topic that can be decoded."""
    for message in bag.messages([topic]):
        with suppress(MessageError):
            yield read_cloud(message)


def _of_base(moving: Trajectory, tree: FrameTree, frame: str, base: str) -> Trajectory:
    """Return the poses of the base frame from those of a frame that is fixed to it."""
    if frame == base:
        return moving
    return _moved(moving, tree.look_up_static(frame, base))


def _moved(moving: Trajectory, sensor_from_ego: Float64[np.ndarray, "4 4"]) -> Trajectory:
    """Return `global_from_ego` from `global_from_sensor`."""
    poses = moving.at(moving.times_us) @ sensor_from_ego
    built = build_trajectory(moving.times_us, poses[:, :3, 3], quaternions(poses[:, :3, :3]))
    return replace(built, faults=moving.faults)

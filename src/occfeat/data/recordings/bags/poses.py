"""Where the car was: trajectories from transforms, odometry, poses and pose files.

Frames: the trajectory of a bag is `global_from_ego`, or `global_from_sensor` with the frame that is named.
"""

from array import array
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from occfeat.data.recordings.bags.bag import Bag
from occfeat.data.recordings.bags.frames import FrameTree
from occfeat.data.recordings.bags.messages import Message, header_of, plain_frame
from occfeat.data.recordings.bags.trajectory import Trajectory, build_trajectory
from occfeat.errors import DatasetError, MessageError
from occfeat.geometry.motion import are_rotations, quaternions

ODOMETRY = "nav_msgs/msg/Odometry"
POSE = "geometry_msgs/msg/PoseStamped"
POSE_WITH_COVARIANCE = "geometry_msgs/msg/PoseWithCovarianceStamped"
POSE_KINDS = (ODOMETRY, POSE, POSE_WITH_COVARIANCE)
GLOBAL_FRAMES = ("map", "odom", "world", "local_map", "earth")
"""Names of frames that do not move, best first. `map` is first because `odom` drifts."""
MAX_FILE_BYTES = 1_000_000_000


@dataclass(frozen=True, eq=False)
class PosedFrame:
    """A trajectory, and between which frames."""

    trajectory: Trajectory
    global_frame: str
    moving_frame: str
    """The frame that moves; an empty string if the messages do not name it."""


class PoseCollector:
    """Collects the poses of the messages of one topic. Damaged ones are left out and counted."""

    def __init__(self) -> None:
        self._times_us = array("q")
        self._rows = array("d")
        self._frames = ("", "")
        self._damaged = 0

    def add(self, message: Message) -> None:
        """Collect the pose of one message."""
        try:
            value = message.decode()
        except MessageError:
            self._damaged += 1
            return
        self._times_us.append(header_of(value).time_us)
        self._rows.extend(_numbers(value.pose if message.kind == POSE else value.pose.pose))
        self._frames = (plain_frame(value.header.frame_id), plain_frame(getattr(value, "child_frame_id", "")))

    def poses(self) -> PosedFrame:
        """Return the trajectory of all poses."""
        rows = np.array(self._rows, dtype=np.float64).reshape(-1, 7)
        trajectory = build_trajectory(np.array(self._times_us, dtype=np.int64), rows[:, :3], rows[:, 3:])
        if self._damaged:
            faults = (*trajectory.faults, f"{self._damaged} messages cannot be decoded.")
            trajectory = replace(trajectory, faults=faults)
        return PosedFrame(trajectory, *self._frames)


def poses_of_topic(bag: Bag, topic: str) -> PosedFrame:
    """Return the trajectory of a topic of odometry or poses. Damaged messages are left out and counted.

    Raises:
        DatasetError: The bag has no such topic, or it has other messages.
    """
    if topic not in bag.topics or bag.topics[topic].kind not in POSE_KINDS:
        names = [one.name for one in bag.topics_of(*POSE_KINDS)]
        known = f"Topics with poses: {', '.join(names)}." if names else "The bag has no topic with poses."
        raise DatasetError(f"Topic {topic} has no poses.", hint=known)
    collector = PoseCollector()
    for message in bag.messages([topic]):
        collector.add(message)
    return collector.poses()


def poses_of_frames(tree: FrameTree, global_frame: str, moving_frame: str) -> PosedFrame:
    """Return the trajectory of a frame in another one, at all times of the moving transforms between them.

    Raises:
        FrameError: A frame is unknown, or the frames are not connected.
        DatasetError: They do not move against each other.
    """
    moving = [edge.moving for edge, _ in tree.path(plain_frame(global_frame), plain_frame(moving_frame))]
    times = [one.times_us for one in moving if one is not None]
    if not times:
        raise DatasetError(f"Frame {moving_frame} does not move in {global_frame}: it has no trajectory.")
    times_us = np.unique(np.concatenate(times))
    times_us = times_us[tree.covers(global_frame, moving_frame, times_us)]
    poses = tree.look_up(global_frame, moving_frame, times_us)
    trajectory = build_trajectory(times_us, poses[:, :3, 3], quaternions(poses[:, :3, :3]))
    return PosedFrame(trajectory, plain_frame(global_frame), plain_frame(moving_frame))


def read_tum(path: Path) -> Trajectory:
    """Read a pose file in TUM's format: per line, time in seconds, x y z in metres, qx qy qz qw.

    Raises:
        DatasetError: The file is missing, or a line is not eight numbers.
    """
    rows = _read_rows(path, 8, "time x y z qx qy qz qw")
    times_us = np.round(rows[:, 0] * 1e6).astype(np.int64)
    return build_trajectory(times_us, rows[:, 1:4], rows[:, [7, 4, 5, 6]])


def read_kitti(path: Path, times: Path) -> Trajectory:
    """Read a pose file in KITTI's format, the twelve numbers of a 3 x 4 matrix per line, and a file of times.

    Args:
        path: The poses.
        times: One time in seconds per pose, as KITTI's `times.txt`. The format has no times of its own.

    Poses that do more than turn and move are left out, and counted.

    Raises:
        DatasetError: A file is missing, has other lines, or they differ in length.
    """
    rows, seconds = _read_rows(path, 12, "the 12 numbers of a 3 x 4 matrix"), _read_rows(times, 1, "a time")
    if len(rows) != len(seconds):
        raise DatasetError(f"{path} has {len(rows)} poses, and {times} has {len(seconds)} times.")
    poses = rows.reshape(-1, 3, 4)
    times_us = np.round(seconds[:, 0] * 1e6).astype(np.int64)
    turns = quaternions(poses[:, :, :3])
    turns[~are_rotations(poses[:, :, :3])] = 0
    return build_trajectory(times_us, poses[:, :, 3], turns)


def _read_rows(path: Path, count: int, what: str) -> np.ndarray:
    """Return the numbers of a text file, `count` in each line; lines that begin with # are comments."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DatasetError(f"Pose file {path} has more than {MAX_FILE_BYTES:,} bytes.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"Pose file {path} cannot be read: {error}.") from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            row = []
        if len(row) != count:
            raise DatasetError(f"{path}, line {number}: expected {what}, got {line[:60]!r}.")
        rows.append(row)
    values = np.array(rows, dtype=np.float64).reshape(-1, count)
    if count != 12 and len(values) and not (np.abs(values[:, 0]) < 1e11).all():
        raise DatasetError(f"{path}: expected times in seconds, got {values[0, 0]:g}.")
    return values


def _numbers(pose: Any) -> tuple[float, ...]:
    """Return x, y, z, qw, qx, qy, qz of a decoded Pose."""
    place, turn = pose.position, pose.orientation
    return (place.x, place.y, place.z, turn.w, turn.x, turn.y, turn.z)

"""Looks through a bag once: what is in it, what belongs together, and what is wrong."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from occfeat.data.recordings.bags.bag import Bag, Topic
from occfeat.data.recordings.bags.camera_info import CAMERA_INFO, is_rectified, read_camera_info
from occfeat.data.recordings.bags.clouds.read import CLOUD_KINDS, Cloud, read_cloud, typical_distance_m
from occfeat.data.recordings.bags.faults import find_faults
from occfeat.data.recordings.bags.frames import TRANSFORMS, FrameTree, TransformCollector
from occfeat.data.recordings.bags.images import COMPRESSED_IMAGE, DISTANCES, IMAGE_KINDS, read_image
from occfeat.data.recordings.bags.messages import Message
from occfeat.data.recordings.bags.poses import GLOBAL_FRAMES, POSE_KINDS, PoseCollector, poses_of_frames
from occfeat.data.recordings.bags.summary import (
    BagSummary,
    CameraSummary,
    LidarSummary,
    PoseSource,
    TopicSummary,
    summarise_stamps,
)
from occfeat.errors import DatasetError, MessageError

EGO_FRAMES = (
    "base_link",
    "base_footprint",
    "ego_vehicle",
    "ego",
    "vehicle",
    "base",
    "car",
    "body",
    "rear_axle",
)
"""Names of the frame of the car, best first."""
IMAGES_LOOKED_AT, CLOUDS_LOOKED_AT = 20, 5
_KNOWN = (*IMAGE_KINDS, *CLOUD_KINDS, *POSE_KINDS, *TRANSFORMS, CAMERA_INFO)


def inspect_bag(bag: Bag) -> BagSummary:
    """Return what is in a bag. It is read once, and few images and clouds are decoded.

    Raises:
        FrameError: The frames are in a loop.
    """
    looker = _Looker(bag)
    for message in bag.messages([topic.name for topic in bag.topics_of(*_KNOWN)]):
        looker.look(message)
    tree = looker.transforms.tree()
    topics = {name: looker.topic(topic) for name, topic in bag.topics.items()}
    cameras = tuple(looker.camera(topic, topics) for topic in bag.topics_of(*IMAGE_KINDS))
    lidars = tuple(looker.lidar(topic) for topic in bag.topics_of(*CLOUD_KINDS))
    ego_frame = find_ego_frame(tree)
    summary = BagSummary(
        topics,
        tuple(camera for camera in cameras if camera.encoding),
        tuple(sorted(lidars, key=lambda lidar: (-lidar.points, lidar.topic))),
        tree,
        ego_frame,
        tuple(_pose_sources(tree, ego_frame, looker.poses)),
        (*bag.damage, *(f"{one.topic} is not a camera: {text}" for one in cameras for text in _why_not(one))),
    )
    return find_faults(summary)


class _Looker:
    """What is kept of the messages while they pass."""

    def __init__(self, bag: Bag) -> None:
        self.bag = bag
        self.transforms = TransformCollector()
        self.poses: dict[str, PoseCollector] = defaultdict(PoseCollector)
        self.stamps_us: dict[str, array[int]] = defaultdict(lambda: array("q"))
        self.logs_us: dict[str, array[int]] = defaultdict(lambda: array("q"))
        self.frames: dict[str, dict[str, None]] = defaultdict(dict)
        self.damaged: dict[str, int] = defaultdict(int)
        self.infos: dict[str, list[Message]] = defaultdict(list)
        self.encodings: dict[str, str] = {}
        self.sizes: dict[str, dict[tuple[int, int], None]] = defaultdict(dict)
        self.clouds: dict[str, list[Cloud]] = defaultdict(list)
        self.problems: dict[str, dict[str, None]] = defaultdict(dict)

    def look(self, message: Message) -> None:
        """Keep what matters of one message."""
        topic = message.topic
        if message.kind in TRANSFORMS:
            self.transforms.add(message)
            self._add_stamp(topic, message.log_time_us, message.log_time_us)
            return
        try:
            header = message.header()
        except MessageError:
            self.damaged[topic] += 1
            return
        number = len(self.stamps_us[topic])
        self._add_stamp(topic, header.time_us, message.log_time_us)
        self.frames[topic][header.frame] = None
        try:
            self._look_inside(message, number)
        except MessageError as error:
            self.problems[topic][error.message.partition(": ")[2]] = None

    def _add_stamp(self, topic: str, stamp_us: int, log_us: int) -> None:
        """Keep the times of one message."""
        self.stamps_us[topic].append(stamp_us)
        self.logs_us[topic].append(log_us)

    def _look_inside(self, message: Message, number: int) -> None:
        """Decode one message, if it is a pose or one of the few that are looked at."""
        topic, count = message.topic, max(self.bag.topics[message.topic].count, 1)
        if message.kind in POSE_KINDS:
            self.poses[topic].add(message)
        elif message.kind == CAMERA_INFO:
            infos = self.infos[topic]
            if not infos or infos[-1].data[12:] != message.data[12:]:  # all but the stamp
                infos[1:] = [message]
        elif message.kind in CLOUD_KINDS and number % -(-count // CLOUDS_LOOKED_AT) == 0:
            self.clouds[topic].append(read_cloud(message))
        elif message.kind in IMAGE_KINDS and number % -(-count // IMAGES_LOOKED_AT) == 0:
            self._look_at_image(message)

    def _look_at_image(self, message: Message) -> None:
        """Keep encoding and size of an image."""
        value = message.decode()
        form = value.format if message.kind == COMPRESSED_IMAGE else value.encoding
        image = read_image(message)
        self.encodings.setdefault(message.topic, str(form)[:80] or "unknown")
        self.sizes[message.topic][image.size] = None

    def topic(self, topic: Topic) -> TopicSummary:
        """Return the summary of a topic."""
        stamps_us = np.array(self.stamps_us.get(topic.name, ()), dtype=np.int64)
        logs_us = np.array(self.logs_us.get(topic.name, ()), dtype=np.int64)
        has_headers = topic.kind not in TRANSFORMS
        stamps = summarise_stamps(stamps_us, logs_us, has_headers=has_headers) if len(stamps_us) else None
        frames = tuple(self.frames.get(topic.name, ()))
        return TopicSummary(
            topic.name, topic.kind, topic.count, frames, stamps, self.damaged.get(topic.name, 0)
        )

    def camera(self, topic: Topic, topics: Mapping[str, TopicSummary]) -> CameraSummary:
        """Return the summary of a topic of images; those that are not pictures have no encoding."""
        rectified = is_rectified(topic.name)
        info_topic = info_of(topic.name, topics)
        problems, model = list(self.problems.get(topic.name, ())), None
        for message in self.infos.get(info_topic, [])[:1]:
            try:
                model = read_camera_info(message, rectified=rectified)
            except MessageError as error:
                problems.append(error.message)
        if len(self.infos.get(info_topic, [])) > 1:
            problems.append(f"The calibration on {info_topic} changes; the first one counts.")
        sizes = tuple(self.sizes.get(topic.name, ()))
        encoding = self.encodings.get(topic.name, "")
        return CameraSummary(topic.name, info_topic, rectified, encoding, sizes, model, tuple(problems))

    def lidar(self, topic: Topic) -> LidarSummary:
        """Return the summary of a topic of clouds."""
        clouds = self.clouds.get(topic.name, [])
        spans_s = [
            float(np.ptp(one.after_s)) for one in clouds if one.after_s is not None and len(one.after_s)
        ]
        return LidarSummary(
            topic.name,
            _typical([len(cloud.points_m) for cloud in clouds]),
            _typical([cloud.dropped for cloud in clouds]),
            bool(spans_s) and max(spans_s) > 0,
            float(np.median(spans_s)) if spans_s else 0.0,
            float(np.median([cloud.clock_ahead_s for cloud in clouds])) if clouds else 0.0,
            float(np.median([typical_distance_m(cloud) for cloud in clouds])) if clouds else 0.0,
            tuple(self.problems.get(topic.name, ())),
        )


def _why_not(camera: CameraSummary) -> tuple[str, ...]:
    """Return why none of the images of a topic can be read; distances are not expected to be images."""
    if camera.encoding:
        return ()
    return tuple(one for one in camera.problems if DISTANCES not in one)


def info_of(topic: str, topics: Mapping[str, TopicSummary]) -> str:
    """Return the topic with the CameraInfo of a topic of images; empty if there is none.

    By ROS' convention it is called `camera_info` and lies beside the images. Otherwise one in the same frame
    is taken, if there is only one.
    """
    infos = [name for name, one in topics.items() if one.kind == CAMERA_INFO and one.count]
    folder = topic
    while folder := folder.rpartition("/")[0]:
        if f"{folder}/camera_info" in infos:
            return f"{folder}/camera_info"
    frames = set(topics[topic].frames)
    fitting = [name for name in infos if frames & set(topics[name].frames)]
    return fitting[0] if len(fitting) == 1 else ""


def find_ego_frame(tree: FrameTree) -> str:
    """Return the frame of the car by its name; empty if none has a known name."""
    by_name = {name.rpartition("/")[2].lower(): name for name in reversed(tree.frames())}
    return next((by_name[name] for name in EGO_FRAMES if name in by_name), "")


def _pose_sources(
    tree: FrameTree, ego_frame: str, collectors: Mapping[str, PoseCollector]
) -> Iterable[PoseSource]:
    """Yield where poses can come from: transforms first, then topics with the most poses."""
    for global_frame in GLOBAL_FRAMES if ego_frame else ():
        if global_frame in tree.frames() and tree.are_connected(global_frame, ego_frame):
            try:
                poses = poses_of_frames(tree, global_frame, ego_frame)
            except DatasetError:  # the frames do not move against each other
                continue
            if len(poses.trajectory):
                yield PoseSource("", poses)
    collected = {topic: collector.poses() for topic, collector in collectors.items()}
    for topic in sorted(collected, key=lambda name: (-len(collected[name].trajectory), name)):
        if len(collected[topic].trajectory):
            yield PoseSource(topic, collected[topic])


def _typical(counts: list[int]) -> int:
    """Return the median of counts; 0 of none."""
    return int(np.median(counts)) if counts else 0

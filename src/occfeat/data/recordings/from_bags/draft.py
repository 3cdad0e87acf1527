"""A draft of the rig file of a bag: what is there, guessed from names, frames and types, with comments."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from occfeat.data.recordings.bags.images import COMPRESSED_IMAGE
from occfeat.data.recordings.bags.poses import PosedFrame
from occfeat.data.recordings.bags.summary import BagSummary, CameraSummary, LidarSummary

LONGEST_JITTER_MS, SHORTEST_JITTER_MS = 250, 5
"""Bounds of the drafted jitter (this project's choice)."""
_PLAIN_WORDS = {"camera", "cam", "cameras", "sensing", "sensors", "sensor", "lidar", "lidars", "points"}
_PLAIN_WORDS |= {"velodyne", "pointcloud", "raw", "ex", "pointcloud2", "velodyne_points", "driver", "node"}
_JOINED = ("concat", "combined", "merged", "fused")
_NO_SENSOR = ("map", "obstacle", "ground", "cluster", "object", "segment", "filtered", "costmap", "voxel")
"""Words in the names of clouds that a program made."""
Cameras = dict[str, CameraSummary]
Lidars = dict[str, LidarSummary]


@dataclass(frozen=True)
class Draft:
    """A rig file as text, and what keeps it from working."""

    text: str
    obstacles: tuple[str, ...]
    """What a person has to state before it works, one sentence each. Empty for ordinary bags."""


def draft_rig(summary: BagSummary) -> Draft:
    """Return a rig file for a bag. What is uncertain is commented, what is left out is a comment."""
    drafter = _Drafter(summary)
    return Draft("\n".join(drafter.lines()) + "\n", tuple(drafter.obstacles))


class _Drafter:
    """Writes the lines of a rig file, and notes what a person has to state.

    Args:
        summary: What is in the bag.
    """

    def __init__(self, summary: BagSummary) -> None:
        self._summary = summary
        self.obstacles: list[str] = []
        self._cameras = _choose_cameras(summary)
        self._base = summary.ego_frame or self._guess_base()
        self._lidars = _choose_lidars(summary, self._base)

    def lines(self) -> Iterator[str]:
        """Yield all lines."""
        if not self._cameras and not self._lidars:
            self.obstacles.append("The bag has no images and no clouds that can be used.")
        if not self._base:
            stated = "`base_frame`, and `ego_from_camera` and `ego_from_lidar` of all sensors"
            self.obstacles.append(f"The bag has no transforms: state {stated}.")
        yield "# Draft of `occfeat import --inspect`: correct what is wrong, remove what is not wanted."
        yield "# All settings: the page `recordings` of the documentation."
        yield ""
        yield "# Frame of the car: x forward, y left, z up."
        yield f"base_frame: {_word(self._base or 'base_link')}"
        yield from self._camera_lines()
        yield from self._lidar_lines()
        yield from self._pose_lines()
        yield from self._rule_lines()

    def _guess_base(self) -> str:
        """Return the highest frame that a sensor is fixed to; that of the only sensor without transforms."""
        edges = self._summary.frames.edges
        topics = [one.topic for one in self._summary.lidars] + [one.topic for one in self._summary.cameras]
        frames = [self._frame(topic) for topic in topics]
        for frame in (one for one in frames if one in edges):
            while frame in edges and edges[frame].moving is None:
                frame = edges[frame].parent
            return frame
        return frames[0] if len(set(frames)) == 1 else ""

    def _frame(self, topic: str) -> str:
        """Return the frame that the messages of a topic name."""
        return next(iter(self._summary.topics[topic].frames), "")

    def _rate_hz(self, topic: str) -> float:
        """Return messages per second."""
        stamps = self._summary.topics[topic].stamps
        return 0.0 if stamps is None else stamps.rate_hz

    def _camera_lines(self) -> Iterator[str]:
        """Yield the cameras. One without a calibration is a comment."""
        yield ""
        yield "cameras:" if any(one.model for one in self._cameras.values()) else "cameras: {}"
        for channel, one in self._cameras.items():
            mark = "" if one.model else "# "
            height, width = one.sizes[0]
            about = f"{width} x {height}, {self._rate_hz(one.topic):.1f} Hz, frame {self._frame(one.topic)}"
            yield f"  {mark}{channel}:"
            yield f"  {mark}  topic: {_word(one.topic)}  # {about}"
            if one.model:
                kind = one.model.lens.model + (", rectified" if one.is_rectified else "")
                yield f"    info: {_word(one.info_topic)}  # {kind}"
            else:
                yield "  #   intrinsics: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]  # no CameraInfo can be used"
            yield f"  {mark}  delay_ms: 0  # picture taken so much later than the stamp of the reference"
            yield from self._lacks(one.topic, channel, mark, "ego_from_camera")
        if self._cameras and not any(one.model for one in self._cameras.values()):
            names = ", ".join(self._cameras)
            self.obstacles.append(f"{names}: no CameraInfo can be used. State `intrinsics` in the rig file.")
        for other in self._summary.cameras:
            if other not in self._cameras.values():
                yield f"  # not used, another topic of a camera above: {other.topic}"

    def _lidar_lines(self) -> Iterator[str]:
        """Yield the LiDARs."""
        yield ""
        yield "lidars:" if self._lidars else "lidars: {}"
        for channel, one in self._lidars.items():
            about = f"{one.points} points, {self._rate_hz(one.topic):.1f} Hz, frame {self._frame(one.topic)}"
            yield f"  {channel}:"
            yield f"    topic: {_word(one.topic)}  # {about}"
            known = "have" if one.has_times else "do not have"
            yield f"    deskew: {'true' if one.has_times else 'false'}  # points {known} times of their own"
            yield from self._lacks(one.topic, channel, "", "ego_from_lidar")
        for other in self._summary.lidars:
            if other not in self._lidars.values():
                yield f"  # not used: {other.topic}, frame {self._frame(other.topic)}"

    def _lacks(self, topic: str, channel: str, mark: str, key: str) -> Iterator[str]:
        """Yield what a sensor lacks: a transform, or stamps."""
        stamps, frame = self._summary.topics[topic].stamps, self._frame(topic)
        if stamps is not None and not stamps.count:
            yield f"  {mark}  use_log_time: true  # its stamps are zero"
        if not self._base or self._summary.frames.are_connected(self._base, frame):
            return
        yield f"  {mark}  # {key}: [[1, 0, 0, x], [0, 1, 0, y], [0, 0, 1, z], [0, 0, 0, 1]]"
        if not mark:
            what = f"The frame {frame!r} of {channel} is not connected to {self._base}"
            self.obstacles.append(f"{what}: state `{key}`, or correct `frame` or `base_frame`.")

    def _pose_lines(self) -> Iterator[str]:
        """Yield where the poses come from, and what else there is."""
        yield ""
        yield "# Poses of the car: tf, topic, tum, kitti, kiss-icp or none."
        yield "poses:"
        sources = [_source_lines(one.topic, one.poses) for one in self._summary.pose_sources]
        chosen = (
            sources[0] if sources else ["source: none  # `view.sweeps` above 1 and ego motion need poses"]
        )
        yield from (f"  {line}" for line in chosen)
        yield from (f"  # or {', '.join(lines)}" for lines in sources[1:])

    def _rule_lines(self) -> Iterator[str]:
        """Yield the rest: key frames, the car itself and splits."""
        slowest_hz = min((self._rate_hz(one.topic) for one in self._cameras.values()), default=20.0)
        jitter_ms = min(max(600 / max(slowest_hz, 0.1), SHORTEST_JITTER_MS), LONGEST_JITTER_MS)
        yield from _RULES.format(jitter_ms=jitter_ms).splitlines()


_RULES = """
key_frames:
  rate_hz: 2  # 1 to 10
  jitter_ms: {jitter_ms:.0f}  # largest difference between the stamps of a key frame
  missing_cameras: keep  # or drop
  sweeps: true  # keep the sweeps between key frames
  skip_start_s: 0
  skip_end_s: 0
  scene_s: 20  # longer recordings are cut

# The car itself, in its frame: points there are dropped.
car: {{radius_m: 0}}
# car: {{lower_m: [-1, -1, 0], upper_m: [4, 1, 2]}}

splits:
  by: time  # or recording
  shares: {{train: 0.8, val: 0.2}}
"""


def _source_lines(topic: str, poses: PosedFrame) -> list[str]:
    """Return a source of poses as lines of YAML."""
    if topic:
        return ["source: topic", f"topic: {_word(topic)}"]
    return ["source: tf", f"global_frame: {_word(poses.global_frame)}"]


def _choose_cameras(summary: BagSummary) -> Cameras:
    """Return one topic of images per camera by channel: a calibrated, compressed and raw one if possible."""

    def rank(one: CameraSummary) -> tuple[bool, bool, bool, str]:
        """Return the rank of a topic among those of one camera; the smallest is best."""
        is_raw = summary.topics[one.topic].kind != COMPRESSED_IMAGE
        return (one.model is None, is_raw, one.is_rectified, one.topic)

    best: dict[str, CameraSummary] = {}
    for one in sorted(summary.cameras, key=rank):
        best.setdefault(_camera_of(one.topic), one)
    chosen = [one for one in summary.cameras if one in best.values()]
    names = _channels([_camera_of(one.topic) for one in chosen], "CAM")
    return dict(zip(names, chosen, strict=True))


def _camera_of(topic: str) -> str:
    """Return the part of a topic of images that names the camera: all before `image*`, or before the end."""
    parts = topic.strip("/").split("/")
    ends = [number for number, part in enumerate(parts) if part.startswith(("image", "compressed"))]
    return "/".join(parts[: ends[0]] if ends else parts[:-1])


def _choose_lidars(summary: BagSummary, base: str) -> Lidars:
    """Return the LiDARs by channel: one cloud per frame, and none that a program made.

    A cloud that joins several LiDARs is chosen only if there is no other.
    """
    own = [one for one in summary.lidars if one.points and not _has_word(one.topic, _NO_SENSOR)]
    joined = [one for one in own if base in summary.topics[one.topic].frames or _has_word(one.topic, _JOINED)]
    single = [one for one in own if one not in joined]
    by_frame: dict[tuple[str, ...], LidarSummary] = {}
    for one in sorted(single or joined[:1], key=lambda one: (not one.has_times, -one.points, one.topic)):
        by_frame.setdefault(summary.topics[one.topic].frames, one)
    chosen = [one for one in summary.lidars if one in by_frame.values()]
    names = ["LIDAR_TOP"] if len(chosen) == 1 else _channels([one.topic for one in chosen], "LIDAR")
    return dict(zip(names, chosen, strict=True))


def _has_word(topic: str, words: Sequence[str]) -> bool:
    """Return whether the name of a topic has one of some words."""
    return any(word in topic.lower() for word in words)


def _channels(names: Sequence[str], prefix: str) -> list[str]:
    """Return a unique channel for each topic: the part of its name that tells it from others."""
    split = [re.findall(r"[A-Za-z0-9]+", name.lower()) for name in names]
    counts = Counter(word for words in split for word in set(words))
    channels = []
    for number, words in enumerate(split):
        own = [word for word in words if word not in _PLAIN_WORDS]
        telling = [word for word in own if counts[word] < len(names) or len(names) == 1]
        kept = (telling or own or [str(number)])[-3:]
        channels.append("_".join([prefix, *kept]).upper())
    again = {name for name, count in Counter(channels).items() if count > 1}
    return [f"{one}_{number}" if one in again else one for number, one in enumerate(channels)]


def _word(text: str) -> str:
    """Return a text as YAML writes it within a line."""
    return str(yaml.safe_dump(text, default_flow_style=True, width=10_000)).removesuffix("\n...\n").strip()

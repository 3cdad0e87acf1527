"""Sentences about what is wrong or unusual in a bag."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from occfeat.data.recordings.bags.camera_info import CAMERA_INFO
from occfeat.data.recordings.bags.clouds.read import CLOUD_KINDS, FARTHEST_TYPICAL_M
from occfeat.data.recordings.bags.images import IMAGE_KINDS
from occfeat.data.recordings.bags.poses import POSE_KINDS
from occfeat.data.recordings.bags.summary import BagSummary, CameraSummary, LidarSummary, TopicSummary
from occfeat.data.recordings.bags.trajectory import Trajectory

DIFFERENT_CLOCK_S = 1.0
"""Clocks that differ by more are reported (this project's choice)."""
MISSING_SHARE = 0.1
"""A topic that lacks more of the recording at its beginning or end is reported (this project's choice)."""
SHORTEST_MISSING_S = 0.5
"""Less than this is never reported: sensors do not start at once (this project's choice)."""
TURNED_DEG = 0.5
"""A rotation by rectification that is larger is reported: it moves the image by ten pixels."""
_SENSORS = (*IMAGE_KINDS, *CLOUD_KINDS)


def find_faults(summary: BagSummary) -> BagSummary:
    """Return the summary with sentences about all that is wrong."""
    found = (
        *summary.faults,
        *(line for topic in summary.topics.values() for line in _of_topic(topic)),
        *_of_clocks(summary),
        *_of_time(summary),
        *(line for camera in summary.cameras for line in _of_camera(camera)),
        *(line for lidar in summary.lidars for line in _of_lidar(lidar)),
        *(f"Transforms: {line}" for line in summary.frames.faults),
        *_of_frames(summary),
        *_of_poses(summary),
    )
    return replace(summary, faults=tuple(dict.fromkeys(found)))


def _of_topic(topic: TopicSummary) -> Iterator[str]:
    """Yield what is wrong with the messages of one topic."""
    if topic.damaged:
        yield f"{topic.name}: {topic.damaged} messages have no readable header."
    stamps = topic.stamps
    if stamps is None:
        return
    if stamps.zero:
        yield f"{topic.name}: {stamps.zero} messages have a stamp of 0 and are left out."
    if stamps.repeated and topic.kind in _SENSORS:
        yield f"{topic.name}: {stamps.repeated} messages repeat the stamp of another one and are left out."
    if stamps.disorder:
        yield f"{topic.name}: {stamps.disorder} messages are out of order by their stamps."
    if stamps.gaps and topic.kind in _SENSORS:
        longest = f"the longest is {stamps.longest_gap_s:.3f} s"
        yield f"{topic.name}: {stamps.gaps} gaps at {stamps.rate_hz:.1f} Hz; {longest}."
    if len(topic.frames) > 1 and topic.kind in (*_SENSORS, CAMERA_INFO):
        yield f"{topic.name}: its messages name several frames: {', '.join(topic.frames[:5])}."


def _of_clocks(summary: BagSummary) -> Iterator[str]:
    """Yield clocks that differ between topics, and from the recorder's."""
    kinds = (*_SENSORS, *POSE_KINDS)
    behind = {
        topic.name: topic.stamps.behind_log_s
        for topic in summary.topics.values()
        if topic.kind in kinds and topic.stamps is not None and topic.stamps.count
    }
    if not behind:
        return
    common_s = float(np.median(list(behind.values())))
    if abs(common_s) > DIFFERENT_CLOCK_S:
        way = "behind" if common_s > 0 else "ahead of"
        yield f"Stamps are {abs(common_s):.3f} s {way} the log times; only stamps are used."
    for name, behind_s in behind.items():
        if abs(behind_s - common_s) > DIFFERENT_CLOCK_S:
            way = "ahead of" if behind_s < common_s else "behind"
            yield (
                f"{name}: its clock is {abs(behind_s - common_s):.3f} s {way} that of most topics, as GPS "
                "time is beside system time. State a delay in the rig file."
            )


def _of_time(summary: BagSummary) -> Iterator[str]:
    """Yield sensors that begin late or stop early, by their own clocks."""
    sensors = [
        (topic.name, topic.stamps)
        for topic in summary.topics.values()
        if topic.kind in (*_SENSORS, *POSE_KINDS) and topic.stamps is not None and topic.stamps.count
    ]
    if not sensors:
        return
    spans = [(stamps.last_us - stamps.first_us) * 1e-6 for _, stamps in sensors]
    whole_s = float(np.median(spans))
    first_us = np.median([stamps.first_us for _, stamps in sensors])
    last_us = np.median([stamps.last_us for _, stamps in sensors])
    for name, stamps in sensors:
        late_s, early_s = (stamps.first_us - first_us) * 1e-6, (last_us - stamps.last_us) * 1e-6
        if max(abs(late_s), abs(early_s)) > 10 * whole_s + DIFFERENT_CLOCK_S:
            continue  # another clock, which is reported
        for missing_s, what in ((late_s, "begins {:.1f} s after"), (early_s, "stops {:.1f} s before")):
            if missing_s > max(MISSING_SHARE * whole_s, SHORTEST_MISSING_S):
                yield f"{name} {what.format(missing_s)} most topics."


def _of_camera(camera: CameraSummary) -> Iterator[str]:
    """Yield what is wrong with a camera."""
    yield from (f"{camera.topic}: {problem}" for problem in camera.problems)
    if not camera.info_topic:
        yield f"{camera.topic} has no CameraInfo. State its intrinsics in the rig file."
    if len(camera.sizes) > 1:
        sizes = ", ".join(f"{width} x {height}" for height, width in camera.sizes[:5])
        yield f"{camera.topic}: the size of its images changes: {sizes}."
    if camera.model is None:
        return
    if camera.sizes and camera.model.size not in camera.sizes:
        (height, width), (info_height, info_width) = camera.sizes[0], camera.model.size
        yield (
            f"{camera.topic}: images have {width} x {height} pixels, but {camera.info_topic} says "
            f"{info_width} x {info_height}."
        )
    if camera.is_rectified and camera.model.rectification_deg > TURNED_DEG:
        turned = f"{camera.topic} is rectified by a rotation of {camera.model.rectification_deg:.2f} degrees."
        yield f"{turned} Its frame must be that of the rectified camera."


def _of_lidar(lidar: LidarSummary) -> Iterator[str]:
    """Yield what is wrong with a LiDAR."""
    yield from (f"{lidar.topic}: {problem}" for problem in lidar.problems)
    if not lidar.points and not lidar.problems:
        yield f"{lidar.topic}: its clouds have no points; {lidar.dropped} of each have no position."
    if lidar.distance_m > FARTHEST_TYPICAL_M:
        far = f"half of the points are farther than {lidar.distance_m:,.0f} m"
        yield f"{lidar.topic}: {far}; points are read in metres."
    if lidar.clock_ahead_s:
        way = "ahead of" if lidar.clock_ahead_s > 0 else "behind"
        ahead = (
            f"{lidar.topic}: the clock of its points is {abs(lidar.clock_ahead_s):.3f} s {way} its stamps."
        )
        yield f"{ahead} The first point is taken to be measured at the stamp."


def _of_frames(summary: BagSummary) -> Iterator[str]:
    """Yield sensors whose frame is not connected to that of the car."""
    trees = summary.frames.trees()
    if len(trees) > 1:
        named = "; ".join(", ".join(tree[:6]) + (", ..." if len(tree) > 6 else "") for tree in trees[:4])
        yield f"The frames are {len(trees)} trees that are not connected: {named}."
    if not summary.ego_frame:
        return
    for topic in summary.topics.values():
        for frame in topic.frames if topic.kind in _SENSORS else ():
            if not summary.frames.are_connected(summary.ego_frame, frame):
                yield f"{topic.name}: its frame {frame!r} is not connected to {summary.ego_frame}."


def _of_poses(summary: BagSummary) -> Iterator[str]:
    """Yield what is wrong with the poses that would be used."""
    if not summary.pose_sources:
        yield "There are no poses: no transform from map or odom to the car moves, and there is no odometry."
        return
    best = summary.pose_sources[0]
    name = best.topic or f"{best.poses.global_frame} <- {best.poses.moving_frame}"
    trajectory = best.poses.trajectory
    yield from (f"{name}: {fault}" for fault in trajectory.faults if best.topic)
    yield from _of_their_times(summary, name, trajectory)
    if len(gaps := trajectory.gaps()):
        longest_s = float((gaps[:, 1] - gaps[:, 0]).max()) * 1e-6
        yield f"{name}: {len(gaps)} gaps between poses are too long; the longest is {longest_s:.1f} s."
    if len(jumps := trajectory.jumps()):
        yield f"{name}: the poses jump {len(jumps)} times, first at {jumps[0]} us."


def _of_their_times(summary: BagSummary, name: str, trajectory: Trajectory) -> Iterator[str]:
    """Yield sensors of which no stamp is within the times of the poses."""
    times = f"{trajectory.times_us[0] / 1e6:.3f} to {trajectory.times_us[-1] / 1e6:.3f} s"
    for topic in summary.topics.values():
        stamps = topic.stamps
        if topic.kind not in _SENSORS or stamps is None or not stamps.count:
            continue
        if not trajectory.overlaps(stamps.first_us, stamps.last_us):
            own = f"{stamps.first_us / 1e6:.3f} to {stamps.last_us / 1e6:.3f} s"
            yield f"{topic.name}: its stamps, {own}, are outside of the poses of {name}, {times}."

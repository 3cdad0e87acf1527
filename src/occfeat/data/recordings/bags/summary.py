"""What is in a bag, and what is wrong with it: the values that `inspect` returns."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.recordings.bags.camera_info import CameraModel
from occfeat.data.recordings.bags.frames import FrameTree
from occfeat.data.recordings.bags.poses import PosedFrame

GAP_PERIODS = 2.5
"""Two stamps that are further apart than so many typical periods are a gap (this project's choice)."""


@dataclass(frozen=True)
class Stamps:
    """The stamps of the messages of one topic: those of their headers, or log times if they have none."""

    count: int
    """Messages with a stamp."""
    first_us: int
    last_us: int
    rate_hz: float
    """Of the typical period; 0 if there are fewer than two stamps."""
    gaps: int
    """Number of gaps of more than `GAP_PERIODS` periods."""
    longest_gap_s: float
    """Longest time between two stamps."""
    disorder: int
    """Messages whose stamp is earlier than the one before."""
    repeated: int
    """Messages whose stamp is that of another one before."""
    zero: int
    """Messages whose stamp is 0, which are left out of the rest."""
    behind_log_s: float
    """Typical time from the stamp to the arrival at the recorder; NaN without headers."""


@dataclass(frozen=True)
class TopicSummary:
    """One topic."""

    name: str
    kind: str
    count: int
    """Number of messages, according to the bag."""
    frames: tuple[str, ...]
    """Frames that the headers name."""
    stamps: Stamps | None
    """None if there are no messages, or they were not read."""
    damaged: int
    """Messages whose header cannot be read."""


@dataclass(frozen=True, eq=False)
class CameraSummary:
    """A topic of images, and the CameraInfo that belongs to it."""

    topic: str
    info_topic: str
    """Empty if there is none."""
    is_rectified: bool
    encoding: str
    """Encoding or format of the first image."""
    sizes: tuple[tuple[int, int], ...]
    """All sizes that were found, (height, width) in pixels. Some twenty images are looked at."""
    model: CameraModel | None
    """Intrinsics and lens; None if there is no CameraInfo, or it cannot be used."""
    problems: tuple[str, ...]
    """What is wrong, one sentence each."""


@dataclass(frozen=True)
class LidarSummary:
    """A topic of point clouds. Some five clouds are looked at."""

    topic: str
    points: int
    """Typical number of points."""
    dropped: int
    """Typical number of points without a position."""
    has_times: bool
    """Whether points have times of their own, so that a sweep can be deskewed."""
    sweep_s: float
    """Typical time from the first to the last point; 0 if unknown."""
    clock_ahead_s: float
    """How far the clock of the points is ahead of that of the header."""
    distance_m: float
    """Typical median distance of points from the sensor; 0 without points."""
    problems: tuple[str, ...]
    """What is wrong, one sentence each."""


@dataclass(frozen=True, eq=False)
class PoseSource:
    """Where poses can come from."""

    topic: str
    """Topic of odometry or poses; empty for transforms."""
    poses: PosedFrame


@dataclass(frozen=True, eq=False)
class BagSummary:
    """What is in a bag."""

    topics: Mapping[str, TopicSummary]
    cameras: tuple[CameraSummary, ...]
    lidars: tuple[LidarSummary, ...]
    """Those with the most points first."""
    frames: FrameTree
    ego_frame: str
    """The frame of the car, by its name; empty if none has a known name."""
    pose_sources: tuple[PoseSource, ...]
    """The most useful first; empty if there are none."""
    faults: tuple[str, ...]
    """What is wrong or unusual, one sentence each."""


def summarise_stamps(
    stamps_us: Int64[ndarray, " N"], logs_us: Int64[ndarray, " N"], *, has_headers: bool
) -> Stamps:
    """Return what the stamps and log times of a topic's messages say."""
    sound = stamps_us > 0
    kept, logs = stamps_us[sound], logs_us[sound]
    zero = int((~sound).sum())
    if not len(kept):
        return Stamps(0, 0, 0, 0.0, 0, 0.0, 0, 0, zero, float("nan"))
    unique_us = np.unique(kept)
    periods_us = np.diff(unique_us)
    typical_us = float(np.median(periods_us)) if len(periods_us) else 0.0
    return Stamps(
        count=len(kept),
        first_us=int(kept.min()),
        last_us=int(kept.max()),
        rate_hz=1e6 / typical_us if typical_us else 0.0,
        gaps=int((periods_us > GAP_PERIODS * typical_us).sum()),
        longest_gap_s=float(periods_us.max()) * 1e-6 if len(periods_us) else 0.0,
        disorder=int((np.diff(kept) < 0).sum()),
        repeated=len(kept) - len(unique_us),
        zero=zero,
        behind_log_s=float(np.median(logs - kept)) * 1e-6 if has_headers else float("nan"),
    )

"""What a recording is: a rig, and what its sensors recorded, in order of time.

A door to another format is a class that derives from `Recording`. `write.write_recordings` does the rest.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from occfeat.data.formats.nuscenes.writer.values import (
    AnnotatedBox,
    CalibratedRig,
    CameraImage,
    EgoPose,
    LidarSweep,
    RecordingLog,
)
from occfeat.errors import DatasetError


@dataclass(frozen=True, eq=False)
class Moment:
    """What the sensors recorded around one time: a key frame, or LiDAR sweeps between key frames."""

    pose: EgoPose
    """Time and ego pose; those of each sensor that has none of its own."""
    is_key: bool
    """Whether it is a key frame."""
    images: Mapping[str, CameraImage] = field(default_factory=dict)
    """Images by channel; only a key frame has any. Cameras can be missing."""
    sweeps: Mapping[str, LidarSweep] = field(default_factory=dict)
    """LiDAR sweeps by channel. LiDARs can be missing."""
    boxes: Sequence[AnnotatedBox] = ()
    """Annotations at the time of the key frame."""

    def __post_init__(self) -> None:
        if not self.is_key and (self.images or self.boxes):
            what = (
                f"Expected only LiDAR sweeps between key frames, got images or boxes at {self.pose.time_us}."
            )
            raise DatasetError(what, hint="Set `is_key`, or leave them out.")


class Recording(ABC):
    """One scene of a drive, whatever its format.

    Recordings are sent to other processes, so they hold paths and numbers, and open their files in `moments`.

    Args:
        name: Name of the scene: unique in the data set, and a valid file name.
        rig: The sensors. Recordings with rigs of equal names share one calibration.
        count: Expected number of key frames, for the progress bar.
        split: Split of the scene, such as `train`. None: no split.
        log: Where it was recorded, if known.
        description: Free text, for people.
        has_poses: Whether the poses of the car are known. If they are not, all poses are the identity.
    """

    def __init__(
        self,
        name: str,
        rig: CalibratedRig,
        count: int,
        *,
        split: str | None = None,
        log: RecordingLog | None = None,
        description: str = "",
        has_poses: bool = True,
    ) -> None:
        self.name, self.rig, self.count = name, rig, count
        self.split, self.log, self.description, self.has_poses = split, log, description, has_poses
        self.left_out: Counter[str] = Counter()
        """How often something was left out by `moments`, by reason. Reasons are shown to the user."""
        self.damage: tuple[str, ...] = ()
        """What is damaged as far as `moments` has read it, one sentence each. They are shown to the user."""

    @abstractmethod
    def moments(self) -> Iterator[Moment]:
        """Yield all moments in order of time, with bounded memory. It can be called again from the start.

        Raises:
            OccFeatError: The recording cannot be read.
        """

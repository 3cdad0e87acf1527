"""Problems by kind, with counts, first examples and a hint for each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from occfeat.data.source.source import DataSource

MAX_EXAMPLES = 5
"""Number of examples per kind."""

_HINTS = {
    "missing table": "Restore the file.",
    "unreadable table": "Restore the file: it is damaged, or is not what its name says.",
    "dangling token": "Correct the record, or remove the records that refer to it.",
    "impossible token": "Correct the record.",
    "impossible pose": "Correct the record.",
    "sensor not read": 'The modality of a camera is "camera", and that of a LiDAR "lidar".',
    "record left out": "Correct the record. What refers to it is left out, too.",
    "box left out": "Correct the record. The other boxes of its key frame are used.",
    "unknown category": "No box is a label. Map categories to classes, such as "
    "`--labels.categories car vehicle person pedestrian`, in fine-tuning and evaluation, too.",
    "implausible calibration": "Transforms take the frame of the sensor to that of the car, in metres: x "
    "forward, y left, z up from the ground below the rear axle. Cameras have x right, y down, z forward. "
    "Quaternions are w, x, y, z. See `occfeat view --calibration`.",
    "implausible poses": "Poses take the frame of the car to that of the map, in metres, by w, x, y, z, at "
    "the time of their key frame.",
    "implausible images": "Give the images of each camera at each key frame, or leave the camera out by "
    "`--view.cameras`. Multiply levels of 10, 12 or 14 bits by 64, 16 or 4 to fill files of 16 bits.",
    "implausible times": "Times are in microseconds, and those of key frames differ.",
    "implausible boxes": "Boxes are in the frame of the map, in metres, not in that of the car. Or the poses "
    "of the car are wrong, or those of other key frames, or the calibration of the LiDAR is wrong.",
    "singular intrinsics": "Correct the record.",
    "impossible lens": "Correct the record; the page about conventions has the models.",
    "missing LiDAR file": "Copy the LiDAR files into {root}. Fine-tuning and evaluation work without them.",
    "missing image": "Copy the images into {root}. The other cameras of their key frames are used.",
    "file outside the data folder": "Names must stay inside {root} after links are followed: mount the other "
    "disk there, or give the folder that really contains the files.",
    "damaged LiDAR file": "Restore the file.",
    "damaged image": "Restore the file.",
    "image of another size": "The tables belong to other images: restore matching tables and images.",
    "duplicate record": "Remove one of them, or give it a name or token of its own.",
    "scene in two splits": "Leave it out of one, or metrics are those of scenes that were trained on.",
    "no key frames": "Give another version, or restore its tables.",
    "no sensor": "These key frames cannot be used; leave them out of the splits.",
    "no LiDAR record": "These key frames cannot be used for pretraining.",
}
"""Default hint for each kind of problem; a data source can override it."""


@dataclass(frozen=True)
class Problem:
    """One kind of problem of a data folder."""

    kind: str
    """Such as `missing LiDAR file`, or `missing LiDAR file of LIDAR_LEFT` if the data set has several."""
    count: int
    first: tuple[str, ...]
    """The first few examples, each with file and token."""
    hint: str
    """How to solve it."""


@dataclass
class Findings:
    """Collects problems and the key frames they affect."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Number of problems by kind and LiDAR."""
    examples: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    broken_rows: set[int] = field(default_factory=set)
    """Key frames that cannot be used."""
    lost_images: dict[int, set[str]] = field(default_factory=dict)
    """Files of the images that cannot be used, by key frame."""
    hints: dict[str, str] = field(default_factory=dict)
    """Hints of problems, by kind; the first one counts. They replace usual hints, not those of the format."""
    notes: list[str] = field(default_factory=list)
    """Facts worth knowing that are not problems."""

    def add(
        self, kind: str, example: str, *, row: int | None = None, lidar: str = "", hint: str = ""
    ) -> None:
        """Add a problem, the key frame and the LiDAR it belongs to, if any, and what to do about it."""
        if hint:
            self.hints.setdefault(kind, hint)
        self.add_many(kind, 1, (example,), lidar)
        if row is not None:
            self.broken_rows.add(row)

    def add_image(self, kind: str, example: str, row: int, path: str) -> None:
        """Add a problem that costs a key frame an image."""
        self.add_many(kind, 1, (example,))
        self.lost_images.setdefault(row, set()).add(path)

    @property
    def incomplete_rows(self) -> set[int]:
        """Key frames that can be used without some camera."""
        return self.lost_images.keys() - self.broken_rows

    def add_many(self, kind: str, count: int, examples: Sequence[str], lidar: str = "") -> None:
        """Add already counted problems of one kind."""
        self.counts[kind, lidar] += count
        known = self.examples.setdefault((kind, lidar), [])
        known.extend(examples[: MAX_EXAMPLES - len(known)])

    def problems(self, source: DataSource) -> tuple[Problem, ...]:
        """Return the problems by kind, in order of discovery."""
        hints = {kind: hint.format(root=source.root) for kind, hint in _HINTS.items()}
        hints |= self.hints | dict(source.hints())
        return tuple(
            Problem(
                f"{kind} of {lidar}" if lidar else kind,
                count,
                tuple(self.examples[kind, lidar]),
                hints.get(kind, ""),
            )
            for (kind, lidar), count in self.counts.items()
        )

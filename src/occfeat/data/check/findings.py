"""What a check finds: problems by kind, with counts, first examples and a hint for each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

MAX_EXAMPLES = 5
"""Examples shown of each kind."""

_HINTS = {
    "missing table": "Extract the metadata archive again ({version}_meta).",
    "unreadable table": "Extract the metadata archive again ({version}_meta).",
    "dangling token": "Tables of different versions may have been mixed: extract {version}_meta again.",
    "impossible token": "Correct the record, or extract {version}_meta again.",
    "impossible pose": "Correct the record, or extract {version}_meta again.",
    "impossible box": "Correct the record, or extract {version}_meta again.",
    "singular intrinsics": "Correct the record, or extract {version}_meta again.",
    "missing LiDAR file": "Extract the LiDAR archives ({lidar}) into {root}. Fine-tuning and evaluation work "
    "without them.",
    "missing image": "Extract the camera archives ({camera}) into {root}.",
    "file outside the data folder": "Names must stay inside {root}, links followed: mount the other disk "
    "there, or give the folder that really holds the files.",
    "damaged LiDAR file": "Extract it again from the LiDAR archives ({lidar}).",
    "damaged image": "Extract it again from the camera archives ({camera}).",
    "image of another size": "The tables belong to other images: extract {version}_meta and the camera "
    "archives ({camera}) again.",
    "duplicate record": "Remove one of them, or extract {version}_meta again.",
    "no key frames": "Give another version, or extract {version}_meta again.",
    "no sensor": "These key frames are of no use; leave them out of the splits.",
    "no LiDAR record": "These key frames cannot be used for pretraining.",
}
_ARCHIVES = {
    "v1.0-trainval": ("v1.0-trainval01_blobs_lidar to v1.0-trainval10_blobs_lidar", "..._blobs_camera"),
    "v1.0-test": ("v1.0-test_blobs_lidar", "v1.0-test_blobs_camera"),
    "v1.0-mini": ("v1.0-mini", "v1.0-mini"),
}


@dataclass(frozen=True)
class Problem:
    """One kind of thing that is wrong with a data folder."""

    kind: str
    count: int
    first: tuple[str, ...]
    """The first few, each with file and token."""
    hint: str
    """What to do about it."""


@dataclass
class Findings:
    """Collects problems, and the key frames they spoil."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    broken_rows: set[int] = field(default_factory=set)

    def add(self, kind: str, example: str, *, row: int | None = None) -> None:
        """Note a problem, and the key frame it belongs to, if any."""
        self.add_many(kind, 1, (example,))
        if row is not None:
            self.broken_rows.add(row)

    def add_many(self, kind: str, count: int, examples: Sequence[str]) -> None:
        """Note problems of a kind that have been counted already."""
        self.counts[kind] += count
        known = self.examples.setdefault(kind, [])
        known.extend(examples[: MAX_EXAMPLES - len(known)])

    def problems(self, root: Path, version: str) -> tuple[Problem, ...]:
        """Everything found, by kind, in the order of the first discovery."""
        lidar, camera = _ARCHIVES.get(version, ("those with LiDAR", "those with cameras"))
        return tuple(
            Problem(
                kind,
                count,
                tuple(self.examples[kind]),
                _HINTS.get(kind, "").format(root=root, version=version, lidar=lidar, camera=camera),
            )
            for kind, count in self.counts.items()
        )

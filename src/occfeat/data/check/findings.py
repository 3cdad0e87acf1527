"""What a check finds: problems by kind, with counts, first examples and a hint for each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from occfeat.data.source.source import DataSource

MAX_EXAMPLES = 5
"""Examples shown of each kind."""

_HINTS = {
    "missing table": "Restore the file.",
    "unreadable table": "Restore the file: it is damaged, or not what its name says.",
    "dangling token": "Correct the record, or remove what names it.",
    "impossible token": "Correct the record.",
    "impossible pose": "Correct the record.",
    "impossible box": "Correct the record.",
    "singular intrinsics": "Correct the record.",
    "missing LiDAR file": "Copy the LiDAR files into {root}. Fine-tuning and evaluation work without them.",
    "missing image": "Copy the images into {root}.",
    "file outside the data folder": "Names must stay inside {root}, links followed: mount the other disk "
    "there, or give the folder that really holds the files.",
    "damaged LiDAR file": "Restore the file.",
    "damaged image": "Restore the file.",
    "image of another size": "The tables belong to other images: restore those that belong together.",
    "duplicate record": "Remove one of them.",
    "no key frames": "Give another version, or restore its tables.",
    "no sensor": "These key frames are of no use; leave them out of the splits.",
    "no LiDAR record": "These key frames cannot be used for pretraining.",
}
"""What to do about a kind of problem, where the data source has nothing better to say."""


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

    def problems(self, source: DataSource) -> tuple[Problem, ...]:
        """Return everything found, by kind, in the order of the first discovery."""
        hints = {kind: hint.format(root=source.root) for kind, hint in _HINTS.items()} | dict(source.hints())
        return tuple(
            Problem(kind, count, tuple(self.examples[kind]), hints.get(kind, ""))
            for kind, count in self.counts.items()
        )

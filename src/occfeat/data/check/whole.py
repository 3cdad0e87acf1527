"""Problems of a whole data set that belong to no key frame: repeated records, scenes in two splits."""

import re
from collections.abc import Iterator
from itertools import permutations

from occfeat.data.check.findings import Findings
from occfeat.data.index.index import Index

_TRAINING = re.compile("train(ing)?", re.IGNORECASE)
"""What stands in the names of splits that are trained on, such as `mini_train`."""
_HELD_OUT = re.compile("val(id(ation)?)?|eval(uation)?|test(ing)?|dev|held_?out|hold_?out", re.IGNORECASE)
"""What stands in its place in the names of splits that are not, such as `mini_val`."""


def add_whole_set(index: Index, findings: Findings) -> None:
    """Add the problems of a whole data set."""
    for kind, count, examples in index.metadata.loose_faults:
        findings.add_many(kind, count, examples)
    for split, other, scene in _shared_scenes(index):
        findings.add("scene in two splits", f"{scene} is in {split} and in {other}")


def _shared_scenes(index: Index) -> Iterator[tuple[str, str, str]]:
    """Find scenes that are in a split for training, such as `mini_train`, and in one like `mini_val`."""
    for split, other in permutations(index.splits(), 2):
        trained_on, held_out = _TRAINING.sub("/", split), _HELD_OUT.sub("/", other)
        if "/" in trained_on and trained_on.lower() == held_out.lower():
            for scene in sorted(index.scenes_of(split) & index.scenes_of(other)):
                yield split, other, scene


def notes_on_splits(index: Index) -> Iterator[str]:
    """Return a note if training would find no key frames, because the scenes of no split exist."""
    if not index.splits():
        yield "No split has key frames: name the scenes of each in a splits.json beside the tables."

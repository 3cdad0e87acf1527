"""Problems of a whole data set that belong to no key frame: repeated records, scenes in two splits."""

from collections.abc import Iterator

from occfeat.data.check.findings import Findings
from occfeat.data.index.index import Index

HELD_OUT = ("val", "valid", "validation", "test")
"""What stands in the names of splits that are not trained on, where that of training has `train`."""


def add_whole_set(index: Index, findings: Findings) -> None:
    """Add the problems of a whole data set."""
    for kind, count, examples in index.metadata.loose_faults:
        findings.add_many(kind, count, examples)
    for split, other, scene in _shared_scenes(index):
        findings.add("scene in two splits", f"{scene} is in {split} and in {other}")


def _shared_scenes(index: Index) -> Iterator[tuple[str, str, str]]:
    """Find scenes that are in a split for training, such as `mini_train`, and in one like `mini_val`."""
    for split in index.splits():
        for held_out in HELD_OUT if "train" in split else ():
            other = split.replace("train", held_out)
            for scene in sorted(index.scenes_of(split) & index.scenes_of(other)):
                yield split, other, scene

"""Splits of a nuScenes folder: the scenes of training, validation and so on.

The package contains nuScenes' official lists, in the order of nuscenes-devkit. A file `splits.json`
(`{"train": ["scene name", …], "any other name": […]}`) beside the tables or one folder above replaces them.
"""

from importlib.resources import files
from pathlib import Path

from occfeat.data.source.splits import read_splits_file

OFFICIAL = ("train", "val", "test", "mini_train", "mini_val")
"""nuScenes' official splits."""


def official_scenes(split: str) -> tuple[str, ...]:
    """Return the scene names of an official split, in nuscenes-devkit's order."""
    text = (
        files("occfeat.data.formats.nuscenes").joinpath("official_splits", f"{split}.txt").read_text("utf-8")
    )
    return tuple(text.split())


def read_splits(root: Path, version: str) -> dict[str, tuple[str, ...]]:
    """Return the scene names of every split of a data folder, from `splits.json` or the official lists.

    Raises:
        DatasetError: `splits.json` is not an object with lists of distinct scene names.
    """
    return read_own_splits(root, version) or {split: official_scenes(split) for split in OFFICIAL}


def read_own_splits(root: Path, version: str) -> dict[str, tuple[str, ...]]:
    """Return the scene names of every split of a `splits.json`; nothing without the file.

    Raises:
        DatasetError: It is not an object with lists of distinct scene names.
    """
    for path in (root / version / "splits.json", root / "splits.json"):
        if path.is_file():
            return read_splits_file(path)
    return {}

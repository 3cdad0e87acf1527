"""Splits of a nuScenes folder: which scenes belong to training, validation and so on.

The official nuScenes lists come with the package, one text file each, in the order of nuscenes-devkit. A data
folder with a file `splits.json` (`{"train": ["scene name", …], "any other name": […]}`), beside its tables or
one folder above, is divided by that file instead.
"""

from importlib.resources import files
from pathlib import Path

from occfeat.data.source.splits import read_splits_file

OFFICIAL = ("train", "val", "test", "mini_train", "mini_val")
"""nuScenes' own splits."""


def official_scenes(split: str) -> tuple[str, ...]:
    """Return the scene names of one of nuScenes' own splits, in nuscenes-devkit's order."""
    text = files("occfeat.data.nuscenes").joinpath("official_splits", f"{split}.txt").read_text("utf-8")
    return tuple(text.split())


def read_splits(root: Path, version: str) -> dict[str, tuple[str, ...]]:
    """Return the scene names of every split of a data folder: its own `splits.json`, or the official lists.

    Raises:
        DatasetError: `splits.json` is not an object of lists of different scene names.
    """
    for path in (root / version / "splits.json", root / "splits.json"):
        if path.is_file():
            return read_splits_file(path)
    return {split: official_scenes(split) for split in OFFICIAL}

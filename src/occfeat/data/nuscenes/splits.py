"""Splits: which scenes belong to training, validation and so on.

The official nuScenes lists come with the package, one text file each, in the order of nuscenes-devkit. A data
folder with a file `splits.json` (`{"train": ["scene name", …], "any other name": […]}`), beside its tables or
one folder above, is divided by that file instead.
"""

from importlib.resources import files
from pathlib import Path

import orjson

from occfeat.errors import DatasetError

OFFICIAL = ("train", "val", "test", "mini_train", "mini_val")
"""nuScenes' own splits."""

ALL = "all"
"""Name that stands for every key frame of a set."""


def official_scenes(split: str) -> tuple[str, ...]:
    """Scene names of one of nuScenes' own splits, in nuscenes-devkit's order."""
    text = files("occfeat.data.nuscenes").joinpath("official_splits", f"{split}.txt").read_text("utf-8")
    return tuple(text.split())


def read_splits(root: Path, version: str) -> dict[str, tuple[str, ...]]:
    """Scene names of every split of a data folder: its own `splits.json`, or the official lists.

    Raises:
        DatasetError: `splits.json` is not an object of lists of different scene names.
    """
    for path in (root / version / "splits.json", root / "splits.json"):
        if path.is_file():
            return _own_splits(path)
    return {split: official_scenes(split) for split in OFFICIAL}


def _own_splits(path: Path) -> dict[str, tuple[str, ...]]:
    hint = 'It must hold {"train": ["scene name", ...], "val": [...]}, with any names of splits but "all".'
    try:
        splits = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}.", hint=hint) from error
    if not isinstance(splits, dict) or ALL in splits:
        raise DatasetError(f"{path} is not an object of splits.", hint=hint)
    for split, scenes in splits.items():
        if not isinstance(scenes, list) or not all(isinstance(scene, str) for scene in scenes):
            raise DatasetError(f"{path}: split {split!r} is not a list of scene names.", hint=hint)
        if len(set(scenes)) < len(scenes):
            twice = next(scene for scene in scenes if scenes.count(scene) > 1)
            hint = "Name each scene of a split once, or its key frames would count twice."
            raise DatasetError(f"{path}: split {split!r} names {twice!r} twice.", hint=hint)
    return {split: tuple(scenes) for split, scenes in splits.items()}

"""Splits: the scenes of training, validation and so on, from a user's `splits.json`.

The file is `{"train": ["scene name", …], "any other name": […]}`.
"""

import json
from pathlib import Path
from typing import Any

from occfeat.errors import DatasetError

ALL = "all"
"""Name of the split of all key frames."""


def read_splits_file(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the scene names of every split of a `splits.json`.

    Raises:
        DatasetError: It is not an object with lists of distinct scene names.
    """
    hint = 'Write {"train": ["scene name", ...], "val": [...]}, with any names of splits except "all".'
    try:
        splits = json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_each_once)
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path} cannot be read: {error}.", hint=hint) from error
    if not isinstance(splits, dict) or ALL in splits:
        raise DatasetError(f"{path} is not an object of splits.", hint=hint)
    for split, scenes in splits.items():
        if not isinstance(scenes, list) or not all(isinstance(scene, str) for scene in scenes):
            raise DatasetError(f"{path}: split {split!r} is not a list of scene names.", hint=hint)
        if len(set(scenes)) < len(scenes):
            twice = next(scene for scene in scenes if scenes.count(scene) > 1)
            hint = "Name each scene of a split once; its key frames would count twice."
            raise DatasetError(f"{path}: split {split!r} names {twice!r} twice.", hint=hint)
    return {split: tuple(scenes) for split, scenes in splits.items()}


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; refuse a name that is given twice, of which JSON keeps the last."""
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is given twice")
    return dict(pairs)

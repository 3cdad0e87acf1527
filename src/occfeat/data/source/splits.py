"""Splits: the scenes of training, validation and so on, from a user's `splits.json`.

The file is `{"train": ["scene name", …], "any other name": […]}`.
"""

import codecs
from pathlib import Path

import orjson

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
        splits = orjson.loads(path.read_bytes().removeprefix(codecs.BOM_UTF8))
    except (OSError, orjson.JSONDecodeError) as error:
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

"""Splits: which scenes belong to training, validation and so on, as a user's `splits.json` says.

The file is `{"train": ["scene name", …], "any other name": […]}`.
"""

from pathlib import Path

import orjson

from occfeat.errors import DatasetError

ALL = "all"
"""Name that stands for every key frame of a set."""


def read_splits_file(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the scene names of every split that a `splits.json` lists.

    Raises:
        DatasetError: It is not an object of lists of different scene names.
    """
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

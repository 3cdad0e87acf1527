"""Sizes of images that the tables do not tell, from the headers of the files. Imports no torch."""

import warnings
from pathlib import Path

from PIL import Image

from occfeat.data.source.paths import resolve
from occfeat.errors import KeyFrameError


def size_on_disk(root: Path, relative: str) -> tuple[int, int]:
    """Return (height, width) of an image in pixels; (0, 0) if the file is missing or not an image.

    Args:
        root: The data folder.
        relative: Name of the file in the tables.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(resolve(root, relative)) as image:
                return image.height, image.width
    except (OSError, ValueError, SyntaxError, KeyFrameError, Image.DecompressionBombError):
        return 0, 0

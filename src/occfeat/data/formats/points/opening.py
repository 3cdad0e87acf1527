"""Errors of files that cannot be opened, the same for every kind of LiDAR file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from occfeat.errors import KeyFrameError


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Name the file when it is missing or cannot be read inside of the block.

    Raises:
        KeyFrameError: It is missing, or the system cannot read it.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise KeyFrameError(f"LiDAR file {path} is missing.") from error
    except OSError as error:
        raise KeyFrameError(f"LiDAR file {path} cannot be read: {error.strerror or error}.") from error

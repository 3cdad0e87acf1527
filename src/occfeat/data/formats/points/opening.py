"""Errors of files that cannot be opened or hold nothing, the same for every kind of LiDAR file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

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


def finite_points(path: Path, points: Float[ndarray, "P C"]) -> Float[ndarray, "Q C"]:
    """Return the points whose position, the first three columns, is finite.

    Raises:
        KeyFrameError: There are none.
    """
    finite: ndarray = points[np.isfinite(points[:, :3]).all(axis=1)]
    if not len(finite):
        raise KeyFrameError(f"LiDAR file {path} has no returns with a finite position.")
    return finite

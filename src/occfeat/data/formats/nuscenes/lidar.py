"""LiDAR files of nuScenes: five float32 per return, in the LiDAR's frame.

Axes: `P` returns.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from occfeat.errors import KeyFrameError

BYTES_PER_RETURN = 20
"""x, y, z in metres, intensity and ring number, each a little-endian float32."""

RING_COLUMN = 4
"""Column of the ring number."""

MAX_BYTES = 100_000_000
"""Largest size of a file in bytes; a sweep of nuScenes has about 700 000."""


def read_sweep(path: Path) -> Float32[ndarray, "P 5"]:
    """Read a `.pcd.bin` file: x, y, z in metres in the LiDAR's frame, intensity, ring.

    Raises:
        KeyFrameError: The file is missing, empty, of a wrong size, or contains non-finite values.
    """
    try:
        check_bytes(path, path.stat().st_size)
        values = np.fromfile(path, dtype="<f4")
    except FileNotFoundError as error:
        raise KeyFrameError(f"LiDAR file {path} is missing.") from error
    except OSError as error:
        raise KeyFrameError(f"LiDAR file {path} cannot be read: {error.strerror or error}.") from error
    check_bytes(path, values.nbytes)
    if not np.isfinite(values).all():
        share = 1 - np.isfinite(values).mean()
        raise KeyFrameError(f"LiDAR file {path} contains non-finite values ({share:.1%} of all).")
    returns: ndarray = values.astype(np.float32, copy=False).reshape(-1, 5)
    return returns


def check_bytes(path: Path, size: int) -> None:
    """Refuse a LiDAR file of an impossible size.

    Raises:
        KeyFrameError: It is empty, too large, or has an incomplete return.
    """
    if size == 0:
        raise KeyFrameError(f"LiDAR file {path} is empty.")
    if size % BYTES_PER_RETURN or size > MAX_BYTES:
        raise KeyFrameError(
            f"LiDAR file {path} has {size:,} bytes; expected a multiple of {BYTES_PER_RETURN}, "
            f"at most {MAX_BYTES:,}."
        )

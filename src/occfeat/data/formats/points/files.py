"""Read a LiDAR file according to its ending: `.bin` and `.pcd.bin`, `.pcd`, or `.npy`.

Axes: `P` returns, `C` columns.
"""

from collections.abc import Sequence
from pathlib import Path
from tokenize import TokenError

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from occfeat.data.formats.points import pcd
from occfeat.data.formats.points.floats import MAX_BYTES, WIDTHS, check_floats, read_floats
from occfeat.data.formats.points.opening import finite_points, opening
from occfeat.data.formats.points.pcd import read_pcd
from occfeat.data.source.sweep import Sweep
from occfeat.errors import KeyFrameError

MAX_COLUMNS = 100
"""Largest number of columns of a `.npy` file; more are an array that is transposed."""

_UNREADABLE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, RecursionError, SyntaxError),
    *(TypeError, ValueError, TokenError),
)
"""What a damaged header of a `.npy` file makes NumPy raise."""


def read_points_file(path: Path, widths: Sequence[int] = WIDTHS) -> Sweep:
    """Read a LiDAR file.

    Args:
        path: The file.
        widths: Possible numbers of float32 per return of a `.bin` file.

    Returns:
        x, y, z in metres in the LiDAR's frame, then any others.

    Raises:
        KeyFrameError: The file is missing or damaged, or has another ending.
    """
    ending = path.suffix.lower()
    if ending == ".npy":
        return Sweep(read_npy(path))
    if ending == ".pcd":
        points = read_pcd(path)
        return Sweep(points, ring_column=pcd.RING_COLUMN if points.shape[1] > pcd.RING_COLUMN else None)
    _require_known(path)
    return read_floats(path, widths)


def check_points_file(path: Path, size: int, widths: Sequence[int] = WIDTHS) -> None:
    """Refuse a LiDAR file of an impossible size.

    Raises:
        KeyFrameError: It is empty, too large, has an incomplete return, or another ending.
    """
    _require_known(path)
    if path.suffix.lower() == ".bin":
        check_floats(path, size, widths)
    elif not 0 < size <= MAX_BYTES:
        raise KeyFrameError(f"LiDAR file {path} has {size:,} bytes; expected 1 to {MAX_BYTES:,}.")


def read_npy(path: Path) -> Float[ndarray, "P C"]:
    """Read a `.npy` file: an array (P, C) with x, y, z in front, or one with fields x, y and z.

    Points that are not finite are left out.

    Raises:
        KeyFrameError: The file is missing, damaged or something else, or has no finite points.
    """
    try:
        with opening(path):
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"expected at most {MAX_BYTES:,} bytes, got {path.stat().st_size:,}")
            array = np.lib.format.open_memmap(path, mode="r")  # reads neither pickles nor beyond the file
            points = _coordinates(array)
    except _UNREADABLE as error:
        raise KeyFrameError(
            f"LiDAR file {path} is not a readable .npy file: {str(error).rstrip('.')}."
        ) from error
    return finite_points(path, points)


def _coordinates(array: ndarray) -> Float[ndarray, "P C"]:
    """Return the points of an array, as float64 if it has numbers of eight bytes, else float32."""
    if array.dtype.names:
        if missing := [name for name in ("x", "y", "z") if name not in array.dtype.names]:
            raise ValueError(f"expected fields x, y, z, got no {', '.join(missing)}")
        columns = [array[name].reshape(-1) for name in ("x", "y", "z")]
        if {column.dtype.kind for column in columns} - set("fiu"):
            raise ValueError(f"expected numbers, got {array.dtype}")
        array = np.stack(columns, axis=1)
    if array.ndim == 2 and array.shape[1] > MAX_COLUMNS:
        raise ValueError(f"expected returns in rows of at most {MAX_COLUMNS} numbers, got {array.shape}")
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        raise ValueError(f"expected numbers of shape (P, 3) or more columns, got {array.dtype} {array.shape}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        return np.array(array, dtype=np.float64 if array.dtype.itemsize == 8 else np.float32)


def _require_known(path: Path) -> None:
    """Refuse a file with another ending."""
    if path.suffix.lower() not in (".bin", ".pcd", ".npy"):
        hint = "Name LiDAR files .bin or .pcd.bin (float32), .pcd or .npy."
        raise KeyFrameError(f"LiDAR file {path} has an unknown ending.", hint=hint)

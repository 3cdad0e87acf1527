"""LiDAR files of plain numbers: four or five float32 per return, in the LiDAR's frame.

nuScenes has five, KITTI four. Such a file does not say which. Size and values decide: rings are whole
numbers, intensities are not negative, coordinates are not kilometres. A file whose values fit neither, or
leave it open, is refused (this project's choice).

Axes: `P` returns, `C` numbers of a return.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from occfeat.data.formats.points.opening import opening
from occfeat.errors import KeyFrameError

WIDTHS = (5, 4)
"""x, y, z in metres, intensity, and ring number; or without the ring."""

MAX_BYTES = 100_000_000
"""Largest size of a file in bytes; a sweep of nuScenes has about 700 000."""

FARTHEST_M = 10_000.0
"""Largest plausible coordinate of a return."""

RINGS = (-1, 4096)
"""Plausible ring numbers; -1 is unknown."""


def read_floats(path: Path, widths: Sequence[int] = WIDTHS) -> Float32[ndarray, "P C"]:
    """Read a file of little-endian float32.

    Args:
        path: The file.
        widths: Possible numbers of values per return.

    Returns:
        x, y, z in metres in the LiDAR's frame, then any others.

    Raises:
        KeyFrameError: The file is missing, empty, of a wrong size, has non-finite or implausible values, or
        leaves open how many values a return has.
    """
    with opening(path):
        check_floats(path, path.stat().st_size, widths)
        values = np.fromfile(path, dtype="<f4")
    check_floats(path, values.nbytes, widths)
    if not np.isfinite(values).all():
        share = 1 - np.isfinite(values).mean()
        raise KeyFrameError(f"LiDAR file {path} contains non-finite values ({share:.1%} of all).")
    returns: ndarray = _split(path, values.astype(np.float32, copy=False), widths)
    return returns


def check_floats(path: Path, size: int, widths: Sequence[int] = WIDTHS) -> None:
    """Refuse a LiDAR file of an impossible size.

    Raises:
        KeyFrameError: It is empty, too large, or has an incomplete return.
    """
    if size == 0:
        raise KeyFrameError(f"LiDAR file {path} is empty.")
    if all(size % (4 * width) for width in widths) or size > MAX_BYTES:
        multiples = " or ".join(str(4 * width) for width in widths)
        raise KeyFrameError(
            f"LiDAR file {path} has {size:,} bytes; expected a multiple of {multiples}, "
            f"at most {MAX_BYTES:,}."
        )


def _split(path: Path, values: Float32[ndarray, " n"], widths: Sequence[int]) -> Float32[ndarray, "P C"]:
    """Return values as returns of the width that fits them."""
    split = [values.reshape(-1, width) for width in widths if len(values) % width == 0]
    if certain := [returns for returns in split if _has_rings(returns)]:
        return certain[0]
    plausible = [returns for returns in split if _is_plausible(returns)]
    if len(plausible) == 1:
        return plausible[0]
    names = " or ".join(map(str, widths))
    what = "values that are implausible" if not plausible else "values that are plausible"
    hint = "Store x, y, z in metres, intensity and ring; or write .pcd files, which name their fields."
    raise KeyFrameError(f"LiDAR file {path} has {what} with {names} numbers per return.", hint=hint)


def _has_rings(returns: Float32[ndarray, "P C"]) -> bool:
    """Return whether returns have plausible coordinates, and ring numbers after the intensity."""
    if returns.shape[1] < 5 or not _is_near(returns):
        return False
    rings = returns[:, 4]
    return bool((rings == np.rint(rings)).all() and rings.min() >= RINGS[0] and rings.max() <= RINGS[1])


def _is_plausible(returns: Float32[ndarray, "P C"]) -> bool:
    """Return whether returns have plausible coordinates and intensities."""
    return _is_near(returns) and bool((returns[:, 3] >= 0).all())


def _is_near(returns: Float32[ndarray, "P C"]) -> bool:
    """Return whether all coordinates are plausible."""
    return bool(np.abs(returns[:, :3]).max() <= FARTHEST_M)

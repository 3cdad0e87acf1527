"""LiDAR files of plain numbers: four or five float32 per return, in the LiDAR's frame.

nuScenes has five, KITTI four. Such a file does not say which. Size and values decide: rings are whole
numbers, intensities are not negative, coordinates are not kilometres. A file whose values fit neither, or
leave it open, is refused (this project's choice).

Axes: `P` returns, `C` numbers of a return.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray

from occfeat.data.formats.points.opening import opening
from occfeat.data.source.sweep import Sweep
from occfeat.errors import KeyFrameError

WIDTHS = (5, 4)
"""x, y, z in metres, intensity, and ring number; or without the ring."""

RING_COLUMN = 4
"""Column of the ring number, where there are five."""

MAX_BYTES = 100_000_000
"""Largest size of a file in bytes; a sweep of nuScenes has about 700 000."""

FARTHEST_M = 10_000.0
"""Largest plausible coordinate of a return."""

MIN_FINITE = 0.5
"""Smallest share of returns with a finite position; fewer are a damaged file (this project's choice)."""

_HINT = (
    "Store float32: x, y, z in metres, intensity and ring; or write .pcd files, which name their fields. "
    "Restore the file if it is damaged."
)

RINGS = (-1, 4096)
"""Plausible ring numbers; -1 is unknown."""


def read_floats(path: Path, widths: Sequence[int] = WIDTHS) -> Sweep:
    """Read a file of little-endian float32.

    Args:
        path: The file.
        widths: Possible numbers of values per return.

    Returns:
        x, y, z in metres in the LiDAR's frame, then any others, of the returns whose position is finite.

    Raises:
        KeyFrameError: The file is missing, empty, of a wrong size, has implausible values or positions of
        which more than half are not finite, or leaves open how many values a return has.
    """
    with opening(path):
        check_floats(path, path.stat().st_size, widths)
        values = np.fromfile(path, dtype="<f4")
    check_floats(path, values.nbytes, widths)
    returns, has_rings = _split(path, values.astype(np.float32, copy=False), widths)
    if np.isfinite(returns).all():  # all numbers at once, which is ten times as fast as return by return
        return Sweep(returns, ring_column=RING_COLUMN if has_rings else None)
    finite = _are_finite(returns)
    if finite.all():
        return Sweep(returns, ring_column=RING_COLUMN if has_rings else None)
    if finite.mean() < MIN_FINITE:
        share = 1 - finite.mean()
        raise KeyFrameError(f"LiDAR file {path} has returns that are not finite ({share:.1%} of all).")
    left_out = int((~finite).sum())
    return Sweep(returns[finite], ring_column=RING_COLUMN if has_rings else None, left_out=left_out)


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
            f"at most {MAX_BYTES:,}.",
            hint=_HINT,
        )


def _split(
    path: Path, values: Float32[ndarray, " n"], widths: Sequence[int]
) -> tuple[Float32[ndarray, "P C"], bool]:
    """Return values as returns of the width that fits them, and whether these have rings."""
    split = [values.reshape(-1, width) for width in widths if len(values) % width == 0]
    if (certain := next(filter(_has_rings, split), None)) is not None:
        return certain, True
    plausible = [returns for returns in split if _is_plausible(returns)]
    if len(plausible) == 1:
        return plausible[0], False
    if not any(_are_finite(returns).any() for returns in split):
        raise KeyFrameError(f"LiDAR file {path} has returns that are not finite (100.0% of all).")
    if not plausible and _is_double(values, widths):
        hint = "Store float32, such as by `array.astype('<f4').tofile(path)`, or write .npy files."
        raise KeyFrameError(f"LiDAR file {path} holds numbers of eight bytes; expected float32.", hint=hint)
    names = " or ".join(map(str, widths))
    what = "values that are implausible" if not plausible else "values that are plausible"
    raise KeyFrameError(f"LiDAR file {path} has {what} with {names} numbers per return.", hint=_HINT)


def _is_double(values: Float32[ndarray, " n"], widths: Sequence[int]) -> bool:
    """Return whether values that make no sense are plausible as float64 of some width."""
    if len(values) % 2:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        doubles = values.view("<f8").astype(np.float32)
    split = [doubles.reshape(-1, width) for width in {*widths, 3} if len(doubles) % width == 0]
    return any(_are_finite(returns).all() and _is_near(returns) for returns in split)


def _are_finite(returns: Float32[ndarray, "P C"]) -> Bool[ndarray, " P"]:
    """Return a mask of the returns whose position is finite."""
    finite: ndarray = np.isfinite(returns[:, :3]).all(axis=1)
    return finite


def _with_position(returns: Float32[ndarray, "P C"]) -> Float32[ndarray, "Q C"]:
    """Return the returns whose position is finite."""
    return returns if np.isfinite(returns).all() else returns[_are_finite(returns)]


def _has_rings(returns: Float32[ndarray, "P C"]) -> bool:
    """Return whether returns have plausible coordinates, and rings after the intensity, or some unknown."""
    if returns.shape[1] <= RING_COLUMN:
        return False
    returns = _with_position(returns)
    if not _is_near(returns):
        return False
    rings = np.ascontiguousarray(returns[:, RING_COLUMN])
    known = np.isfinite(rings)
    if not known.all():
        rings = rings[known]
    if len(rings) < MIN_FINITE * len(returns):
        return False
    return bool((rings == np.rint(rings)).all() and rings.min() >= RINGS[0] and rings.max() <= RINGS[1])


def _is_plausible(returns: Float32[ndarray, "P C"]) -> bool:
    """Return whether returns have plausible coordinates and intensities, which may be unknown."""
    returns = _with_position(returns)
    return _is_near(returns) and not (returns[:, 3] < 0).any()


def _is_near(returns: Float32[ndarray, "P C"]) -> bool:
    """Return whether there are returns, and the coordinates of all are plausible."""
    columns = np.ascontiguousarray(returns[:, :3].T)  # the extremes of columns take a fifth of the time
    return bool(len(returns) and columns.max() <= FARTHEST_M and columns.min() >= -FARTHEST_M)

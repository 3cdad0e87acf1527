"""Which matrices are the intrinsics of a pinhole camera. Imports no torch: the index needs it, too.

Axes: `N` cameras.
"""

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray


def is_pinhole(intrinsics: Float64[ndarray, "N 3 3"]) -> Bool[ndarray, " N"]:
    """Return whether each matrix is finite, invertible and ends in the row (0, 0, 1)."""
    finite = np.isfinite(intrinsics).all(axis=(1, 2))
    safe = np.where(finite[:, None, None], intrinsics, 0)
    affine = (np.abs(safe[:, 2] - (0, 0, 1)) < 1e-6).all(axis=1)
    return finite & affine & (np.abs(np.linalg.det(safe[:, :2, :2])) > 1e-6)

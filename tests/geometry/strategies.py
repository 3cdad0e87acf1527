"""Random transforms, cameras and points for the property tests of geometry."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from occfeat.geometry.frames import from_rotation, rotation_from_quaternion


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    """Finite numbers between two bounds."""
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


def vectors(size: int, low: float, high: float) -> st.SearchStrategy[Tensor]:
    """Tensors of shape (size,) in float64."""
    return st.lists(floats(low, high), min_size=size, max_size=size).map(
        lambda values: torch.tensor(values, dtype=torch.float64)
    )


def quaternions() -> st.SearchStrategy[Tensor]:
    """Quaternions (w, x, y, z) of any length that is not close to zero."""
    return vectors(4, -2.0, 2.0).filter(lambda wxyz: float(wxyz.norm()) > 0.1)


def transforms() -> st.SearchStrategy[Tensor]:
    """Rigid transforms (4, 4) with translations of up to 100 m."""
    return st.builds(
        lambda wxyz, translation_m: from_rotation(rotation_from_quaternion(wxyz), translation_m),
        quaternions(),
        vectors(3, -100.0, 100.0),
    )


def point_clouds(low: float = -60.0, high: float = 60.0) -> st.SearchStrategy[Tensor]:
    """Up to eight points (P, 3), none included."""
    return st.lists(vectors(3, low, high), max_size=8).map(
        lambda points: torch.stack(points) if points else torch.zeros(0, 3, dtype=torch.float64)
    )


def intrinsics() -> st.SearchStrategy[Tensor]:
    """Pinhole matrices (3, 3) with focal lengths of either sign and a little skew."""
    focal = floats(50.0, 2000.0) | floats(-2000.0, -50.0)
    return st.builds(
        lambda fu, fv, skew, cu, cv: torch.tensor(
            [[fu, skew, cu], [0, fv, cv], [0, 0, 1]], dtype=torch.float64
        ),
        focal,
        focal,
        floats(-5.0, 5.0),
        floats(-100.0, 1000.0),
        floats(-100.0, 1000.0),
    )

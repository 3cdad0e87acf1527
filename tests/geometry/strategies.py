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


Made = tuple[str, tuple[float, ...]]
"""Model and coefficients, of which the test makes a `Lens`: checking its types takes random numbers."""


def brown_conrady() -> st.SearchStrategy[Made]:
    """Lenses of OpenCV's model with four, five or eight coefficients."""
    radial, tangential, beneath = floats(-0.4, 0.4), floats(-0.01, 0.01), floats(-0.05, 0.4)
    first = (radial, radial, tangential, tangential)
    parts = st.tuples(*first) | st.tuples(*first, floats(-0.1, 0.1))
    parts = parts | st.tuples(*first, floats(-0.1, 0.1), beneath, beneath, beneath)
    return st.tuples(st.just("brown_conrady"), parts)


def kannala_brandt() -> st.SearchStrategy[Made]:
    """Lenses of OpenCV's fisheye model."""
    parts = st.tuples(floats(-0.2, 0.2), floats(-0.05, 0.05), floats(-0.01, 0.01), floats(-0.002, 0.002))
    return st.tuples(st.just("kannala_brandt"), parts)


def f_theta() -> st.SearchStrategy[Made]:
    """Lenses whose radius is a polynomial of up to six powers of the angle."""
    parts = st.builds(
        lambda first, rest: (first, *rest), floats(0.5, 1.5), st.lists(floats(-0.1, 0.1), max_size=5)
    )
    return st.tuples(st.just("f_theta"), parts)


def lenses() -> st.SearchStrategy[Made]:
    """Lenses of any model."""
    return st.just(("pinhole", ())) | brown_conrady() | kannala_brandt() | f_theta()


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


def unproject(intrinsics: Tensor, pixels: Tensor, depth_m: Tensor) -> Tensor:
    """Points in the camera frame at these pixels and depths: `project` of pinholes backwards."""
    homogeneous = torch.cat((pixels, torch.ones_like(pixels[..., :1])), dim=-1)
    return torch.linalg.solve(intrinsics, homogeneous.mT).mT * depth_m[..., None]

"""The content of one LiDAR file. This module imports no torch.

Axes: `P` returns, `C` columns.
"""

from dataclasses import dataclass

from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True, eq=False)
class Sweep:
    """The returns of one LiDAR file, in the frame that the calibration of the sweep transforms."""

    points: Float[ndarray, "P C"]
    """x, y, z in metres, then any other columns."""
    origins: Float[ndarray, "P 3"] | None = None
    """Origin of each return's ray in metres, in the frame of the points. None: the origin of that frame."""
    ring_column: int | None = None
    """Column of `points` that numbers the beam of each return. None: the file does not tell."""
    left_out: int = 0
    """Number of returns of the file that are left out, because their position is not finite."""

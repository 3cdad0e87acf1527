"""Motion blur as in ImageNet-C: a one-sided streak with the weights of half a Gaussian.

Axes: `H W` pixels, last axis RGB.
"""

import math

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

_ROUNDING = 0.01
"""Added before values are truncated to integers, so that rounding errors do not darken uniform areas."""


def motion_blur(
    image: UInt8[ndarray, "H W 3"], radius: int, sigma: float, angle_deg: float
) -> UInt8[ndarray, "H W 3"]:
    """Blur an image along one direction; see `streak`."""
    blurred = streak(image.astype(np.float32), radius, sigma, angle_deg)
    blurred += _ROUNDING
    return blurred.clip(0, 255, out=blurred).astype(np.uint8)


def streak(
    values: Float32[ndarray, "H W *C"], radius: int, sigma: float, angle_deg: float
) -> Float32[ndarray, "H W *C"]:
    """Average each pixel with those behind it along a line, with decreasing weights.

    Args:
        values: Any number of channels; the border is replicated.
        radius: The line has 2 `radius` + 1 pixels.
        sigma: Standard deviation of the Gaussian of the weights, in pixels.
        angle_deg: Direction of the line: 0 to the right, 90 down.
    """
    kernel, anchor = streak_kernel(radius, sigma, angle_deg)
    blurred: ndarray = cv2.filter2D(values, -1, kernel, anchor=anchor, borderType=cv2.BORDER_REPLICATE)
    return blurred


def streak_kernel(
    radius: int, sigma: float, angle_deg: float
) -> tuple[Float32[ndarray, "h w"], tuple[int, int]]:
    """Return the kernel, which sums to 1, and (column, row) of its anchor."""
    step = np.arange(2 * radius + 1)
    weight = np.exp(-(step**2) / (2 * sigma**2))
    angle = math.radians(angle_deg)
    rows = np.ceil(step * math.sin(angle) - 0.5).astype(np.int64)
    columns = np.ceil(step * math.cos(angle) - 0.5).astype(np.int64)
    top, left = int(rows.min()), int(columns.min())
    kernel = np.zeros((int(rows.max()) - top + 1, int(columns.max()) - left + 1), dtype=np.float32)
    np.add.at(kernel, (rows - top, columns - left), weight / weight.sum())
    return kernel, (-left, -top)

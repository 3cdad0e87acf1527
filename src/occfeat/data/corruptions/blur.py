"""Motion blur as ImageNet-C defines it: a streak that fades like half a Gaussian, to one side only.

Axes: `H W` pixels, last axis RGB.
"""

import math

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

_ROUNDING = 0.01
"""Added before values are cut to whole ones, so that rounding errors do not darken even areas."""


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
    """Average each pixel with those that lie behind it in a row; the farther they are, the less they count.

    Args:
        values: Any number of channels; the border continues outwards.
        radius: The row has 2 `radius` + 1 pixels.
        sigma: Of the Gaussian that the weights follow, in pixels.
        angle_deg: Direction of the row: 0 to the right, 90 down.
    """
    kernel, anchor = streak_kernel(radius, sigma, angle_deg)
    blurred: ndarray = cv2.filter2D(values, -1, kernel, anchor=anchor, borderType=cv2.BORDER_REPLICATE)
    return blurred


def streak_kernel(
    radius: int, sigma: float, angle_deg: float
) -> tuple[Float32[ndarray, "h w"], tuple[int, int]]:
    """Return weights of the pixels around one, which add up to 1, and where that one is: (column, row)."""
    step = np.arange(2 * radius + 1)
    weight = np.exp(-(step**2) / (2 * sigma**2))
    angle = math.radians(angle_deg)
    rows = np.ceil(step * math.sin(angle) - 0.5).astype(np.int64)
    columns = np.ceil(step * math.cos(angle) - 0.5).astype(np.int64)
    top, left = int(rows.min()), int(columns.min())
    kernel = np.zeros((int(rows.max()) - top + 1, int(columns.max()) - left + 1), dtype=np.float32)
    np.add.at(kernel, (rows - top, columns - left), weight / weight.sum())
    return kernel, (-left, -top)

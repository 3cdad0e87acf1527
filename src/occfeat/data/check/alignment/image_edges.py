"""Edges of an image as a pyramid: how strong they are at each pixel, and which way they run.

A pixel has three numbers, those of a symmetric 2 x 2 matrix T: for a unit vector d in the image, d T d is the
strength of edges across d, 0 to 1, less what is usual at this height of the image. Edges are compressed, so
that a strong one counts no more than some, and blurred, so that being near an edge counts (in place of
Levinson and Thrun's distance transform, which knows no direction). What is usual is the mean of pixels to the
left and right: ground, facades and sky have more edges or fewer, which would draw all depth edges up or down.

Axes: `H W` pixels.
"""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

FOCAL_PX, WIDEST_PX = 320.0, 1000
"""Largest focal length and width to which images are resized. A pixel in the middle then spans 0.18 degrees,
which is narrower than what lies between two beams."""
LEVELS = 3
"""Levels of the pyramid; each has half the size of the one before it."""
HALF_LEVEL = 8.0
"""Grey levels per pixel of an edge that has half the strength."""
BLUR_PX = 1.0
"""Standard deviation of both blurs, before edges are taken and at each level."""
USUAL_PX = (121, 3)
"""Width and height of the window over which the usual strength is the mean."""


def pyramid(grey: UInt8[ndarray, "H W"]) -> list[Float32[ndarray, "_ _ 3"]]:
    """Return the edges of a grey image, (uu, vv, uv), the finest level first."""
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), BLUR_PX)
    along_u, along_v = (cv2.Sobel(smooth, cv2.CV_32F, *axes) / 4 for axes in ((1, 0), (0, 1)))
    size = np.hypot(along_u, along_v)
    scale = 1 / np.maximum(size * (size + HALF_LEVEL), 1e-6)
    edges: ndarray = np.stack((along_u**2 * scale, along_v**2 * scale, along_u * along_v * scale), axis=-1)
    edges = edges - cv2.blur(edges, USUAL_PX)
    levels = []
    for _ in range(LEVELS):
        levels.append(cv2.GaussianBlur(edges, (0, 0), BLUR_PX))
        height, width = edges.shape[:2]
        half = (max(width // 2, 1), max(height // 2, 1))
        edges = cv2.resize(edges, half, interpolation=cv2.INTER_AREA)
    return levels

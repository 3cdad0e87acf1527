"""Fog and snow as ImageNet-C defines them (Hendrycks and Dietterich, arXiv 1903.12261).

Axes: `H W` pixels, last axis RGB; `S` side of a fog map, a power of two.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from numpy import ndarray

from occfeat.data.corruptions.blur import streak

_ROUGHNESS = 100.0
"""Square root of the amplitude at the coarsest scale, before the fog is scaled to 0...1."""


def fog(
    image: UInt8[ndarray, "H W 3"], amount: float, heights: Float32[ndarray, "S S"]
) -> UInt8[ndarray, "H W 3"]:
    """Add fog and scale the sum to the original maximum.

    Args:
        image: RGB image.
        amount: Largest addition, for values from 0 to 1.
        heights: Density, 0 to 1; its upper left part is used.
    """
    height, width, _ = image.shape
    brightest = float(image.max()) / 255
    scale = brightest / (brightest + amount) if amount else 1.0
    added = heights[:height, :width] * np.float32(255 * amount * scale)
    foggy = image.reshape(height, 3 * width) * np.float32(scale)
    foggy += added.repeat(3, axis=1)
    return foggy.clip(0, 255, out=foggy).astype(np.uint8).reshape(image.shape)


def fog_heights(side: int, decay: float, random: np.random.Generator) -> Float32[ndarray, "S S"]:
    """Make a plasma fractal by the diamond-square algorithm on a torus, scaled to 0...1.

    Args:
        side: At least this many rows and columns; the next power of two is made.
        decay: Divides the square root of the amplitude with each halving of the step, as published.
        random: Generator of the heights.
    """
    heights = np.zeros((1, 1), dtype=np.float32)
    roughness = _ROUGHNESS
    while len(heights) < side:
        heights = _refine(heights, roughness**2, random)
        roughness /= decay
    heights -= heights.min()
    heights /= heights.max()
    return heights


def _refine(
    corner: Float32[ndarray, "S S"], amplitude: float, random: np.random.Generator
) -> Float32[ndarray, "T T"]:
    """Double rows and columns: fill the centres of squares, then those of diamonds."""

    def middle(*around: Float32[ndarray, "S S"]) -> Float32[ndarray, "S S"]:
        """Average four neighbours and add noise."""
        noise = random.random(corner.shape, dtype=np.float32)
        noise -= np.float32(0.5)
        noise *= np.float32(2 * amplitude)
        for one in around:
            noise += one * np.float32(0.25)
        return noise

    below, right = np.roll(corner, -1, axis=0), np.roll(corner, -1, axis=1)
    square = middle(corner, below, right, np.roll(below, -1, axis=1))
    finer = np.empty((2 * len(corner), 2 * len(corner)), dtype=np.float32)
    finer[::2, ::2], finer[1::2, 1::2] = corner, square
    finer[::2, 1::2] = middle(corner, right, square, np.roll(square, 1, axis=0))
    finer[1::2, ::2] = middle(corner, below, square, np.roll(square, 1, axis=1))
    return finer


def snow(
    image: UInt8[ndarray, "H W 3"], flakes: Float32[ndarray, "H W"], mix: float
) -> UInt8[ndarray, "H W 3"]:
    """Whiten an image and add flakes twice, once rotated by 180 degrees.

    Args:
        image: RGB image.
        flakes: Brightness of the flakes, 0 to 1.
        mix: Weight of the original image; the rest is the whitened one.
    """
    layer = np.rint(flakes * 255)
    layer += layer[::-1, ::-1].copy()
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    grey = red * np.float32(0.299) + green * np.float32(0.587) + blue * np.float32(0.114)
    white = grey * np.float32(1.5) + np.float32(127.5)
    snowy = np.empty_like(image)
    for channel in range(3):
        plain = image[..., channel].astype(np.float32)
        mixed = np.maximum(plain, white) * np.float32(1 - mix) + plain * np.float32(mix) + layer
        snowy[..., channel] = (mixed + np.float32(1e-3)).clip(0, 255)
    return snowy


def snow_flakes(
    size: tuple[int, int],
    mean: float,
    spread: float,
    zoom: float,
    threshold: float,
    radius: int,
    sigma: float,
    random: np.random.Generator,
) -> Float32[ndarray, "H W"]:
    """Draw falling flakes: magnified noise above a threshold, with motion blur.

    Args:
        size: (height, width) in pixels.
        mean: Mean of the noise.
        spread: Standard deviation of the noise.
        zoom: Magnification.
        threshold: Lower values become 0.
        radius: Radius of the blur, see `streak`.
        sigma: Sigma of the blur.
        random: Generator of the noise and of the direction, which is within 45 degrees of vertical.
    """
    coarse = [int(np.ceil(side / zoom)) for side in size]
    noise = mean + spread * random.standard_normal(coarse, dtype=np.float32)
    magnified = F.interpolate(
        torch.from_numpy(noise.astype(np.float32))[None, None],
        size=[round(side * zoom) for side in coarse],
        mode="bilinear",
        align_corners=True,
    )[0, 0].numpy()
    magnified[magnified < threshold] = 0
    magnified.clip(0, 1, out=magnified)
    drawn_out = streak(magnified, radius, sigma, random.uniform(-135, -45))
    return drawn_out[: size[0], : size[1]]

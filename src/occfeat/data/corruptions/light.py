"""Brightness, darkness and colour quantisation.

Brightness is ImageNet-C's; the other two are nuScenes-C's (RoboBEV, arXiv 2304.06719). All use lookup tables
over the 256 values of a byte.

Axes: `H W` pixels, last axis RGB.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

_BITS = 14
"""Bits of the random number that selects a darkened byte; probabilities are exact to half of 1/16384."""


def brighten(image: UInt8[ndarray, "H W 3"], amount: float) -> UInt8[ndarray, "H W 3"]:
    """Raise the value of HSV, at most to 1; keep hue and saturation.

    All channels of a pixel are scaled by the factor of its largest channel, the value. Black becomes grey.

    Args:
        image: RGB image.
        amount: Added to the value, 0 to 1.
    """
    value = np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])
    index = value.astype(np.uint16)[..., None] << 8 | image
    brighter: ndarray = _brighter(amount).take(index)
    return brighter


@lru_cache(maxsize=3)
def _brighter(amount: float) -> UInt8[ndarray, "65536"]:
    """Tabulate the new channel by value and channel of the old pixel."""
    value, channel = np.divmod(np.arange(1 << 16), 256)
    raised = np.minimum(value + 255 * amount, 255)
    scaled = np.where(value == 0, raised, channel * raised / np.maximum(value, 1))
    return np.floor(scaled.clip(0, 255) + 1e-6).astype(np.uint8)


def darken(
    image: UInt8[ndarray, "H W 3"],
    brightest: float,
    photons: int,
    noise: float,
    random: np.random.Generator,
) -> UInt8[ndarray, "H W 3"]:
    """Darken an image, then add shot noise and sensor noise.

    Values are stretched to 0...1 over the image, squared and scaled. Shot noise (Poisson) is applied, clipped
    at 1, and Gaussian noise is added. The result is one of 256 bytes, so both are one draw from a table.

    Args:
        image: RGB image; a constant one becomes black except for the noise.
        brightest: New value of the brightest pixel, 0 to 1.
        photons: Expected number of photons for a value of 1.
        noise: Standard deviation of the sensor noise, for values from 0 to 1.
        random: Generator of the noise.
    """
    table = _dark_table(int(image.min()), int(image.max()), brightest, photons, noise)
    index = image.astype(np.int32)
    index <<= _BITS
    index |= random.integers(1 << _BITS, size=image.shape, dtype=np.uint16)
    darker: ndarray = table.take(index)
    return darker


def _darkened(lowest: int, highest: int, brightest: float) -> Float[Tensor, "256"]:
    """Return the darkened value of each byte without noise, float64 from 0 to 1."""
    stretched = (torch.arange(256, dtype=torch.float64) - lowest) / max(1, highest - lowest)
    return stretched.clamp(0, 1) ** 2 * brightest


@lru_cache(maxsize=3)
def _dark_table(
    lowest: int, highest: int, brightest: float, photons: int, noise: float
) -> UInt8[ndarray, " n"]:
    """Tabulate the new byte by old byte and `_BITS` random bits: every byte's inverse distribution."""
    expected = _darkened(lowest, highest, brightest) * photons
    chances = _poisson(expected, photons) @ _bytes_of_counts(photons, noise)
    draws = 1 << _BITS
    below = (chances.cumsum(1) * draws).round().clamp(max=draws).long()
    below[:, -1] = draws
    repeats = below.diff(dim=1, prepend=torch.zeros(256, 1, dtype=torch.int64))
    every_byte = torch.arange(256, dtype=torch.uint8).repeat(256)
    return every_byte.repeat_interleave(repeats.flatten()).numpy()


def _poisson(expected: Float[Tensor, "256"], most: int) -> Float[Tensor, "256 counts"]:
    """Return the probability of each count of photons; the last one includes all higher counts."""
    count = torch.arange(most, dtype=torch.float64)
    chances = (torch.xlogy(count, expected[:, None]) - expected[:, None] - torch.lgamma(count + 1)).exp()
    return torch.cat((chances, (1 - chances.sum(1, keepdim=True)).clamp(min=0)), dim=1)


def _bytes_of_counts(photons: int, noise: float) -> Float[Tensor, "counts 256"]:
    """Return the probability of each byte given the photons: a clipped Gaussian."""
    value = (torch.arange(photons + 1, dtype=torch.float64) / photons)[:, None]
    edges = torch.arange(1, 256, dtype=torch.float64) / 255
    below = torch.special.ndtr((edges - value) / noise)
    return below.diff(dim=1, prepend=torch.zeros_like(value), append=torch.ones_like(value))


def posterize(image: UInt8[ndarray, "H W 3"], bits: int) -> UInt8[ndarray, "H W 3"]:
    """Keep the highest bits of every value and clear the rest.

    Args:
        image: RGB image.
        bits: Number of bits to keep, 1 to 8.
    """
    return image & np.uint8(256 - (1 << 8 - bits))

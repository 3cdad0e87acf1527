"""Noise that all textures are made of: tiles with all their smaller versions, looked up by footprint.

Axes: `N` pixels. The footprint is the size of a pixel on the surface, in metres: a texture finer than that is
averaged, so that distant ground does not flicker.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float32, Int32

TILE = 512
"""Texels along each side of a tile; a power of two."""


@dataclass(frozen=True)
class Tile:
    """A texture that repeats, with its mip levels one after the other."""

    texels: Float32[np.ndarray, " T"]
    starts: Int32[np.ndarray, " L"]
    """First texel of each level."""

    def look(
        self,
        x_m: Float32[np.ndarray, " N"],
        y_m: Float32[np.ndarray, " N"],
        texel_m: float,
        footprint_m: Float32[np.ndarray, " N"],
    ) -> Float32[np.ndarray, " N"]:
        """Return the values at surface coordinates when the finest texel is `texel_m` wide."""
        level = np.log2(np.maximum(footprint_m * np.float32(1 / texel_m), 1.0)).astype(np.int32)
        np.minimum(level, len(self.starts) - 1, out=level)
        levels = np.arange(len(self.starts), dtype=np.int32)
        scale = np.ldexp(np.float32(1 / texel_m), -levels).take(level)
        size = TILE >> level
        column = np.floor(x_m * scale).astype(np.int32) & (size - 1)
        row = np.floor(y_m * scale).astype(np.int32) & (size - 1)
        return self.texels.take(self.starts.take(level) + row * size + column)


def _make_tile(finest: Float32[np.ndarray, "S S"]) -> Tile:
    """Make a tile and its coarser levels."""
    levels, starts, start = [], [], 0
    level = finest
    while True:
        levels.append(level.ravel())
        starts.append(start)
        start += level.size
        if len(level) == 1:
            return Tile(np.concatenate(levels), np.array(starts, dtype=np.int32))
        level = (level[::2, ::2] + level[1::2, ::2] + level[::2, 1::2] + level[1::2, 1::2]) / 4


def _fractal(seed: int, coarsest: int, octaves: int, keep: float) -> Float32[np.ndarray, "S S"]:
    """Return noise in 0-1 around 0.5: octaves of smooth random values, each `keep` times the one before."""
    rng = np.random.default_rng((411, seed))
    total, weight = np.zeros((TILE, TILE)), 0.0
    for octave in range(octaves):
        cells = min(coarsest << octave, TILE)
        total += keep**octave * _smooth(rng.random((cells, cells)))
        weight += keep**octave
    total /= weight
    spread = (total - total.mean()) / (total.std() * 5.0)
    return np.clip(spread + 0.5, 0, 1).astype(np.float32)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Enlarge a grid of values to a tile, smoothly and so that it repeats."""
    cells = len(values)
    place = np.arange(TILE) * cells / TILE
    low = np.floor(place).astype(int)
    share = place - low
    share = share * share * (3 - 2 * share)
    high = (low + 1) % cells
    rows = values[low] * (1 - share)[:, None] + values[high] * share[:, None]
    return rows[:, low] * (1 - share) + rows[:, high] * share


@cache
def grain() -> Tile:
    """Return noise that is rough at every scale: asphalt, plaster, grass."""
    return _make_tile(_fractal(1, 8, 7, 0.85))


@cache
def patches() -> Tile:
    """Return noise that is soft and large: stains, wear, clouds."""
    return _make_tile(_fractal(2, 4, 6, 0.55))


@cache
def cracks() -> Tile:
    """Return cracks: 1 on thin wandering lines, 0 elsewhere."""
    field = _fractal(3, 4, 5, 0.5)
    return _make_tile((np.abs(field - 0.5) < 0.0045).astype(np.float32))


@cache
def leaves() -> Tile:
    """Return leaves: clumps with dark gaps."""
    return _make_tile(np.clip(_fractal(4, 16, 5, 0.8) * 1.6 - 0.3, 0, 1).astype(np.float32))


def scatter(*keys: Float32[np.ndarray, " N"] | np.ndarray) -> Float32[np.ndarray, " N"]:
    """Return a number in 0-1 for every combination of whole numbers: the same one every time."""
    mixed = np.zeros(np.shape(keys[0]), dtype=np.uint32)
    for key, factor in zip(keys, (374761393, 668265263, 2246822519), strict=False):
        mixed += np.asarray(key).astype(np.int64).astype(np.uint32) * np.uint32(factor)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(1274126177)
    mixed ^= mixed >> np.uint32(16)
    return (mixed & np.uint32(0xFFFF)).astype(np.float32) / np.float32(65535)


def stripe(
    position: Float32[np.ndarray, " N"],
    start: Float32[np.ndarray, " N"] | float,
    end: Float32[np.ndarray, " N"] | float,
    footprint: Float32[np.ndarray, " N"],
) -> Float32[np.ndarray, " N"]:
    """Share of a pixel of width `footprint` at `position` that lies between `start` and `end`."""
    half = footprint * np.float32(0.5)
    covered = np.minimum(position + half, end) - np.maximum(position - half, start)
    return np.clip(covered / footprint, 0, 1)


def stripes(
    position: Float32[np.ndarray, " N"],
    start: Float32[np.ndarray, " N"] | float,
    end: Float32[np.ndarray, " N"] | float,
    footprint: Float32[np.ndarray, " N"],
) -> Float32[np.ndarray, " N"]:
    """Return `stripe` for stripes that repeat with period 1."""
    half = footprint * np.float32(0.5)
    return (_filled(position + half, start, end) - _filled(position - half, start, end)) / footprint


def _filled(
    position: Float32[np.ndarray, " N"],
    start: Float32[np.ndarray, " N"] | float,
    end: Float32[np.ndarray, " N"] | float,
) -> Float32[np.ndarray, " N"]:
    """Return how much of the way from 0 to a position the repeated stripes fill."""
    whole = np.floor(position)
    return whole * (end - start) + np.clip(position - whole - start, 0, end - start)

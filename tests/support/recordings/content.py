"""Content of messages for tests: small pictures and points."""

import io

import numpy as np
from PIL import Image

POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4")])


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """A smooth coloured picture of (height, width) pixels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def jpeg(size: tuple[int, int], seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(size, seed)).save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def points(count: int, kind: np.dtype[np.void], seed: int = 0) -> np.ndarray:
    """Points within 50 m, with random values in all other fields."""
    draw = np.random.default_rng(seed)
    table = np.zeros(count, kind)
    for name in kind.names or ():
        table[name] = draw.uniform(-50, 50, count) if name in "xyz" else draw.uniform(0, 100, count)
    return table

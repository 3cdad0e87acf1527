"""nuScenes' base maps: one picture per map, ten pixels per metre, white on drivable area.

Axes: `X Y` BEV cells.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from numpy import ndarray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from occfeat.errors import DatasetError

PX_PER_M = 10
"""Resolution of every base map."""

MAX_BYTES = 1_500_000_000
"""Largest base map in bytes of pixels; nuScenes' largest has 1.2 billion."""

ONE_BYTE = ("1", "L", "P")
"""Pillow modes with one byte per pixel; the others take four."""

_STRIP_PX = 512
_WHITE = 128


@dataclass(frozen=True)
class BaseMap:
    """A base map with one bit per pixel and its origin in the lower left corner."""

    bits: UInt8[ndarray, "height bytes"]
    """Eight pixels per byte, the leftmost in the highest bit. The first row is the top one."""
    width_px: int

    def draw(
        self, layer: str, cells_from_global: Float64[ndarray, "3 3"], shape: tuple[int, int]
    ) -> Bool[ndarray, "X Y"]:
        """Return the cells whose centre is white (this project's choice); False outside the picture.

        Args:
            layer: `drivable_area`, the only layer.
            cells_from_global: Matrix from (x, y, 1) in metres to cells; the corner of cell (0, 0) is at 0.
            shape: Number of cells along x and y.
        """
        if layer != "drivable_area":
            raise ValueError(f"expected the layer drivable_area, got {layer!r}")
        x, y = np.meshgrid(*(np.arange(count) + 0.5 for count in shape), indexing="ij")
        global_from_cells = np.linalg.inv(cells_from_global)
        centers_m = np.stack((x, y), axis=-1) @ global_from_cells[:2, :2].T + global_from_cells[:2, 2]
        column, up = np.floor(centers_m * PX_PER_M).astype(np.int64).transpose(2, 0, 1)
        height_px = len(self.bits)
        inside = (column >= 0) & (column < self.width_px) & (up >= 0) & (up < height_px)
        column, row = np.where(inside, column, 0), np.where(inside, height_px - 1 - up, 0)
        white: ndarray = (self.bits[row, column >> 3] >> (7 - (column & 7)) & 1).astype(bool)
        return white & inside


@lru_cache(maxsize=16)
def read_base_map(path: Path) -> BaseMap:
    """Read a base map and cache it for the rest of the process.

    PNG can only be decoded as a whole, which temporarily takes a byte per pixel.

    Raises:
        DatasetError: The file cannot be read, is not a PNG, is truncated or has too many pixels.
    """
    try:
        # not `Image.open`, which refuses pictures as large as nuScenes' base maps
        with PngImageFile(path) as picture:
            width, height = picture.size
            if width * height * (1 if picture.mode in ONE_BYTE else 4) > MAX_BYTES:
                raise DatasetError(
                    f"Base map {path} has {width} x {height} pixels of kind {picture.mode}, which is refused."
                )
            picture.load()
            strips = [_bits(picture, top) for top in range(0, height, _STRIP_PX)]
    except (OSError, ValueError, SyntaxError, MemoryError) as error:
        hint = "Extract the metadata archive again, which contains the base maps."
        raise DatasetError(f"Base map {path} cannot be read: {error}.", hint=hint) from error
    return BaseMap(np.concatenate(strips), width)


def _bits(picture: Image.Image, top: int) -> UInt8[ndarray, "rows bytes"]:
    """Return some rows of a picture as bits, 1 for white. Only some, as an array is a copy."""
    strip = picture.crop((0, top, picture.width, min(top + _STRIP_PX, picture.height)))
    return np.packbits(np.asarray(strip.convert("L")) >= _WHITE, axis=1)

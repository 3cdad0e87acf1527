"""Pictures as data URIs, so small that many fit into one page.

Axes: `X Y` BEV cells, `X Y Z` voxels, `H W` pixels.
"""

import base64
import io
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib import colormaps
from matplotlib.colors import Normalize, to_rgb
from PIL import Image, ImageDraw, UnidentifiedImageError
from torch import Tensor

from occfeat.errors import RunError
from occfeat.geometry.grid import BevGrid
from occfeat.report.pictures.bev import for_display
from occfeat.report.pictures.palette import BACKGROUND, EGO_COLOR, PROBABILITY_COLORS, color_of

WIDEST_IMAGE_PX = 480
WIDEST_PICTURE_PX = 1600
NARROWEST_BEV_PX = 256
"""Cells are enlarged by a whole number to reach this."""
JPEG_QUALITY = 80


def image_uri(image: UInt8[Tensor, "3 H W"]) -> str:
    """Encode a camera's image as JPEG, at most `WIDEST_IMAGE_PX` wide."""
    return _jpeg_uri(Image.fromarray(image.permute(1, 2, 0).numpy()), WIDEST_IMAGE_PX)


def picture_uri(file: Path) -> str:
    """Encode a picture on disk as JPEG, at most `WIDEST_PICTURE_PX` wide.

    Raises:
        RunError: The file cannot be read.
    """
    try:
        with Image.open(file) as picture:
            return _jpeg_uri(picture.convert("RGB"), WIDEST_PICTURE_PX)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise RunError(
            f"The picture {file} cannot be read: {error}",
            hint="Draw it again.",
        ) from error


def truth_uri(
    target: Bool[Tensor, "X Y"], low_visibility: Bool[Tensor, "X Y"], class_name: str, grid: BevGrid
) -> str:
    """Draw true cells in the colour of their class, paler where visibility is low."""
    paint = np.broadcast_to(to_rgb(BACKGROUND), (*grid.shape, 3)).copy()
    color = np.array(to_rgb(color_of(class_name)))
    paint[target.numpy()] = color
    paint[(target & low_visibility).numpy()] = (color + 2 * np.array(to_rgb(BACKGROUND))) / 3
    return cells_uri(paint, grid)


def probability_uri(probability: Float[Tensor, "X Y"], target: Bool[Tensor, "X Y"], grid: BevGrid) -> str:
    """Draw probabilities from 0 (dark) to 1 (light), with a white line around the true cells."""
    paint = colormaps[PROBABILITY_COLORS](probability.float().numpy())[..., :3]
    return cells_uri(paint, grid, outlined=target.numpy())


def numbers_uri(
    values: Float[np.ndarray, "X Y"], grid: BevGrid, *, colors: str, limits: tuple[float, float]
) -> str:
    """Draw numbers by a colour map of matplotlib; NaN stays empty."""
    paint = colormaps[colors](Normalize(*limits)(np.nan_to_num(values)))[..., :3]
    paint[np.isnan(values)] = to_rgb(BACKGROUND)
    return cells_uri(paint, grid)


def cells_uri(
    paint: Float[np.ndarray, "X Y color"], grid: BevGrid, *, outlined: Bool[np.ndarray, "X Y"] | None = None
) -> str:
    """Encode colours of BEV cells as PNG, forward up, with the ego vehicle marked.

    Args:
        paint: RGB, or RGBA on the background, from 0 to 1.
        grid: Extent of the cells.
        outlined: Cells with a line around them.
    """
    rgb, alpha = paint[..., :3], paint[..., 3:]
    if alpha.shape[-1]:
        rgb = rgb * alpha + np.array(to_rgb(BACKGROUND)) * (1 - alpha)
    scale = -(-NARROWEST_BEV_PX // min(grid.shape))
    pixels = for_display((rgb * 255).round().astype(np.uint8)).repeat(scale, axis=0).repeat(scale, axis=1)
    if outlined is not None:
        pixels[_border(for_display(outlined).repeat(scale, axis=0).repeat(scale, axis=1))] = 255
    picture = Image.fromarray(pixels)
    _mark_ego(picture, grid, scale)
    return _uri(picture.quantize(128, dither=Image.Dither.NONE), "PNG", optimize=True)


def _border(inside: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Return the pixels inside that are at most two steps from the outside."""
    core = inside
    for _ in range(2):
        wide = np.pad(core, 1, mode="edge")
        core = core & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return inside & ~core


def _mark_ego(picture: Image.Image, grid: BevGrid, scale: int) -> None:
    """Draw a triangle that points ahead at the ego origin, if that is in the grid."""
    row_px = scale * grid.upper_m[0] / grid.cell_m[0]
    column_px = scale * grid.upper_m[1] / grid.cell_m[1]
    corners = [(column_px, row_px - 8), (column_px + 6, row_px + 6), (column_px - 6, row_px + 6)]
    ImageDraw.Draw(picture).polygon(corners, fill=EGO_COLOR, outline="white")


def _jpeg_uri(picture: Image.Image, widest_px: int) -> str:
    """Encode a picture as JPEG, made smaller if it is too wide."""
    if picture.width > widest_px:
        height_px = max(1, round(picture.height * widest_px / picture.width))
        picture = picture.resize((widest_px, height_px), Image.Resampling.LANCZOS)
    return _uri(picture, "JPEG", quality=JPEG_QUALITY, optimize=True)


def _uri(picture: Image.Image, kind: str, **options: bool | int) -> str:
    """Encode a picture as data URI."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"

"""Images: decoding, and resizing that equals Pillow's bit for bit."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from occfeat.errors import KeyFrameError

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded."""


def read_image(path: Path, expected_size: tuple[int, int] | None = None) -> UInt8[Tensor, "3 H W"]:
    """Decode a JPEG or PNG file to RGB.

    Args:
        path: The file.
        expected_size: (height, width) in pixels that the tables give. None: any.

    Raises:
        KeyFrameError: The file is absent, damaged, cut short, too large or of another size.
    """
    with _opened(path) as image:
        check_size(path, (image.height, image.width), expected_size)
        pixels = np.array(image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image in pixels, from its header alone.

    Raises:
        KeyFrameError: The file is absent, or is no image.
    """
    with _opened(path) as image:
        return image.height, image.width


def check_size(path: Path, size: tuple[int, int], expected_size: tuple[int, int] | None) -> None:
    """Refuse an image whose size is absurd or not what the tables say."""
    if size[0] * size[1] > MAX_PIXELS:
        raise KeyFrameError(f"Image {path} has {size[1]} x {size[0]} pixels, which is refused as too large.")
    if expected_size is not None and size != expected_size:
        raise KeyFrameError(
            f"Image {path} has {size[1]} x {size[0]} pixels; the tables say "
            f"{expected_size[1]} x {expected_size[0]}."
        )


def ends_properly(path: Path) -> bool:
    """Whether a file ends with the mark every JPEG ends with; one that does not is probably cut short."""
    with path.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(-min(2, stream.tell()), os.SEEK_END)
        return stream.read() == b"\xff\xd9"


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image file whose every failure is a `KeyFrameError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities of metadata, sizes that `check_size` judges
            with Image.open(path, formats=("JPEG", "PNG")) as image:
                yield image
    except FileNotFoundError as error:
        raise KeyFrameError(f"Image {path} is missing.") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise KeyFrameError(f"Image {path} cannot be decoded: {error}.") from error


def resize(image: UInt8[Tensor, "3 H W"], size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
    """Scale to (height, width) with the antialiased bilinear filter; the same bytes as Pillow's."""
    if tuple(image.shape[1:]) == size:
        return image.contiguous()
    # torch's uint8 kernel is fastest on channels-last memory, which is how images are decoded
    batch = image[None].contiguous(memory_format=torch.channels_last)
    resized = F.interpolate(batch, size=size, mode="bilinear", antialias=True, align_corners=False)
    return resized[0].contiguous()

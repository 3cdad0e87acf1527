"""Images: decoding and resizing, as Pillow does it at a fraction of its time."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, JpegImagePlugin
from torch import Tensor
from torch.nn import functional as F

from occfeat.errors import KeyFrameError

MAX_PIXELS = 64_000_000
"""Images of more pixels are refused before they are decoded."""

MAX_BYTES = 100_000_000
"""Image files of more bytes are refused."""

_JPEG_END = b"\xff\xd9"
_ALIGNED_AT_HALF = (0, 2)
"""Samplings of colour, 4:4:4 and 4:2:0, that decoders halve without moving colour against light."""
_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def read_image(
    path: Path,
    expected_size: tuple[int, int] | None = None,
    needed_size: tuple[int, int] | None = None,
) -> UInt8[Tensor, "3 H W"]:
    """Decode a JPEG or PNG file to RGB.

    A JPEG that is to be scaled to half its size or less is decoded at half scale, in half the time: scaled to
    nuScenes' usual sizes its pixels then differ by a third of a grey level on average, and fewer than one in
    a hundred by more than two, from those of the whole image (`benchmarks/RESULTS.md`).

    Args:
        path: The file.
        expected_size: (height, width) in pixels that the tables give. None: any.
        needed_size: Largest (height, width) that the image will be scaled to. None: decode the whole image.

    Raises:
        KeyFrameError: The file is absent, damaged, cut short, too large or of another size.
    """
    data = _read_bytes(path)
    with _opened(path, BytesIO(data)) as image:
        check_size(path, (image.height, image.width), expected_size)
        if not (image.format == "JPEG" and image.mode == "RGB" and data.endswith(_JPEG_END)):
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    # a whole colour JPEG, the common case: cv2 gives the same bytes as Pillow in a third of the time
    halved = needed_size is not None and _suffices_at_half(image, needed_size)
    flags, divisor = (_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2, 2) if halved else (_RGB, 1)  # RGB all the same
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None or pixels.shape != (image.height // divisor, image.width // divisor, 3):
        raise KeyFrameError(f"Image {path} cannot be decoded.")
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _suffices_at_half(image: Image.Image, needed_size: tuple[int, int]) -> bool:
    """Return whether half a JPEG is large enough, and its pixels coincide with those of the whole one."""
    if JpegImagePlugin.get_sampling(image) not in _ALIGNED_AT_HALF:
        return False
    sides = zip((image.height, image.width), needed_size, strict=True)
    return all(side % 2 == 0 and side >= 2 * needed for side, needed in sides)


def read_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image in pixels, from its header alone.

    Raises:
        KeyFrameError: The file is absent, or is not an image.
    """
    with _opened(path, path) as image:
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
    """Return whether a file ends with the mark of every JPEG; one that does not is probably cut short."""
    with path.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(-min(len(_JPEG_END), stream.tell()), os.SEEK_END)
        return stream.read() == _JPEG_END


def _read_bytes(path: Path) -> bytes:
    """Read an image file, every failure as a `KeyFrameError`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise KeyFrameError(f"Image {path} has more than {MAX_BYTES:,} bytes, which is refused.")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise KeyFrameError(f"Image {path} is missing.") from error
    except OSError as error:
        raise KeyFrameError(f"Image {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # a name with a null byte
        raise KeyFrameError(f"Image {str(path)!r} cannot be read: {error}.") from error


@contextmanager
def _opened(path: Path, source: Path | BytesIO) -> Iterator[Image.Image]:
    """Open an image whose every failure is a `KeyFrameError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities of metadata, sizes that `check_size` judges
            with Image.open(source, formats=("JPEG", "PNG")) as image:
                yield image
    except FileNotFoundError as error:
        raise KeyFrameError(f"Image {path} is missing.") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).replace(repr(source), "the file")
        raise KeyFrameError(f"Image {path} cannot be decoded: {reason}.") from error


def resize(image: UInt8[Tensor, "3 H W"], size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
    """Scale to (height, width) with the antialiased bilinear filter.

    As Pillow's, but for rounding: torch weighs with fewer bits, which moves less than one value in a
    thousand by 1 of 255 at the usual sizes, in a fifth of the time.
    """
    if tuple(image.shape[1:]) == size:
        return image.contiguous()
    # torch's uint8 kernel is fastest on channels-last memory, which is how images are decoded
    batch = image[None].contiguous(memory_format=torch.channels_last)
    resized = F.interpolate(batch, size=size, mode="bilinear", antialias=True, align_corners=False)
    return resized[0].contiguous()

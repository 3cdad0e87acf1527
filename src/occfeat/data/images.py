"""Decoding and resizing of images: Pillow's results in a fraction of its time."""

import os
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import UInt8, UInt16
from numpy import ndarray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from occfeat.errors import KeyFrameError

MAX_PIXELS = 64_000_000
"""Largest number of pixels; a larger image is refused before it is decoded."""

MAX_BYTES = 100_000_000
"""Largest size of an image file in bytes."""

LARGEST_LEVEL = 65_535
"""Largest level of an image of 16 bits, which becomes 255."""

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
"""Formats of image files, by Pillow's names."""

_DEEP = (b"\x89PNG", b"II*\0", b"MM\0*")
"""How files begin that may hold levels of 16 bits: PNG and TIFF."""
_JPEG_END = b"\xff\xd9"
_NO_DATA = 128
"""Level of each channel where the data of a JPEG end before the image."""
_CUT_OFF = "Image {path} is cut off: a part of it is missing, although its file has an end."
_OTHER_DATA = bytes(range(1, 128))
"""What is put behind the data of a JPEG to see whether some are missing."""
_PROGRESSIVE = 0xC2
_FRAMES = (0xC0, 0xC1, _PROGRESSIVE)
"""Markers of a JPEG's size: baseline, extended and progressive."""
_SEGMENTS = frozenset((0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)))
"""Markers of what can come before it: tables, restarts, comments, metadata."""
_ALIGNED_AT_HALF = ((0x11, 0x11, 0x11), (0x22, 0x11, 0x11))
"""Chroma subsamplings, 4:4:4 and 4:2:0, that decoders halve without shifting chroma against luma."""
_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def read_image(
    path: Path,
    expected_size: tuple[int, int] | None = None,
    needed_size: tuple[int, int] | None = None,
) -> UInt8[Tensor, "3 H W"]:
    """Decode a JPEG, PNG, BMP, TIFF or WebP file to RGB. Grey levels of 16 bits are scaled to 8.

    A JPEG that is needed at half its size or less is decoded at half scale, in half the time. At nuScenes'
    usual sizes, pixels then differ from those of the full image by a third of a grey level on average; fewer
    than one in a hundred differ by more than two (`benchmarks/RESULTS.md`).

    Args:
        path: The file.
        expected_size: (height, width) in pixels according to the tables. None: any.
        needed_size: Largest (height, width) to which the image will be resized. None: full size.

    Raises:
        KeyFrameError: The file is missing, damaged, truncated, too large or of another size.
    """
    data = _read_bytes(path)
    jpeg = _read_frame(data) if data.endswith(_JPEG_END) else None
    if jpeg is None:
        with _opened(path, BytesIO(data)) as image:
            check_size(path, (image.height, image.width), expected_size)
            rgb = _rgb(path, image)
            if image.format == "JPEG":
                _require_data(path, data, rgb[-1, -1])
            return torch.from_numpy(rgb).permute(2, 0, 1)
    # the common case, a complete colour JPEG: cv2 returns Pillow's bytes in a third of the time
    check_size(path, jpeg.size, expected_size)
    halved = needed_size is not None and _suffices_at_half(jpeg, needed_size)
    flags, divisor = (_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2, 2) if halved else (_RGB, 1)  # RGB all the same
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None or pixels.shape != (jpeg.size[0] // divisor, jpeg.size[1] // divisor, 3):
        raise KeyFrameError(f"Image {path} cannot be decoded.")
    _require_data(path, data, pixels[-1, -1])
    return torch.from_numpy(pixels).permute(2, 0, 1)


def require_whole(path: Path) -> None:
    """Refuse a progressive JPEG whose data end before the image does.

    This takes several times as long as `read_image`, which refuses other images that are cut off. Of a
    progressive one, what is missing may be details everywhere.

    Raises:
        KeyFrameError: The file is missing or cut off.
    """
    data = _read_bytes(path)
    frame = _read_frame(data)
    if frame is not None and frame.is_progressive and _is_cut_off(data):
        raise KeyFrameError(_CUT_OFF.format(path=path))


def _require_data(path: Path, data: bytes, last: UInt8[ndarray, "3"]) -> None:
    """Refuse a JPEG whose data end before the image does, if its last pixel is as decoders leave it then."""
    if (last == _NO_DATA).all() and _is_cut_off(data):
        raise KeyFrameError(_CUT_OFF.format(path=path))


def _is_cut_off(jpeg: bytes) -> bool:
    """Return whether a JPEG's data end before the image does.

    Decoders fill what is missing. If the image changes with what follows its data, some were missing.
    """
    data = jpeg[: max(0, jpeg.rfind(_JPEG_END))]
    images = []
    for content in (data + _JPEG_END, data + _OTHER_DATA + _JPEG_END):
        try:
            with Image.open(BytesIO(content), formats=("JPEG",)) as image:
                images.append(image.tobytes())
        except OSError:
            return len(images) == 1  # what follows was decoded, and is not a part of an image
    return images[0] != images[1]


def _rgb(path: Path, image: Image.Image) -> UInt8[ndarray, "H W 3"]:
    """Return an image of any mode as RGB; Pillow itself would clip grey levels of 16 bits to 255."""
    if not image.mode.startswith(("I", "F")):
        return np.array(image.convert("RGB"))
    levels = np.array(image)
    if image.mode == "F" or levels.min() < 0 or levels.max() > LARGEST_LEVEL:
        raise KeyFrameError(f"Image {path} has levels that are not whole numbers of at most 16 bits.")
    grey = ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


class _Frame(NamedTuple):
    """What the header of a colour JPEG says."""

    size: tuple[int, int]
    """Height and width in pixels."""
    sampling: tuple[int, int, int]
    """Factors of the three channels: horizontal in the upper four bits, vertical in the lower four."""
    is_progressive: bool


def _read_frame(data: bytes) -> _Frame | None:
    """Return the header of a JPEG of three channels of eight bits, in a tenth of Pillow's time.

    None: it is something else, or so odd that Pillow shall look at it.
    """
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    while at + 18 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker in _FRAMES:
            depth, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            if depth != 8 or channels != 3 or length != 17 or not height * width:
                return None
            sampling = (data[at + 11], data[at + 14], data[at + 17])
            return _Frame((height, width), sampling, marker == _PROGRESSIVE)
        is_several = marker == 0xE2 and data[at + 4 : at + 8] == b"MPF\0"  # pictures in one file
        if marker not in _SEGMENTS or length < 2 or is_several:
            return None
        at += 2 + length
    return None


def _suffices_at_half(frame: _Frame, needed_size: tuple[int, int]) -> bool:
    """Return whether a JPEG at half scale is large enough and aligned with the full image."""
    if frame.sampling not in _ALIGNED_AT_HALF:
        return False
    sides = zip(frame.size, needed_size, strict=True)
    return all(side % 2 == 0 and side >= 2 * needed for side, needed in sides)


def read_deep_levels(path: Path) -> UInt16[ndarray, "..."] | None:
    """Return the levels of a PNG or TIFF file of 16 bits as they are in it; None for any other file.

    Raises:
        KeyFrameError: The file is missing or too large.
    """
    data = _read_bytes(path)
    if not data.startswith(_DEEP) or (data.startswith(_DEEP[0]) and data[24:25] != b"\x10"):
        return None
    levels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return levels if levels is not None and levels.dtype == np.uint16 else None


def read_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image in pixels, from its header alone.

    Raises:
        KeyFrameError: The file is missing, or is not an image.
    """
    with _opened(path, path) as image:
        return image.height, image.width


def check_size(path: Path, size: tuple[int, int], expected_size: tuple[int, int] | None) -> None:
    """Refuse an image that is too large or whose size differs from the tables."""
    if size[0] * size[1] > MAX_PIXELS:
        raise KeyFrameError(f"Image {path} has {size[1]} x {size[0]} pixels, more than {MAX_PIXELS:,}.")
    if expected_size is not None and size != expected_size:
        raise KeyFrameError(
            f"Image {path} has {size[1]} x {size[0]} pixels; expected "
            f"{expected_size[1]} x {expected_size[0]} as in the tables."
        )


def ends_properly(path: Path) -> bool:
    """Return whether a file ends with the JPEG end marker; otherwise it is probably truncated."""
    with path.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(-min(len(_JPEG_END), stream.tell()), os.SEEK_END)
        return stream.read() == _JPEG_END


def _read_bytes(path: Path) -> bytes:
    """Read an image file; raise a `KeyFrameError` on any failure."""
    with _naming_errors(path):
        if path.stat().st_size > MAX_BYTES:
            raise KeyFrameError(f"Image {path} has more than {MAX_BYTES:,} bytes.")
        return path.read_bytes()


@contextmanager
def _opened(path: Path, source: Path | BytesIO) -> Iterator[Image.Image]:
    """Open an image; raise a `KeyFrameError` on any failure."""
    with _naming_errors(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata, and sizes that `check_size` checks
        with Image.open(source, formats=FORMATS) as image:
            yield image


@contextmanager
def _naming_errors(path: Path) -> Iterator[None]:
    """Turn errors of the system and of Pillow into a `KeyFrameError` that names the image."""
    name = str(path).replace("\0", "\\0")
    try:
        yield
    except FileNotFoundError as error:
        raise KeyFrameError(f"Image {name} is missing.") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise KeyFrameError(f"Image {name} cannot be read: {error.strerror}.") from error
        reason = re.sub(r"<_io\.BytesIO[^>]*>", "the file", str(error))
        raise KeyFrameError(f"Image {name} cannot be decoded: {reason}.") from error


def resize(image: UInt8[Tensor, "3 H W"], size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
    """Resize to (height, width) with the antialiased bilinear filter.

    Results are Pillow's in a fifth of the time, except for rounding: torch uses weights of fewer bits. At the
    usual sizes, fewer than one value in a thousand differ, by 1 of 255. The memory is that of decoded images,
    pixel by pixel; `with_planes` copies it.
    """
    if tuple(image.shape[1:]) == size:
        return image
    # torch's uint8 kernel is fastest on channels-last memory, the layout of decoded images
    batch = _pixels(image)[None].permute(0, 3, 1, 2)
    return F.interpolate(batch, size=size, mode="bilinear", antialias=True, align_corners=False)[0]


def _pixels(image: UInt8[Tensor, "3 H W"]) -> UInt8[Tensor, "H W 3"]:
    """Return an image on the CPU pixel by pixel; cv2 copies planes in a tenth of torch's time."""
    pixels = image.permute(1, 2, 0)
    if pixels.is_contiguous():
        return pixels
    return torch.from_numpy(cv2.merge([np.ascontiguousarray(plane) for plane in image.numpy()]))


def with_planes(image: UInt8[Tensor, "3 H W"]) -> UInt8[Tensor, "3 H W"]:
    """Return an image on the CPU in contiguous memory."""
    if image.is_contiguous():
        return image
    planes = torch.empty(image.shape, dtype=torch.uint8)
    write_planes(image, planes)
    return planes


def write_planes(image: UInt8[Tensor, "3 H W"], planes: UInt8[Tensor, "3 H W"]) -> None:
    """Copy an image on the CPU into contiguous memory.

    The pixels of a decoded image are copied by cv2, in a fifth of torch's time. Those of a part of it are
    brought together first: cv2 takes seven times as long for rows that lie apart.
    """
    pixels = image.permute(1, 2, 0)
    if image.numel() and pixels.stride()[1:] == (3, 1):
        cv2.split(np.ascontiguousarray(pixels.numpy()), list(planes.numpy()))
    else:
        planes.copy_(image)

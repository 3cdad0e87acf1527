"""Images of a bag: compressed ones stay as they are, others become RGB.

Axes: `H` rows, `W` columns.
"""

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray
from PIL import Image

from occfeat.data.recordings.bags.messages import Header, Message, header_of
from occfeat.errors import MessageError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE_KINDS = (IMAGE, COMPRESSED_IMAGE)
MAX_PIXELS = 64_000_000
"""Largest number of pixels of an image; a larger one is refused before it is decoded."""
DISTANCES = "holds distances, not a picture"
"""What is said about depth images."""
_DEPTH = "Only pictures are read. Name a topic of colour or grey images."
_BAYER = {
    "rggb": cv2.COLOR_BayerRGGB2RGB,
    "bggr": cv2.COLOR_BayerBGGR2RGB,
    "gbrg": cv2.COLOR_BayerGBRG2RGB,
    "grbg": cv2.COLOR_BayerGRBG2RGB,
}
_YUV = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUYV,
    "yuyv": cv2.COLOR_YUV2RGB_YUYV,
}
_DEPTH_ENCODINGS = ("16uc1", "32fc1", "16sc1", "32sc1", "64fc1")


@dataclass(frozen=True, eq=False)
class BagImage:
    """One image of a bag."""

    header: Header
    size: tuple[int, int]
    """(height, width) in pixels."""
    content: bytes | UInt8[ndarray, "H W 3"]
    """The bytes of a JPEG or PNG file as recorded, or RGB pixels."""


def read_image(message: Message) -> BagImage:
    """Return the image of a message.

    A JPEG or PNG of eight bits per channel is not decoded. Its bytes are kept if they are the picture itself,
    and not a Bayer pattern or an image with red and blue exchanged.

    Raises:
        MessageError: The message is damaged, or its encoding is not one of a picture.
    """
    if message.kind not in IMAGE_KINDS:
        raise MessageError(f"{message}: expected an image, got a {message.kind}.")
    value = message.decode()
    with message.naming_errors():
        try:
            if message.kind == COMPRESSED_IMAGE:
                return _read_compressed(value)
            pixels = _read_raw(value)
            return BagImage(header_of(value), (pixels.shape[0], pixels.shape[1]), pixels)
        except cv2.error as error:
            raise MessageError(f"The image cannot be decoded: {error.err}.") from error


def _read_compressed(value: Any) -> BagImage:
    """Return the image of a decoded CompressedImage.

    The format is `jpeg` or `png`, or as image_transport writes it: `bgr8; jpeg compressed bgr8`, the encoding
    of the camera, the file, and the encoding of the pixels that were given to OpenCV for compression.
    """
    form = str(value.format).lower()
    if "compresseddepth" in form:
        raise MessageError(f"compressedDepth {DISTANCES}.", hint=_DEPTH)
    data = value.data.tobytes()
    size, kind, mode = _look_into(data)
    camera, _, target = (part.strip() for part in form.partition(";"))
    if camera.startswith(_DEPTH_ENCODINGS):
        raise MessageError(f"An image of encoding {camera} {DISTANCES}.", hint=_DEPTH)
    bayer = re.fullmatch(r"bayer_([rgb]{4})(8|16)", camera)
    is_swapped = re.search(r"compressed rgb(8|16)", target) is not None
    if kind in ("JPEG", "PNG") and mode in ("RGB", "L") and not (bayer and mode == "L") and not is_swapped:
        return BagImage(header_of(value), size, data)
    pixels = _decode_file(data, bayer=bayer.group(1) if bayer else "")
    pixels = np.ascontiguousarray(pixels[..., ::-1]) if is_swapped else pixels
    return BagImage(header_of(value), (pixels.shape[0], pixels.shape[1]), pixels)


def _look_into(data: bytes) -> tuple[tuple[int, int], str, str]:
    """Return (height, width), format and mode of an image file from its header alone.

    Raises:
        MessageError: It is not an image, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata, and sizes that are checked below
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "BMP", "TIFF", "WEBP")) as image:
                size, kind, mode = (image.height, image.width), str(image.format), image.mode
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = re.sub(r" <_io\.BytesIO[^>]*>", "", str(error))
        raise MessageError(f"Its {len(data)} bytes are not an image file: {reason}.") from error
    _check_size(*size)
    return size, kind, mode


def _decode_file(data: bytes, *, bayer: str) -> UInt8[ndarray, "H W 3"]:
    """Return the RGB pixels of an image file, with the colours of a Bayer pattern filled in."""
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    flags |= cv2.IMREAD_GRAYSCALE if bayer else cv2.IMREAD_COLOR_RGB
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise MessageError("The image file is damaged, or of a kind that is not read.")
    pixels = _to_eight_bits(np.asarray(pixels))
    return np.asarray(cv2.cvtColor(pixels, _BAYER[bayer])) if bayer in _BAYER else pixels


def _read_raw(value: Any) -> UInt8[ndarray, "H W 3"]:
    """Return the RGB pixels of a decoded Image."""
    encoding = str(value.encoding).lower().strip()
    if encoding in _DEPTH_ENCODINGS:
        raise MessageError(f"An image of encoding {encoding} {DISTANCES}.", hint=_DEPTH)
    _check_size(value.height, value.width)
    if encoding in _YUV:
        if value.width % 2:
            raise MessageError(f"Encoding {encoding} needs an even width, got {value.width}.")
        return np.asarray(cv2.cvtColor(_rows(value, 2, np.dtype("u1")), _YUV[encoding]))
    layout, depth = _layout_of(encoding)
    channels = {"mono": 1, "bgr": 3, "rgb": 3, "bgra": 4, "rgba": 4}.get(layout, 1)
    kind = np.dtype("u1") if depth == 8 else np.dtype(">u2" if value.is_bigendian else "<u2")
    pixels = _to_eight_bits(_rows(value, channels, kind))
    return _TO_RGB[layout](pixels) if layout in _TO_RGB else np.asarray(cv2.cvtColor(pixels, _BAYER[layout]))


_TO_RGB: dict[str, Callable[[ndarray], ndarray]] = {
    "mono": lambda pixels: np.repeat(pixels, 3, axis=2),
    "rgb": np.ascontiguousarray,
    "bgr": lambda pixels: np.ascontiguousarray(pixels[..., ::-1]),
    "rgba": lambda pixels: np.ascontiguousarray(pixels[..., :3]),
    "bgra": lambda pixels: np.ascontiguousarray(pixels[..., 2::-1]),
}
_GENERIC = {"8uc1": "mono8", "8uc3": "bgr8", "8uc4": "bgra8"}
"""Encodings of OpenCV that do not name colours; its order of channels is assumed."""


def _layout_of(encoding: str) -> tuple[str, int]:
    """Return the layout of an encoding, `rgb` or `rggb` for example, and its bits per channel.

    Raises:
        MessageError: It is not known.
    """
    match = re.fullmatch(
        r"(mono|bgra?|rgba?|bayer_(?:rggb|bggr|gbrg|grbg))(8|16)", _GENERIC.get(encoding, encoding)
    )
    if match is None:
        known = "Known are mono, rgb, bgr, rgba, bgra and bayer_* of 8 or 16 bits, and yuv422, yuyv and uyvy."
        raise MessageError(f"Images of encoding {encoding[:40]!r} are not read.", hint=known)
    return match.group(1).removeprefix("bayer_"), int(match.group(2))


def _rows(value: Any, channels: int, kind: np.dtype[Any]) -> Shaped[ndarray, "H W C"]:
    """Return the pixels of a decoded Image without the padding at the end of its rows.

    Raises:
        MessageError: The message has fewer bytes than its size needs.
    """
    height, width, step = value.height, value.width, value.step
    needed = width * channels * kind.itemsize
    if step < needed or value.data.size < step * (height - 1) + needed:
        raise MessageError(
            f"An image of {width} x {height} pixels, {value.encoding}, needs rows of {needed} bytes; got "
            f"{value.data.size} bytes in rows of {step}."
        )
    data = np.ascontiguousarray(value.data)
    rows = np.lib.stride_tricks.as_strided(data, (height, needed), (step, 1), writeable=False)
    return np.ascontiguousarray(rows).view(kind).reshape(height, width, channels)


def _to_eight_bits(pixels: ndarray) -> ndarray:
    """Return pixels of 16 bits without their lower eight."""
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)


def _check_size(height: int, width: int) -> None:
    """Refuse an image without pixels, and one with too many."""
    if not 0 < height * width <= MAX_PIXELS:
        raise MessageError(f"An image of {width} x {height} pixels; expected 1 to {MAX_PIXELS:,} in all.")

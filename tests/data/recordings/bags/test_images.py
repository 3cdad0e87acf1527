"""Images: kept byte for byte, or decoded to the same colours from every encoding."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.images import BagImage, read_image
from occfeat.errors import MessageError
from tests.support.recordings.bag_writer import FORMS, BagFile, Form
from tests.support.recordings.content import jpeg, picture

SIZE = (12, 16)
RGB = picture(SIZE)


def through_bag(path: Path, make: Callable[[BagFile], Any], kind: str, form: Form = "mcap") -> BagImage:
    with BagFile(path, form) as bag:
        bag.write("/cam/image", kind, 7, make(bag))
    with open_bag([bag.path]) as opened:
        (message,) = opened.messages(["/cam/image"])
        return read_image(message)


def raw(
    path: Path, encoding: str, pixels: np.ndarray, *, step: int = 0, big: bool = False, form: Form = "mcap"
) -> BagImage:
    """An Image of pixels as they lie in memory, with padded rows if `step` says so."""
    rows = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1).view(np.uint8)
    padded = np.full((rows.shape[0], step or rows.shape[1]), 77, np.uint8)
    padded[:, : rows.shape[1]] = rows
    size = (pixels.shape[0], pixels.shape[1])

    def make(bag: BagFile) -> Any:
        return bag.image(1_000_000, "cam", size, encoding, padded.tobytes(), padded.shape[1], big=big)

    return through_bag(path, make, "sensor_msgs/msg/Image", form)


def file(path: Path, data: bytes, form: str) -> BagImage:
    return through_bag(
        path, lambda bag: bag.compressed(1_000_000, "/cam", data, form), "sensor_msgs/msg/CompressedImage"
    )


def png(pixels: np.ndarray) -> bytes:
    """A PNG of RGB, grey or 16-bit pixels."""
    return cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1].tobytes()


ENCODINGS: dict[str, np.ndarray] = {
    "rgb8": RGB,
    "bgr8": RGB[..., ::-1],
    "8UC3": RGB[..., ::-1],
    "rgba8": np.dstack((RGB, np.full(SIZE, 9, np.uint8))),
    "bgra8": np.dstack((RGB[..., ::-1], np.full(SIZE, 9, np.uint8))),
    "rgb16": RGB.astype("<u2") * 256 + 200,
    "bgr16": RGB[..., ::-1].astype("<u2") * 256,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_colour__is_the_same_in_every_encoding(tmp_path: Path, encoding: str, form: Form) -> None:
    image = raw(tmp_path / "bag", encoding, ENCODINGS[encoding], form=form)
    np.testing.assert_array_equal(np.asarray(image.content), RGB)
    assert (image.size, image.header.time_us, image.header.frame) == (SIZE, 1_000_000, "cam")


@pytest.mark.parametrize("encoding", ["mono8", "8UC1", "mono16"])
def test_grey__is_repeated_three_times(tmp_path: Path, encoding: str) -> None:
    grey = RGB[..., 0]
    pixels = grey.astype("<u2") * 256 + 77 if encoding == "mono16" else grey
    image = raw(tmp_path / "bag", encoding, pixels[..., None])
    np.testing.assert_array_equal(np.asarray(image.content), np.dstack((grey, grey, grey)))


def test_padding_of_rows_and_byte_order__are_respected(tmp_path: Path) -> None:
    image = raw(tmp_path / "a", "rgb8", RGB, step=3 * SIZE[1] + 5)
    np.testing.assert_array_equal(np.asarray(image.content), RGB)
    image = raw(
        tmp_path / "b", "rgb16", (RGB * np.uint16(256) + 3).astype(">u2"), step=6 * SIZE[1] + 4, big=True
    )
    np.testing.assert_array_equal(np.asarray(image.content), RGB)


PATTERNS = {
    "rggb": ((0, 1), (1, 2)),
    "bggr": ((2, 1), (1, 0)),
    "gbrg": ((1, 2), (0, 1)),
    "grbg": ((1, 0), (2, 1)),
}
"""The channel of each pixel of a block of two by two."""


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", PATTERNS)
def test_bayer__gives_back_a_smooth_picture(tmp_path: Path, name: str, bits: int) -> None:
    size = (40, 60)
    smooth = np.stack(
        np.broadcast_arrays(np.linspace(20, 90, 60), np.linspace(200, 120, 40)[:, None], 50.0), axis=-1
    ).astype(np.uint8)
    mosaic = np.empty(size, np.uint8)
    for row in range(2):
        for column in range(2):
            mosaic[row::2, column::2] = smooth[row::2, column::2, PATTERNS[name][row][column]]
    pixels = mosaic[..., None] if bits == 8 else mosaic[..., None].astype("<u2") * 256
    image = raw(tmp_path / "bag", f"bayer_{name}{bits}", pixels)
    error = np.abs(np.asarray(image.content).astype(int) - smooth)[2:-2, 2:-2]
    assert error.max() <= 4
    compressed = file(tmp_path / "png", png(mosaic), f"bayer_{name}8; png compressed ")
    error = np.abs(np.asarray(compressed.content).astype(int) - smooth)[2:-2, 2:-2]
    assert error.max() <= 4


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuyv", "yuv422_yuy2"])
def test_yuv__gives_the_colours_of_its_standard(tmp_path: Path, encoding: str) -> None:
    # BT.601, video range: red is Y 81, U 90, V 240; grey is Y 126, U 128, V 128
    red, grey = (81, 90, 81, 240), (126, 128, 126, 128)
    pair = np.array((red, grey), np.uint8)  # Y U Y V
    if encoding in ("yuv422", "uyvy"):
        pair = pair[:, [1, 0, 3, 2]]
    image = raw(tmp_path / "bag", encoding, np.tile(pair.reshape(1, 4, 2), (3, 1, 1)), step=12)
    pixels = np.asarray(image.content).astype(int)
    assert image.size == (3, 4)
    assert np.abs(pixels[:, :2] - (255, 0, 0)).max() <= 3
    assert np.abs(pixels[:, 2:] - 128).max() <= 3


@pytest.mark.parametrize(
    "form", ["jpeg", "JPG", "bgr8; jpeg compressed bgr8", "rgb8; jpeg compressed bgr8", ""]
)
def test_jpeg__is_kept_byte_for_byte(tmp_path: Path, form: str) -> None:
    image = file(tmp_path / "bag", jpeg(SIZE), form)
    assert image.content == jpeg(SIZE)
    assert (image.size, image.header.frame) == (SIZE, "cam")


def test_png__is_kept_byte_for_byte_if_it_is_a_picture(tmp_path: Path) -> None:
    assert file(tmp_path / "a", png(RGB), "rgb8; png compressed bgr8").content == png(RGB)
    deep = png(RGB.astype(np.uint16) * 256 + 1)
    assert file(tmp_path / "b", deep, "rgb16; png compressed bgr16").content == deep
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(deep)).convert("RGB")), RGB)
    grey = file(tmp_path / "c", png(RGB[..., 0].astype(np.uint16) * 256), "mono16; png compressed ")
    np.testing.assert_array_equal(np.asarray(grey.content), np.repeat(RGB[..., :1], 3, axis=2))


def test_jpeg_with_red_and_blue_exchanged__is_put_right(tmp_path: Path) -> None:
    # image_transport gives OpenCV the pixels as they are, and OpenCV takes the first channel for blue
    wrong = cv2.imencode(".png", RGB)[1].tobytes()
    image = file(tmp_path / "bag", wrong, "rgb8; png compressed rgb8")
    np.testing.assert_array_equal(np.asarray(image.content), RGB)


def test_other_files__are_decoded(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, format="WEBP", lossless=True)
    image = file(tmp_path / "bag", buffer.getvalue(), "webp")
    np.testing.assert_array_equal(np.asarray(image.content), RGB)


@pytest.mark.parametrize(
    ("form", "data", "message"),
    [
        ("16UC1; compressedDepth png", b"", "compressedDepth holds distances"),
        ("16UC1; png compressed ", png(RGB[..., 0].astype(np.uint16)), "16uc1 holds distances"),
        ("jpeg", b"", "0 bytes are not an image file"),
        ("jpeg", b"hello", "5 bytes are not an image file"),
        ("bayer_rggb8; jpeg compressed mono8", png(RGB[..., 0])[:60], "damaged"),
    ],
)
def test_what_is_not_a_picture__is_refused_by_name(
    tmp_path: Path, form: str, data: bytes, message: str
) -> None:
    with pytest.raises(MessageError, match=message):
        file(tmp_path / "bag", data, form)


@pytest.mark.parametrize(
    ("encoding", "size", "step", "count", "message"),
    [
        ("32FC1", (2, 2), 8, 16, "holds distances"),
        ("nv12", (2, 2), 2, 6, "encoding 'nv12' are not read"),
        ("rgb8", (2, 2), 5, 10, "needs rows of 6 bytes; got 10 bytes in rows of 5"),
        ("rgb8", (2, 2), 6, 11, "got 11 bytes"),
        ("rgb8", (0, 2), 6, 0, "2 x 0 pixels"),
        ("rgb8", (2**31, 2**31), 2**31, 12, "pixels; expected 1 to"),
        ("yuyv", (2, 3), 6, 12, "even width"),
        ("mono8", (2, 2), 2**32 - 1, 4, "rows of 4294967295"),
    ],
)
def test_impossible_image__is_refused(
    tmp_path: Path, encoding: str, size: tuple[int, int], step: int, count: int, message: str
) -> None:
    with pytest.raises(MessageError, match=message):
        through_bag(
            tmp_path / "bag",
            lambda bag: bag.image(0, "cam", size, encoding, bytes(count), step),
            "sensor_msgs/msg/Image",
        )

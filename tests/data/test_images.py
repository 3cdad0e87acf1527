import io
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from occfeat.data.images import (
    MAX_PIXELS,
    _read_frame,
    ends_properly,
    read_deep_levels,
    read_image,
    read_size,
    require_whole,
    resize,
    with_planes,
)
from occfeat.errors import KeyFrameError


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(
        0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8
    )
    return Image.fromarray(coarse).resize((width, height))


def as_array(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(90, 160), (37, 51), (1, 1)])
def test_read_image__equals_pillow(
    tmp_path: Path, size: tuple[int, int], subsampling: int, progressive: bool
) -> None:
    path = tmp_path / "a.jpg"
    picture(*size).save(path, quality=80, subsampling=subsampling, progressive=progressive)
    np.testing.assert_array_equal(as_array(read_image(path, size)), np.asarray(Image.open(path)))
    assert read_size(path) == size
    assert ends_properly(path)


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_read_image__at_half_scale_is_close_and_pillows(
    tmp_path: Path, subsampling: int, progressive: bool
) -> None:
    path = tmp_path / "a.jpg"
    picture(900, 1600).save(path, quality=90, subsampling=subsampling, progressive=progressive)
    whole, half = read_image(path), read_image(path, (900, 1600), (224, 400))
    assert half.shape == (3, 450, 800)
    # colours at random every eight pixels: far harder than what cameras see
    assert _difference(resize(half, (224, 400)), resize(whole, (224, 400))).mean() < 1.5
    decoded_small = Image.open(path)
    decoded_small.draft("RGB", (800, 450))
    np.testing.assert_array_equal(as_array(half), np.asarray(decoded_small))  # the same bits as Pillow's


def _difference(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (one.float() - other.float()).abs()


@pytest.mark.parametrize(
    ("size", "needed", "decoded"),
    [
        ((90, 160), (45, 80), (45, 80)),
        ((90, 160), (46, 80), (90, 160)),
        ((90, 160), (45, 81), (90, 160)),
        ((91, 160), (40, 70), (91, 160)),
        ((90, 160), None, (90, 160)),
    ],
)
def test_read_image__is_halved_only_where_enough_is_left(
    tmp_path: Path, size: tuple[int, int], needed: tuple[int, int] | None, decoded: tuple[int, int]
) -> None:
    path = tmp_path / "a.jpg"
    picture(*size).save(path)
    assert read_image(path, size, needed).shape[1:] == decoded


@pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.jpg", {"subsampling": 1})])
def test_read_image__other_formats_are_never_halved(
    tmp_path: Path, name: str, options: dict[str, int]
) -> None:
    picture(90, 160).save(tmp_path / name, **options)
    assert read_image(tmp_path / name, None, (10, 10)).shape[1:] == (90, 160)


@pytest.mark.parametrize(("mode", "suffix"), [("L", "jpg"), ("CMYK", "jpg"), ("RGBA", "png"), ("P", "png")])
def test_read_image__other_modes(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    picture(20, 30).convert(mode).save(path)
    expected = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(as_array(read_image(path)), expected)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_read_image__grey_levels_of_16_bits_are_scaled(tmp_path: Path, ending: str) -> None:
    """A ramp from black to white stays one: each level is the nearest of 8 bits."""
    levels = np.linspace(0, 65_535, 256).round().astype(np.uint16)[None].repeat(8, 0)
    path = tmp_path / f"a.{ending}"
    Image.fromarray(levels).save(path)
    read = as_array(read_image(path, (8, 256)))
    np.testing.assert_array_equal(
        read, np.arange(256, dtype=np.uint8)[None, :, None].repeat(8, 0).repeat(3, 2)
    )


def test_read_image__levels_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)).save(tmp_path / "a.tif")
    with pytest.raises(KeyFrameError, match="at most 16 bits"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("ending", ["bmp", "tif", "webp"])
def test_read_image__further_formats(tmp_path: Path, ending: str) -> None:
    path, image = tmp_path / f"a.{ending}", picture(40, 64)
    image.save(path, lossless=True)
    assert read_size(path) == (40, 64)
    np.testing.assert_array_equal(as_array(read_image(path)), np.asarray(image))


def test_read_image__several_pictures_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture(40, 64).save(path, "MPO", save_all=True, append_images=[picture(40, 64, 1)])
    with Image.open(path) as image:
        np.testing.assert_array_equal(as_array(read_image(path)), np.asarray(image))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged metadata
def test_header_of_a_jpeg__says_what_pillow_reads_however_damaged() -> None:
    stream, draw, same = io.BytesIO(), random.Random(0), 0
    exif = Image.Exif()
    exif[0x010E] = "a description"
    picture(40, 64).save(stream, "JPEG", exif=exif, comment=b"a remark", subsampling=2)
    whole = stream.getvalue()
    assert _read_frame(whole) == ((40, 64), (0x22, 0x11, 0x11), False)
    for _ in range(2000):
        spoiled = bytearray(whole)
        for _ in range(draw.choice((1, 2, 5))):
            spoiled[draw.randrange(700)] = draw.choice(
                (0, 1, 17, 0x11, 0xC0, 0xC2, 0xFF, draw.randrange(256))
            )
        frame = _read_frame(bytes(spoiled))
        if frame is None:
            continue
        try:
            with Image.open(io.BytesIO(spoiled), formats=("JPEG",)) as image:
                assert (image.height, image.width) == frame.size
                same += image.mode == "RGB"
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue
    assert same > 1000


def test_read_image__bytes_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture(20, 30).save(path)
    expected = read_image(path)
    path.write_bytes(path.read_bytes() + b"\0" * 16)
    torch.testing.assert_close(read_image(path), expected)
    assert not ends_properly(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_read_image__cut_short(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.jpg"
    picture(90, 160).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert not ends_properly(path)
    with pytest.raises(KeyFrameError, match=r"a\.jpg cannot be decoded"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"GIF89a" + b"\0" * 40, b"x" * 1000])
def test_read_image__no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(KeyFrameError, match=r"a\.jpg cannot be decoded: .*the file") as caught:
        read_image(path)
    assert "BytesIO" not in str(caught.value)
    with pytest.raises(KeyFrameError):
        read_size(path)


def test_read_image__other_size(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture(90, 160).save(path)
    with pytest.raises(KeyFrameError, match="has 160 x 90 pixels; expected 100 x 90"):
        read_image(path, (90, 100))


def test_read_image__missing(tmp_path: Path) -> None:
    for read in (read_image, read_size):
        with pytest.raises(KeyFrameError, match="is missing"):
            read(tmp_path / "a.jpg")
    with pytest.raises(KeyFrameError, match="cannot be read"):
        read_image(tmp_path)


def test_read_image__bomb(tmp_path: Path) -> None:
    """A small file that would unpack to gigabytes is refused by its header."""
    side = int(MAX_PIXELS**0.5) + 1
    stream = io.BytesIO()
    Image.new("1", (side, side)).save(stream, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(stream.getvalue())
    with pytest.raises(KeyFrameError, match="more than 64,000,000"):
        read_image(path)


def test_resize__halves_like_pillow_bit_for_bit() -> None:
    image = picture(900, 1600)
    expected = np.asarray(image.resize((800, 450), Image.Resampling.BILINEAR))
    ours = resize(torch.from_numpy(np.array(image)).permute(2, 0, 1), (450, 800))
    np.testing.assert_array_equal(as_array(ours), expected)


@pytest.mark.parametrize("size", [(20, 41), (60, 99), (90, 160)])
def test_resize__planes_and_pixels_give_torchs_plain_result_bit_for_bit(size: tuple[int, int]) -> None:
    planes = torch.randint(0, 256, (3, 90, 160), dtype=torch.uint8)
    pixels = planes.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    every_second = torch.stack((planes, planes), dim=-1)[..., 0]
    plain = F.interpolate(planes[None], size=size, mode="bilinear", antialias=True)[0]
    for image in (planes, pixels, every_second):
        assert torch.equal(resize(image, size), plain)


@pytest.mark.parametrize(
    "part",
    [
        (slice(0, 9), slice(0, 16)),
        (slice(2, 7), slice(3, 14)),
        (slice(2, 3), slice(0, 16)),
        (slice(0, 9), slice(5, 6)),
        (slice(1, 2), slice(1, 2)),
        (slice(4, 4), slice(0, 3)),
    ],
)
def test_with_planes__copies_what_is_not_contiguous(part: tuple[slice, slice]) -> None:
    planes = torch.randint(0, 256, (3, 9, 16), dtype=torch.uint8)
    pixels = planes.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    for image in (planes[:, *part], pixels[:, *part], pixels.flip(-1)[:, *part], pixels[..., ::2][:, *part]):
        copied = with_planes(image)
        assert copied.is_contiguous()
        assert torch.equal(copied, image)
    assert with_planes(planes) is planes


@pytest.mark.parametrize("size", [(224, 400), (224, 392), (448, 800), (1000, 1700), (30, 1600), (7, 5)])
def test_resize__like_pillow_but_for_rounding(size: tuple[int, int]) -> None:
    image = picture(900, 1600, seed=1)
    expected = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    ours = as_array(resize(torch.from_numpy(np.array(image)).permute(2, 0, 1), size)).astype(int)
    assert np.abs(ours - expected).max() <= 1
    if size[0] < 900:
        assert (ours != expected).mean() < 2e-3


def test_resize__same_size_is_the_same() -> None:
    image = torch.randint(0, 256, (3, 9, 16), dtype=torch.uint8)
    torch.testing.assert_close(resize(image, (9, 16)), image)


@pytest.mark.data
def test_real_image_equals_pillow(nuscenes_root: Path) -> None:
    path = next((nuscenes_root / "samples" / "CAM_FRONT").iterdir())
    whole = read_image(path, (900, 1600))
    np.testing.assert_array_equal(as_array(whole), np.asarray(Image.open(path)))
    half = read_image(path, (900, 1600), (224, 400))
    difference = _difference(resize(half, (224, 400)), resize(whole, (224, 400)))
    assert difference.mean() < 0.4
    assert (difference > 2).float().mean() < 0.01


def _encoded(**options: object) -> bytes:
    stream = io.BytesIO()
    picture(120, 160).convert(str(options.pop("mode", "RGB"))).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("needed", [None, (30, 40)])
@pytest.mark.parametrize("options", [{}, {"mode": "L"}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_read_image__refuses_what_is_cut_off_before_its_end_marker(
    tmp_path: Path, options: dict[str, object], needed: tuple[int, int] | None, share: float
) -> None:
    path, whole = tmp_path / "a.jpg", _encoded(**options)
    path.write_bytes(whole)
    read_image(path, needed_size=needed)
    path.write_bytes(whole[: int(share * len(whole))] + b"\xff\xd9")
    with pytest.raises(KeyFrameError, match=r"a\.jpg is cut off"):
        read_image(path, needed_size=needed)


def test_read_image__refuses_holes(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.jpg", _encoded()
    half = len(whole) // 2
    for spoilt in (whole[:half] + bytes(half - 2) + b"\xff\xd9", whole[:half] + whole[half + 800 :]):
        path.write_bytes(spoilt)
        with pytest.raises(KeyFrameError, match="cut off"):
            read_image(path)


def test_read_image__takes_images_that_end_grey(tmp_path: Path) -> None:
    """A level of 128 in the last pixel is no sign that data are missing."""
    path, levels = tmp_path / "a.jpg", np.array(picture(120, 160))
    levels[60:] = 128
    Image.fromarray(levels).save(path, quality=95)
    assert (as_array(read_image(path))[-1, -1] == 128).all()


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_require_whole__refuses_progressive_images_without_details(tmp_path: Path, share: float) -> None:
    path, whole = tmp_path / "a.jpg", _encoded(progressive=True)
    path.write_bytes(whole)
    require_whole(path)
    path.write_bytes(whole[: int(share * len(whole))] + b"\xff\xd9")
    with pytest.raises(KeyFrameError, match="cut off"):
        require_whole(path)


def test_read_deep_levels__of_files_of_16_bits_alone(tmp_path: Path) -> None:
    levels = np.arange(600, dtype=np.uint16).reshape(20, 30) * 5
    for ending in ("png", "tiff"):
        Image.fromarray(levels).save(tmp_path / f"deep.{ending}")
        deep = read_deep_levels(tmp_path / f"deep.{ending}")
        assert deep is not None
        np.testing.assert_array_equal(deep, levels)
        picture(20, 30).save(tmp_path / f"usual.{ending}")
        assert read_deep_levels(tmp_path / f"usual.{ending}") is None

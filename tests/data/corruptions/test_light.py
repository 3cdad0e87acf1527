import colorsys
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from occfeat.data.corruptions.corruptions import BRIGHTNESS, DARK_BRIGHTEST_PHOTONS_NOISE, random_numbers
from occfeat.data.corruptions.light import brighten, darken, posterize
from tests.data.corruptions.scene import made_up_image

IMAGE = made_up_image(60, 100)
byte = st.integers(0, 255)
levels = pytest.mark.parametrize("level", range(3))


@given(byte, byte, byte, st.floats(0, 1))
def test_brighten__is_hsv(red: int, green: int, blue: int, amount: float) -> None:
    hue, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
    expected = np.array(colorsys.hsv_to_rgb(hue, saturation, min(1.0, value + amount))) * 255
    pixel = np.array([[[red, green, blue]]], dtype=np.uint8)
    assert np.abs(brighten(pixel, amount)[0, 0] - expected).max() <= 1 + 1e-6


def test_brighten__by_nothing_changes_nothing() -> None:
    np.testing.assert_array_equal(brighten(IMAGE, 0.0), IMAGE)


def test_brighten__is_monotone() -> None:
    brighter = [IMAGE, *(brighten(IMAGE, amount) for amount in BRIGHTNESS)]
    for less, more in itertools.pairwise(brighter):
        assert (less <= more).all()
        assert less.mean() + 2 < more.mean()


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize__is_pillows(bits: int) -> None:
    expected = np.asarray(ImageOps.posterize(Image.fromarray(IMAGE), bits))
    np.testing.assert_array_equal(posterize(IMAGE, bits), expected)


@pytest.mark.parametrize("bits", range(1, 9))
def test_posterize__leaves_exactly_as_many_values(bits: int) -> None:
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    left = posterize(every, bits)
    assert len(np.unique(left)) == 2**bits
    assert (left <= every).all()
    assert (every - left).max() == 2 ** (8 - bits) - 1


def plain_darken(
    image: np.ndarray, brightest: float, photons: int, noise: float, random: np.random.Generator
) -> np.ndarray:
    """The definition: numbers are drawn for both noises, one after the other."""
    lowest, highest = int(image.min()), int(image.max())
    value = ((image - float(lowest)) / max(1, highest - lowest)) ** 2 * brightest
    counted = np.clip(random.poisson(value * photons) / photons, 0, 1)
    noisy = counted + random.normal(0, noise, size=image.shape)
    return (noisy.clip(0, 1) * 255).astype(np.uint8)


@levels
@pytest.mark.parametrize("value", [0, 40, 128, 200, 255])
def test_darken__draws_what_the_definition_draws(level: int, value: int) -> None:
    """Distribution of one grey level: largest distance of the distribution functions of 60 000 draws."""
    image = np.full((200, 100, 3), value, dtype=np.uint8)
    image[0, 0], image[0, 1] = 0, 255
    parameters = DARK_BRIGHTEST_PHOTONS_NOISE[level]
    ours = darken(image, *parameters, random_numbers(level, value))[1:]
    plain = plain_darken(image, *parameters, np.random.default_rng(value))[1:]
    counts = [np.bincount(one.ravel(), minlength=256).cumsum() / one.size for one in (ours, plain)]
    # the 1 - 1e-4 quantile of the two-sample Kolmogorov-Smirnov distance
    assert np.abs(counts[0] - counts[1]).max() < 2.23 * np.sqrt(2 / ours.size)


def test_darken__without_noise_is_the_formula() -> None:
    stretched = (IMAGE - float(IMAGE.min())) / (float(IMAGE.max()) - float(IMAGE.min()))
    dark = darken(IMAGE, 0.4, 2_000, 1e-5, random_numbers("many photons"))
    assert np.abs(dark - 255 * 0.4 * stretched**2).max() < 255 * 5 * np.sqrt(0.4 / 2_000) + 1


def test_darken__is_monotone() -> None:
    dark = [darken(IMAGE, *DARK_BRIGHTEST_PHOTONS_NOISE[level], random_numbers(level)) for level in range(3)]
    assert IMAGE.mean() > dark[0].mean() > dark[1].mean() > dark[2].mean()
    grain = [np.abs(np.diff(one[10:20, :20].astype(int), axis=1)).mean() / one.mean() for one in dark]
    assert grain[0] < grain[1] < grain[2]


def test_darken__image_of_one_value_becomes_black_but_for_the_noise() -> None:
    even = np.full((40, 40, 3), 77, dtype=np.uint8)
    assert darken(even, 0.4, 120, 0.018, random_numbers(0)).max() < 255 * 0.018 * 6

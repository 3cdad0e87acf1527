"""Numbers of imagecorruptions 1.1.2, the program of ImageNet-C's corruptions, for one image.

They were computed by that program in an environment of its own; `tests/parity/test_corruptions.py` compares
more, where it is there.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from occfeat.data.corruptions.blur import motion_blur
from occfeat.data.corruptions.corruptions import (
    BLUR_RADIUS_SIGMA,
    BRIGHTNESS,
    FOG_AMOUNT_DECAY,
    SNOW_FLAKES,
    SNOW_MIX,
    random_numbers,
)
from occfeat.data.corruptions.light import brighten
from occfeat.data.corruptions.weather import fog_heights, snow, snow_flakes
from tests.data.corruptions.scene import made_up_image

SIZE = (216, 384)
IMAGE = made_up_image(*SIZE)


def step(field: NDArray[np.generic], distance: int = 1, axis: int = 1) -> float:
    """Mean difference of values some pixels apart."""
    values = np.moveaxis(field.astype(float), axis, 0)
    return float(np.abs(values[distance:] - values[:-distance]).mean())


@pytest.mark.parametrize(("level", "mean"), list(enumerate((143.451, 155.920, 159.768))))
def test_brightness(level: int, mean: float) -> None:
    assert brighten(IMAGE, BRIGHTNESS[level]).mean() == pytest.approx(mean, abs=0.05)


@pytest.mark.parametrize(("level", "edges"), list(enumerate((1.8178, 1.3736, 1.2524))))
def test_motion_blur(level: int, edges: float) -> None:
    """Differences of neighbours in a row, mean over six directions."""
    angles_deg = [np.random.RandomState(seed).uniform(-45, 45) for seed in range(6)]
    ours = [step(motion_blur(IMAGE, *BLUR_RADIUS_SIGMA[level], angle_deg)) for angle_deg in angles_deg]
    assert np.mean(ours) == pytest.approx(edges, rel=0.01)


@pytest.mark.parametrize(
    ("level", "expected"),
    list(enumerate(((0.1606, 0.002973, 0.0889), (0.1815, 0.005406, 0.1124), (0.1847, 0.008206, 0.1210)))),
)
def test_fog_heights(level: int, expected: tuple[float, float, float]) -> None:
    """Spread, and differences of neighbours and over 32 pixels: theirs are means of 1500 maps."""
    maps = [fog_heights(256, FOG_AMOUNT_DECAY[level][1], random_numbers(level, draw)) for draw in range(200)]
    ours = np.mean([(one.std(), step(one), step(one, 32)) for one in maps], axis=0)
    np.testing.assert_allclose(ours, expected, rtol=0.05)


@pytest.mark.parametrize(
    ("level", "expected"),
    list(enumerate(((32.29, 17.78, 6.19), (57.99, 26.88, 15.96), (58.40, 32.60, 10.99)))),
)
def test_snow(level: int, expected: tuple[float, float, float]) -> None:
    """Mean, spread and differences of neighbours in a row, on black: theirs are means of 100 images."""
    black = np.zeros((*SIZE, 3), dtype=np.uint8)
    images = []
    for draw in range(60):
        flakes = snow_flakes(SIZE, *SNOW_FLAKES[level], random_numbers(level, draw))
        images.append(snow(black, flakes, SNOW_MIX[level])[..., 0])
    ours = np.mean([(one.mean(), one.std(), step(one)) for one in images], axis=0)
    np.testing.assert_allclose(ours, expected, rtol=0.04)

"""Blur, brightness, fog and snow against imagecorruptions, which runs in an environment of its own."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from occfeat.data.corruptions import corruptions
from occfeat.data.corruptions.blur import motion_blur
from occfeat.data.corruptions.corruptions import random_numbers
from occfeat.data.corruptions.light import brighten
from occfeat.data.corruptions.weather import fog, fog_heights, snow, snow_flakes
from tests.data.corruptions.scene import made_up_image

pytestmark = pytest.mark.parity

SIZE = (216, 384)
Arrays = dict[str, NDArray[np.generic]]
levels = pytest.mark.parametrize("level", range(3))


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    return made_up_image(*SIZE)


@pytest.fixture(scope="module")
def theirs(image: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    python = os.environ.get("OCCFEAT_IMAGECORRUPTIONS_PYTHON", "")
    if not Path(python).is_file():
        pytest.skip("set OCCFEAT_IMAGECORRUPTIONS_PYTHON to an interpreter that has imagecorruptions 1.1.2")
    folder = tmp_path_factory.mktemp("imagecorruptions")
    np.save(folder / "image.npy", image, allow_pickle=False)
    script = Path(__file__).with_name("corruptions_imagenet.py")
    files = [str(folder / "image.npy"), str(folder / "out.npz")]
    subprocess.run([python, "-W", "ignore", str(script), *files], check=True)
    with np.load(folder / "out.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def assert_same(ours: NDArray[np.uint8], expected: NDArray[np.generic], rarely: float = 0.03) -> None:
    """Equal but for rounding: never more than one grey level, and rarely that."""
    apart = np.abs(ours.astype(int) - expected.astype(int))
    assert apart.max() <= 1
    assert (apart > 0).mean() < rarely


def assert_alike(ours: NDArray[np.floating], expected: NDArray[np.floating]) -> None:
    """Means of statistics (one row per draw) differ by less than 4.5 standard errors."""
    error = np.sqrt(ours.var(axis=0) / len(ours) + expected.var(axis=0) / len(expected))
    assert (np.abs(ours.mean(axis=0) - expected.mean(axis=0)) < 4.5 * error + 1e-6).all(), (
        ours.mean(axis=0),
        expected.mean(axis=0),
    )


def statistics(field: NDArray[np.floating]) -> list[float]:
    """What tells random fields apart: level, spread, quantiles, and roughness at several distances."""
    spread = field.var() or 1.0
    rough = [float(((field[step:] - field[:-step]) ** 2).mean() / spread) for step in (1, 3, 10, 30, 100)] + [
        float(((field[:, step:] - field[:, :-step]) ** 2).mean() / spread) for step in (1, 3, 10, 30, 100)
    ]
    return [field.mean(), field.std(), (field > 0).mean(), *np.quantile(field, (0.1, 0.5, 0.9, 0.99)), *rough]


@levels
def test_motion_blur(image: NDArray[np.uint8], theirs: Arrays, level: int) -> None:
    for seed in range(6):
        angle_deg = float(theirs[f"angle/{seed}"])
        ours = motion_blur(image, *corruptions.BLUR_RADIUS_SIGMA[level], angle_deg)
        expected = theirs[f"motion_blur/{level}/{seed}"]
        # theirs lose a grey level where an area is even and the weights add up to just below 1
        assert_same(ours, expected, rarely=0.15)
        assert (ours < expected).mean() < 0.001


@levels
def test_brighten(image: NDArray[np.uint8], theirs: Arrays, level: int) -> None:
    assert_same(brighten(image, corruptions.BRIGHTNESS[level]), theirs[f"brightness/{level}/0"])


@levels
def test_fog__of_the_same_heights(image: NDArray[np.uint8], theirs: Arrays, level: int) -> None:
    for seed in range(6):
        heights = theirs[f"heights/{level}/{seed}"].astype(np.float32)
        ours = fog(image, corruptions.FOG_AMOUNT_DECAY[level][0], heights)
        assert_same(ours, theirs[f"fog/{level}/{seed}"])


@levels
def test_fog_heights__are_distributed_alike(theirs: Arrays, level: int) -> None:
    decay, expected = corruptions.FOG_AMOUNT_DECAY[level][1], theirs[f"maps/{level}"].astype(np.float32)
    ours = [fog_heights(256, decay, random_numbers("fog", level, draw)) for draw in range(len(expected))]
    assert_alike(np.array([statistics(one) for one in ours]), np.array([statistics(one) for one in expected]))


@levels
def test_snow__of_the_same_flakes(image: NDArray[np.uint8], theirs: Arrays, level: int) -> None:
    """On black, snow is the flakes over a constant grey; the same flakes then fall on the image."""
    mix = corruptions.SNOW_MIX[level]
    for seed in range(6):
        on_black = theirs[f"snow_on_black/{level}"][seed].astype(int)
        flakes = on_black - np.floor(255 * 0.5 * (1 - mix)).astype(int)
        ours = snow(image, np.zeros(SIZE, dtype=np.float32), mix).astype(int) + flakes[..., None]
        whole = on_black < 255
        expected = theirs[f"snow/{level}/{seed}"].astype(int)
        assert np.abs(ours.clip(0, 255) - expected)[whole].max() <= 1


@levels
def test_snow__is_distributed_alike(theirs: Arrays, level: int) -> None:
    mix, expected = corruptions.SNOW_MIX[level], theirs[f"snow_on_black/{level}"]
    black = np.zeros((*SIZE, 3), dtype=np.uint8)
    ours = []
    for draw in range(len(expected)):
        flakes = snow_flakes(SIZE, *corruptions.SNOW_FLAKES[level], random_numbers("snow", level, draw))
        ours.append(snow(black, flakes, mix)[..., 0])
    assert_alike(
        np.array([statistics(one.astype(float)) for one in ours]),
        np.array([statistics(one.astype(float)) for one in expected]),
    )

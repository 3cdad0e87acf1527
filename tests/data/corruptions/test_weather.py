import numpy as np
import pytest

from occfeat.data.corruptions.corruptions import FOG_AMOUNT_DECAY, SNOW_FLAKES, SNOW_MIX, random_numbers
from occfeat.data.corruptions.weather import fog, fog_heights, snow, snow_flakes
from tests.data.corruptions.scene import made_up_image

IMAGE = made_up_image(90, 160)
levels = pytest.mark.parametrize("level", range(3))


def plain_heights(side: int, decay: float, random: np.random.Generator) -> np.ndarray:
    """The diamond-square algorithm, point by point, with the same random numbers."""
    heights, roughness = np.zeros((1, 1)), 100.0
    while len(heights) < side:
        n = len(heights)
        noise = [(random.random((n, n), dtype=np.float32) - 0.5) * 2 * roughness**2 for _ in range(3)]
        finer = np.zeros((2 * n, 2 * n))
        finer[::2, ::2] = heights
        for row in range(n):
            for column in range(n):
                around = [heights[(row + i) % n, (column + j) % n] for i in (0, 1) for j in (0, 1)]
                finer[2 * row + 1, 2 * column + 1] = np.mean(around) + noise[0][row, column]
        for kind, (down, right) in ((1, (0, 1)), (2, (1, 0))):
            for row in range(down, 2 * n, 2):
                for column in range(right, 2 * n, 2):
                    steps = ((0, 1), (0, -1), (1, 0), (-1, 0))
                    around = [finer[(row + i) % (2 * n), (column + j) % (2 * n)] for i, j in steps]
                    finer[row, column] = np.mean(around) + noise[kind][row // 2, column // 2]
        heights, roughness = finer, roughness / decay
    return (heights - heights.min()) / (heights.max() - heights.min())


@pytest.mark.parametrize("decay", [1.4, 2.0])
def test_fog_heights__equal_the_plain_algorithm(decay: float) -> None:
    expected = plain_heights(64, decay, random_numbers("fog"))
    np.testing.assert_allclose(fog_heights(64, decay, random_numbers("fog")), expected, atol=1e-4)


@pytest.mark.parametrize(("side", "made"), [(1, 1), (32, 32), (33, 64), (1600, 2048)])
def test_fog_heights__have_the_next_power_of_two(side: int, made: int) -> None:
    heights = fog_heights(max(side, 2), 2.0, random_numbers(side))
    assert heights.shape == (max(made, 2),) * 2
    assert (heights.min(), heights.max()) == (0, 1)


def test_fog__of_no_amount_changes_nothing() -> None:
    heights = fog_heights(160, 2.0, random_numbers(0))
    np.testing.assert_array_equal(fog(IMAGE, 0.0, heights), IMAGE)


def test_fog__is_the_formula_and_never_brighter_than_the_image() -> None:
    dim = IMAGE // 2
    heights = fog_heights(160, 1.5, random_numbers(1))
    brightest = dim.max() / 255
    expected = (dim / 255 + 2.5 * heights[:90, :160, None]) * brightest / (brightest + 2.5) * 255
    foggy = fog(dim, 2.5, heights)
    assert np.abs(foggy - expected).max() < 1 + 1e-3
    assert foggy.max() <= dim.max()
    assert not fog(np.zeros_like(IMAGE), 2.5, heights).any()


def test_fog__is_monotone() -> None:
    """What is left of the image's contrast: its slope in the foggy one."""
    heights = fog_heights(160, 2.0, random_numbers(2))
    contrast = []
    for amount in (0.0, *(amount for amount, _ in FOG_AMOUNT_DECAY)):
        foggy = fog(IMAGE, amount, heights).astype(float)
        contrast.append(np.cov(IMAGE.ravel(), foggy.ravel())[0, 1] / IMAGE.var())
    assert contrast[0] == pytest.approx(1, abs=1e-3)
    assert contrast[0] > contrast[1] > contrast[2] > contrast[3]
    rough = [
        np.abs(np.diff(fog_heights(256, decay, random_numbers(3)), axis=0)).mean()
        for _, decay in FOG_AMOUNT_DECAY
    ]
    assert rough[0] < rough[1] < rough[2]


@levels
def test_snow__is_the_formula(level: int) -> None:
    flakes = snow_flakes((90, 160), *SNOW_FLAKES[level], random_numbers(level))
    assert flakes.shape == (90, 160)
    layer = np.round(flakes * 255)[..., None] / 255
    value, mix = IMAGE / 255, SNOW_MIX[level]
    grey = (value * (0.299, 0.587, 0.114)).sum(-1, keepdims=True)
    white = mix * value + (1 - mix) * np.maximum(value, grey * 1.5 + 0.5)
    expected = np.clip(white + layer + np.rot90(layer, 2), 0, 1) * 255
    assert np.abs(snow(IMAGE, flakes, mix) - expected).max() < 1.01


def test_snow__without_flakes_or_whitening_changes_nothing() -> None:
    none = snow_flakes((90, 160), 0.0, 0.3, 3.0, 9.0, 10, 4.0, random_numbers(0))
    assert not none.any()
    np.testing.assert_array_equal(snow(IMAGE, none, 1.0), IMAGE)


def test_snow__is_monotone() -> None:
    """The light that is added, mean of ten images: mid adds more than easy, and hard takes most contrast."""
    added, contrast = [], []
    for level in range(3):
        images = []
        for draw in range(10):
            flakes = snow_flakes((90, 160), *SNOW_FLAKES[level], random_numbers(level, draw))
            images.append(snow(IMAGE, flakes, SNOW_MIX[level]).astype(float))
        added.append(np.mean(images) - IMAGE.mean())
        contrast.append(np.mean([np.cov(IMAGE.ravel(), one.ravel())[0, 1] for one in images]) / IMAGE.var())
    assert 0 < added[0] < added[1]
    assert 0 < added[0] < added[2]
    assert 1 > contrast[0] > max(contrast[1:])


def test_snow_flakes__fall_steeply() -> None:
    """Neighbours above each other are more alike than those beside each other."""
    flakes = snow_flakes((200, 300), *SNOW_FLAKES[2], random_numbers(5))
    down, across = (np.abs(np.diff(flakes, axis=axis)).mean() for axis in (0, 1))
    assert 1.4 * down < across

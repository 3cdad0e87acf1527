from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from occfeat.report.pictures.palette import BACKGROUND, CLASS_COLORS, EGO_COLOR, OTHER_COLOR, color_of

# How people without red or green cones see linear RGB (Machado, Oliveira and Fernandes 2009, severity 1).
SIGHT = {
    "full": np.eye(3),
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def seen(color: str, sight: str) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = (np.array(SIGHT[sight]) @ linear).clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("sight", SIGHT)
def test_colors__are_told_apart_by_everyone(sight: str) -> None:
    colors = [*CLASS_COLORS.values(), OTHER_COLOR, EGO_COLOR, BACKGROUND]
    for first, second in combinations(colors, 2):
        assert np.linalg.norm(seen(first, sight) - seen(second, sight)) > 0.2, (first, second)


def test_color_of__classes_and_categories() -> None:
    assert color_of("vehicle") == color_of("vehicle.bus.rigid") == CLASS_COLORS["vehicle"]
    assert color_of("human.pedestrian.adult") == color_of("pedestrian") == CLASS_COLORS["pedestrian"]
    assert color_of("movable_object.barrier") == color_of("vehicles") == OTHER_COLOR

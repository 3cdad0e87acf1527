import math

import numpy as np
import torch

from occfeat.report.pictures.topdown import colors_from_above, common_colors, height_from_above
from tests.report.scene import VOXELS


def random_features(count: int = 50, channels: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, channels, generator=torch.Generator().manual_seed(seed))


def test_height_from_above__equals_a_loop() -> None:
    occupied = torch.rand(VOXELS.shape, generator=torch.Generator().manual_seed(0)) < 0.2
    height_m = height_from_above(occupied, VOXELS)
    for x in range(0, 40, 7):
        for y in range(0, 40, 3):
            heights = [-0.5 + z for z in range(4) if occupied[x, y, z]]
            expected = max(heights, default=math.nan)
            np.testing.assert_allclose(height_m[x, y], expected, rtol=1e-6)


def test_colors_from_above__the_highest_wins() -> None:
    cells = torch.tensor([[2, 3, 3], [2, 3, 0], [0, 1, 1]])
    picture = colors_from_above(cells, torch.eye(3), (4, 5))
    assert picture[2, 3].tolist() == [1, 0, 0, 1]
    assert picture[0, 1].tolist() == [0, 0, 1, 1]
    assert picture[..., 3].sum() == 2


def test_common_colors__equal_directions_have_equal_colors() -> None:
    teacher = random_features()
    first, second = common_colors(teacher, 3 * teacher)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-5)
    assert first.min() >= 0
    assert first.max() <= 1
    assert (first.std(dim=0) > 0.1).all()


def test_common_colors__basis_comes_from_the_first_set() -> None:
    teacher = random_features()
    alone, _ = common_colors(teacher, teacher)
    beside_noise, noise = common_colors(teacher, random_features(seed=1))
    assert torch.equal(alone, beside_noise)
    assert (noise - alone).abs().mean() > 0.1


def test_common_colors__narrow_and_constant_features() -> None:
    for features in (random_features(channels=2), torch.ones(50, 12)):
        colors, _ = common_colors(features, features)
        assert colors.shape == (50, 3)
        assert colors.isfinite().all()

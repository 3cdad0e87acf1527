import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streetworld.rendering.facades import facade
from streetworld.rendering.pavement import Spot
from streetworld.rendering.textures import TILE, grain, patches, scatter, stripe, stripes
from streetworld.things.objects import ObjectList
from streetworld.things.texture_parameters import FacadeParameters


def filled_share(start: float, end: float, low: float, high: float, period: float | None) -> float:
    """How much of (low, high) lies in stripes, by counting."""
    places = np.linspace(low, high, 20001)
    places = places if period is None else places % period
    return float(((places >= start) & (places < end)).mean())


@given(st.floats(-5, 5), st.floats(0.05, 3), st.floats(0.1, 0.9))
def test_stripes_cover_the_share_that_counting_gives(position: float, footprint: float, end: float) -> None:
    x, foot = np.float32([position]), np.float32([footprint])
    low, high = position - footprint / 2, position + footprint / 2
    assert stripes(x, 0.0, end, foot)[0] == pytest.approx(filled_share(0, end, low, high, 1.0), abs=0.01)
    assert stripe(x, 0.0, end, foot)[0] == pytest.approx(filled_share(0, end, low, high, None), abs=0.01)


@pytest.mark.parametrize("tile", [grain(), patches()])
def test_a_far_texture_is_its_mean_and_a_near_one_is_not(tile) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-50, 50, (2, 4000)).astype(np.float32)
    near = tile.look(x, y, 0.02, np.full(4000, 0.01, np.float32))
    far = tile.look(x, y, 0.02, np.full(4000, 1e4, np.float32))
    assert near.std() > 0.1
    assert far.std() == 0
    assert far[0] == pytest.approx(near.mean(), abs=0.02)


def test_a_tile_repeats() -> None:
    x = np.linspace(0, 5, 50, dtype=np.float32)
    foot = np.full(50, 0.02, np.float32)
    size = np.float32(TILE * 0.0625)
    np.testing.assert_array_equal(
        grain().look(x, x, 0.0625, foot), grain().look(x + size, x - size, 0.0625, foot)
    )


def test_scatter_is_even_and_repeatable() -> None:
    i, j = np.meshgrid(np.arange(-50, 50), np.arange(100))
    draws = scatter(i.ravel(), j.ravel())
    np.testing.assert_array_equal(draws, scatter(i.ravel(), j.ravel()))
    assert draws.mean() == pytest.approx(0.5, abs=0.02)
    assert draws.std() == pytest.approx(12**-0.5, abs=0.02)


def test_a_facade__looks_the_same_whatever_stands_beside_it() -> None:
    objects = ObjectList()
    for style in range(5):
        walls = FacadeParameters(float(style), 3.1, 2.4, 0.5, 0.6, 1.0, 12.4)
        objects.add("building", (0.4, 0.3, 0.2), (0.1, 0.1, 0.3), walls, seed=style)
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 12, (3, 400)).astype(np.float32)
    footprint, numbers = rng.uniform(0.01, 0.1, 400).astype(np.float32), rng.integers(0, 5, 400, np.int32)

    def look(chosen: np.ndarray) -> np.ndarray:
        """Return the colours of some of the pixels, drawn without the others."""
        at, size, whose = places[:, chosen], footprint[chosen], numbers[chosen]
        return facade(Spot(at, at, at, size, whose, objects.appearance())).albedo

    together = look(np.ones(400, dtype=bool))
    for style in range(5):
        np.testing.assert_array_equal(together[:, numbers == style], look(numbers == style))

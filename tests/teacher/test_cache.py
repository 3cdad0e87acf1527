"""How teacher features are stored: eight or sixteen bits per value and a scale per patch."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from occfeat.errors import CacheError
from occfeat.teacher.cache import encode


@given(
    st.integers(0, 1000),
    st.integers(2, 40),
    st.floats(-30, 30),
    st.sampled_from(["int8", "fp16"]),
)
def test_encode__keeps_every_value_to_half_a_step(seed: int, channels: int, power: float, dtype: str) -> None:
    random = torch.Generator().manual_seed(seed)
    exact = torch.randn(2, channels, 3, 4, generator=random) * 10**power
    stored = encode(exact, "int8" if dtype == "int8" else "fp16")
    assert stored.values.dtype == (torch.int8 if dtype == "int8" else torch.float16)
    largest = exact.abs().amax(dim=1, keepdim=True)
    step = largest / 127 if dtype == "int8" else largest / 1024
    assert ((stored.decode() - exact).abs() <= 0.501 * step).all()


@pytest.mark.parametrize(("dtype", "least"), [("int8", 0.9995), ("fp16", 0.9999999)])
def test_encode__keeps_the_direction_of_wide_features(dtype: str, least: float) -> None:
    exact = torch.randn(4, 384, 6, 6, generator=torch.Generator().manual_seed(0))
    stored = encode(exact, "int8" if dtype == "int8" else "fp16")
    assert F.cosine_similarity(stored.decode().double(), exact.double(), dim=1).mean() > least


def test_encode__a_patch_of_zeros_stays_zero() -> None:
    assert (encode(torch.zeros(1, 8, 2, 2), "int8").decode() == 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_encode__features_that_are_not_finite_are_refused(value: float) -> None:
    maps = torch.zeros(1, 8, 2, 2)
    maps[0, 3, 1, 0] = value
    with pytest.raises(CacheError, match="not finite"):
        encode(maps, "int8")

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from occfeat.models.lifting.deformable import PositionChooser, deformable_attention


def read_one(plane: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Bilinear value of a (D, h, w) map at a position in cells; cell centres are at i + 0.5, outside is 0."""
    _, height, width = plane.shape
    left, top = math.floor(x.item() - 0.5), math.floor(y.item() - 0.5)
    value = plane.new_zeros(len(plane))
    for column in (left, left + 1):
        for row in (top, top + 1):
            if 0 <= column < width and 0 <= row < height:
                share = (1 - (x - 0.5 - column).abs()) * (1 - (y - 0.5 - row).abs())
                value = value + share * plane[:, row, column]
    return value


def attention_by_loops(values: torch.Tensor, positions: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Deformable attention, one position after the other."""
    maps, heads, _, height, width = values.shape
    queries, count = weights.shape[2:]
    rows = []
    for m in range(maps):
        for q in range(queries):
            for g in range(heads):
                total = values.new_zeros(values.shape[2])
                for p in range(count):
                    x, y = positions[m, g, q, p]
                    total = total + weights[m, g, q, p] * read_one(values[m, g], x * width, y * height)
                rows.append(total)
    return torch.cat(rows).view(maps, queries, -1)


@given(st.integers(0, 2**20), st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))
def test_deformable_attention__value_and_gradient_as_by_loops(
    seed: int, maps: int, heads: int, height: int, width: int
) -> None:
    random = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    inputs = (
        (noise(maps, heads, 2, height, width) - 0.5).requires_grad_(),
        (1.6 * noise(maps, heads, 3, 4, 2) - 0.3).requires_grad_(),  # some outside of the map
        noise(maps, heads, 3, 4).softmax(-1).requires_grad_(),
    )
    found, wanted = deformable_attention(*inputs), attention_by_loops(*inputs)
    assert (found - wanted).abs().max() < 1e-5
    by_output = noise(*found.shape) - 0.5
    found_gradients = torch.autograd.grad(found, inputs, by_output)
    for gradient, expected in zip(
        found_gradients, torch.autograd.grad(wanted, inputs, by_output), strict=True
    ):
        assert (gradient - expected).abs().max() < 1e-5


def test_deformable_attention__first_position_is_x() -> None:
    ramp = torch.arange(8.0).expand(4, 8)[None, None, None]
    position = torch.tensor([2.5 / 8, 0.5])[None, None, None, None]
    assert deformable_attention(ramp, position, torch.ones(1, 1, 1, 1)).item() == pytest.approx(2.0)


def test_position_chooser__looks_around_at_first() -> None:
    offsets, logits = PositionChooser(channels=8, heads=4, positions=2)(torch.randn(1, 3, 8))
    assert not logits.any()
    assert offsets[0, :, 0, 1].tolist() == [
        pytest.approx(wanted, abs=1e-6) for wanted in ([2, 0], [0, 2], [-2, 0], [0, -2])
    ]
    assert torch.equal(offsets[0, :, 0], offsets[0, :, 2])  # whatever the query

"""The threshold and the overlaps from which every IoU is made."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from occfeat.training.overlap import is_likely, is_positive, overlap


def test_threshold__is_above_one_half_for_logits_and_probabilities() -> None:
    logits = torch.tensor([-5.0, -0.01, 0.0, 0.01, 5.0], requires_grad=True)
    assert is_positive(logits).tolist() == [False, False, False, True, True]
    assert torch.equal(is_positive(logits), is_likely(logits.sigmoid()))


@given(st.integers(0, 2**20))
def test_overlap__counts_sets_of_cells_and_adds_up(seed: int) -> None:
    marks = torch.rand(2, 2, 3, 5, generator=torch.Generator().manual_seed(seed)) < 0.5
    (predicted, more_predicted), (true, more_true) = marks
    both = overlap(predicted, true) + overlap(more_predicted, more_true)
    cells = [{tuple(cell) for cell in of_kind.nonzero().tolist()} for of_kind in marks]
    union, intersection = len(cells[0] | cells[1]), len(cells[0] & cells[1])
    assert int(both.union) == union
    assert both.iou.value() == pytest.approx(intersection / union)
    assert both.precision.value() == pytest.approx(intersection / len(cells[0]))
    assert both.recall.value() == pytest.approx(intersection / len(cells[1]))


def test_overlap__of_nothing_is_not_a_number() -> None:
    nothing = torch.zeros(3, dtype=torch.bool)
    found = overlap(nothing, nothing)
    assert all(math.isnan(ratio.value()) for ratio in (found.iou, found.precision, found.recall))

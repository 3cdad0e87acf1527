"""Intervals of means."""

import math

import pytest

from tests.experiments.scripts import load

spread = load("spread")


def test_half_width__is_students_t() -> None:
    assert spread.half_width([1.0, 2.0, 3.0]) == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)
    assert math.isnan(spread.half_width([1.0, 2.0]))


def test_with_interval__says_single_values_where_they_are_few() -> None:
    assert spread.with_interval([]) == "-"
    assert spread.with_interval([1.0, 2.04], sign=True) == "+1.0 / +2.0"
    assert spread.with_interval([1.0, 2.0, 3.0]) == "2.0 ± 2.5"

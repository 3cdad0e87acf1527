"""Intervals of means."""

import math
from typing import NamedTuple

import pytest

from tests.experiments.scripts import load

spread = load("harness.spread")


def test_half_width__is_students_t() -> None:
    assert spread.half_width([1.0, 2.0, 3.0]) == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)
    assert math.isnan(spread.half_width([1.0, 2.0]))


def test_with_interval__says_single_values_where_they_are_few() -> None:
    assert spread.with_interval([]) == "-"
    assert spread.with_interval([1.0, 2.04], sign=True) == "+1.0 / +2.0"
    assert spread.with_interval([1.0, 2.0, 3.0]) == "2.0 ± 2.5"


CELL = {(seed, draw): 10.0 * seed + draw for seed in range(3) for draw in range(4)}


def test_of_seeds_and_of_draws__are_means() -> None:
    assert spread.of_seeds(CELL) == [1.5, 11.5, 21.5]
    assert spread.of_draws(CELL) == [10.0, 11.0, 12.0, 13.0]


def test_paired__leaves_out_what_has_no_partner() -> None:
    assert spread.paired(CELL, {(1, 2): 5.0, (9, 9): 1.0}) == {(1, 2): 7.0}


def test_with_intervals__counts_seeds_and_draws_apart() -> None:
    seeds, draws = (spread.half_width(found) for found in (spread.of_seeds(CELL), spread.of_draws(CELL)))
    assert spread.with_intervals(CELL) == f"11.5 ± {seeds:.1f} / {draws:.1f}"
    two = {pair: value for pair, value in CELL.items() if pair[0] < 2}
    assert spread.with_intervals(two, sign=True) == f"+6.5 ± - / {draws:.1f}"
    assert spread.with_intervals({}) == "-"


class _Job(NamedTuple):
    arm: str
    seed: int
    draw: int


def test_cells_by__leaves_out_rows_without_the_metric_or_of_nothing() -> None:
    rows = {_Job(arm, seed, 1): {"iou": 0.25 * seed} for arm in ("a", "b", "c") for seed in range(2)}
    found = spread.cells_by(rows, "iou", lambda job: None if job.arm == "b" else job.arm)
    assert found == {"a": {(0, 1): 0.0, (1, 1): 25.0}, "c": {(0, 1): 0.0, (1, 1): 25.0}}
    assert spread.cells_by(rows, "missing", lambda job: job.arm) == {}

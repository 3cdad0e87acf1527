"""Means of repeated experiments, with how far they can be trusted."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
from scipy.stats import t as student_t

Cell = dict[tuple[int, int], float]
"""Values of one arm, by pretraining seed and draw of the labels."""

Of = TypeVar("Of")
"""What the values of a cell are of."""


def cells_by(
    rows: Mapping[Any, Mapping[str, float]], metric: str, what: Callable[[Any], Of | None]
) -> dict[Of, Cell]:
    """Return the values of a metric, in per cent, by what their rows are of.

    Args:
        rows: Metrics by job; a job has a seed and a draw.
        metric: Its name. Rows without it are left out.
        what: Returns what a job is of; None: it is left out.
    """
    cells: dict[Of, Cell] = defaultdict(dict)
    for job, metrics in rows.items():
        of = what(job)
        if of is not None and metric in metrics:
            cells[of][job.seed, job.draw] = 100 * metrics[metric]
    return cells


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of a mean by Student's t; not a number for fewer than three values."""
    if len(values) < 3:
        return math.nan
    deviation = float(np.std(values, ddof=1))
    return float(student_t.ppf(0.975, len(values) - 1)) * deviation / math.sqrt(len(values))


def with_interval(values: Sequence[float], *, sign: bool = False) -> str:
    """Return a mean and its interval; single values where they are too few."""
    form = "{:+.1f}" if sign else "{:.1f}"
    if not values:
        return "-"
    if len(values) < 3:
        return " / ".join(form.format(value) for value in values)
    return f"{form.format(float(np.mean(values)))} ± {half_width(values):.1f}"


def paired(values: Cell, others: Cell) -> Cell:
    """Return the differences of equal seed and draw."""
    return {pair: value - others[pair] for pair, value in values.items() if pair in others}


def of_seeds(values: Cell) -> list[float]:
    """Return one value per pretraining seed, the mean of its draws."""
    return _means(values, 0)


def of_draws(values: Cell) -> list[float]:
    """Return one value per draw of the labels, the mean of its pretraining seeds."""
    return _means(values, 1)


def with_intervals(values: Cell, *, sign: bool = False) -> str:
    """Return a mean and its intervals over pretraining seeds and over draws; `-` where they are too few.

    The mean is that of all values. Each interval counts the means of what it is over, because the same seeds
    come back under every draw, and the same draws under every seed.
    """
    if not values:
        return "-"
    mean = fmean(values.values())
    widths = (half_width(of_seeds(values)), half_width(of_draws(values)))
    said = " / ".join("-" if math.isnan(width) else f"{width:.1f}" for width in widths)
    return f"{mean:+.1f} ± {said}" if sign else f"{mean:.1f} ± {said}"


def markdown(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table."""
    head = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    return "\n".join([*head, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def _means(values: Cell, which: int) -> list[float]:
    """Return means over pairs that share their seed (0) or their draw (1)."""
    numbers = sorted({pair[which] for pair in values})
    return [fmean(value for pair, value in values.items() if pair[which] == number) for number in numbers]

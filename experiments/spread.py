"""Means of repeated experiments, with how far they can be trusted."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student_t


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of a mean by Student's t; not a number for fewer than three values."""
    if len(values) < 3:
        return math.nan
    deviation = float(np.std(values, ddof=1))
    return float(student_t.ppf(0.975, len(values) - 1)) * deviation / math.sqrt(len(values))


def with_interval(values: Sequence[float], *, sign: bool = False) -> str:
    """A mean and its interval; single values where they are too few."""
    form = "{:+.1f}" if sign else "{:.1f}"
    if not values:
        return "-"
    if len(values) < 3:
        return " / ".join(form.format(value) for value in values)
    return f"{form.format(float(np.mean(values)))} ± {half_width(values):.1f}"

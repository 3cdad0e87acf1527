"""When each point of a cloud was measured. Drivers agree neither on names nor on units, so values decide.

| driver | field | type | meaning |
|---|---|---|---|
| Ouster | `t` | uint32 | nanoseconds after the stamp |
| Velodyne | `time` | float32 | seconds after the stamp, often negative |
| Hesai, RoboSense | `timestamp` | float64 | seconds since 1970 |
| Livox | `timestamp` | float64 | nanoseconds since 1970 |
| Livox CustomMsg | `offset_time` | uint32 | nanoseconds after the first point |
| Autoware | `time_stamp` | uint32 | nanoseconds after the stamp |

Axes: `P` points.
"""

import numpy as np
from jaxtyping import Float64, Shaped
from numpy import ndarray

TIME_FIELDS = ("t", "time", "timestamp", "time_stamp", "offset_time", "time_offset", "offset_ns")
LONGEST_SWEEP_S = 1.5
"""Longest plausible time from the first to the last point of a cloud (this project's choice)."""
DIFFERENT_CLOCK_S = 1.0
"""Points whose clock differs by more are taken to start at the stamp (this project's choice)."""
_SMALLEST_ABSOLUTE_S = 1e8
"""Seconds since 1970 of the year 1973: smaller numbers are relative to the stamp."""


def seconds_after(
    values: Shaped[ndarray, " P"], stamp_s: int, stamp_ns: int
) -> tuple[Float64[ndarray, " P"] | None, float]:
    """Return when points were measured, in seconds after the stamp of their header.

    Args:
        values: The field with times, of any type.
        stamp_s: Whole seconds of the stamp.
        stamp_ns: Its nanoseconds.

    Returns:
        The times, or None if their resolution is too coarse or they are longer than a sweep; and how far the
        clock of the points is ahead of that of the stamp in seconds, if that is more than
        `DIFFERENT_CLOCK_S`.
    """
    numbers = values.astype(np.float64)
    if not len(numbers):
        return numbers, 0.0
    if not np.isfinite(numbers).all():
        return None, 0.0
    span = float(np.ptp(numbers))
    per_second = _absolute_units_per_second(numbers, span) if values.dtype.kind == "f" else 0.0
    if per_second:
        if values.dtype.itemsize < 8:  # 4 bytes count seconds since 1970 in steps of two minutes
            return None, 0.0
        after_s = (numbers - stamp_s * per_second) / per_second - stamp_ns * 1e-9
    else:
        after_s = numbers / _relative_units_per_second(values.dtype, span)
    first_s, last_s = float(after_s.min()), float(after_s.max())
    if last_s - first_s > LONGEST_SWEEP_S:
        return None, 0.0
    if max(-first_s, last_s) <= DIFFERENT_CLOCK_S:  # and so is the median
        return after_s, 0.0
    ahead_s = float(np.median(after_s))
    if abs(ahead_s) > DIFFERENT_CLOCK_S:
        return after_s - first_s, ahead_s
    return after_s, 0.0


def _absolute_units_per_second(numbers: Float64[ndarray, " P"], span: float) -> float:
    """Return the unit of times since 1970, as units per second; 0 if they are not since 1970.

    Only floats can be: the largest whole number that a field can hold has 32 bits.
    """
    if numbers.max() <= _SMALLEST_ABSOLUTE_S:
        return 0.0
    typical = float(np.median(numbers))
    fitting = (unit for unit in (1e9, 1e6, 1e3, 1.0) if typical > _SMALLEST_ABSOLUTE_S * unit)
    return next((unit for unit in fitting if span <= LONGEST_SWEEP_S * unit), 0.0)


def _relative_units_per_second(kind: np.dtype[np.generic], span: float) -> float:
    """Return the unit of times after the stamp, as units per second.

    The time from the first to the last point decides. A sweep takes 10 ms to 1.5 s. Floats are seconds if
    that is possible, and whole numbers nanoseconds.
    """
    if kind.kind == "f":
        return next((unit for unit in (1.0, 1e3, 1e6) if span <= LONGEST_SWEEP_S * unit), 1e9)
    return 1e6 if 1e4 <= span < 1e6 else 1e9

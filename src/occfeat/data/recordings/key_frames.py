"""Which frames of a recording become key frames."""

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

NEAREST = 0.6
"""Least time between two key frames as a share of the period (this project's choice)."""


def choose_key_frames(times_us: Int64[ndarray, " t"], key_hz: float) -> Bool[ndarray, " t"]:
    """Return which frames are key frames: the nearest one to each tick of a clock from the first frame on.

    A tick without a frame within half of its period has no key frame.

    Args:
        times_us: Increasing times of frames in microseconds.
        key_hz: Ticks per second.
    """
    since_us, period_us = times_us - times_us[:1], 1e6 / key_hz
    tick = np.rint(since_us / period_us)
    order = np.lexsort((np.abs(since_us - tick * period_us), tick))  # by tick, the nearest frame first
    rows = order[np.unique(tick[order], return_index=True)[1]]
    far = np.diff(times_us[rows], prepend=-np.inf) >= NEAREST * period_us
    chosen = np.zeros(len(times_us), dtype=bool)
    chosen[rows[far]] = True
    return chosen

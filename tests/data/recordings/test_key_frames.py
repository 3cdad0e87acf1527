"""Which frames become key frames."""

import numpy as np
import pytest

from occfeat.data.recordings.key_frames import choose_key_frames


@pytest.mark.parametrize(
    ("times_ms", "key_hz", "expected"),
    [
        (range(0, 2100, 100), 2.0, [0, 5, 10, 15, 20]),
        (range(0, 800, 100), 10.0, range(8)),
        (range(0, 800, 100), 5.0, [0, 2, 4, 6]),
        (range(0, 1100, 100), 3.0, [0, 3, 7, 10]),
        (range(0, 2100, 104), 10.0, range(21)),  # no frame is lost to a clock that is a little slow
        ([0, 99, 203, 305, 398, 502, 597], 2.0, [0, 5]),
        ([0, 100, 200, 300, 1900, 2000], 2.0, [0, 3, 5]),  # a gap
        ([5], 2.0, [0]),
        ([], 2.0, []),
    ],
)
def test_key_frames__are_nearest_to_a_clock(times_ms, key_hz: float, expected) -> None:
    times_us = np.array(list(times_ms), dtype=np.int64) * 1000 + 1_500_000_000_000_000
    assert np.flatnonzero(choose_key_frames(times_us, key_hz)).tolist() == list(expected)

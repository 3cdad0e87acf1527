"""Which messages make a key frame: the nearest in time, whatever the order of their arrival."""

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occfeat.data.recordings.from_bags.matching import LAG_US, Chosen, KeyFrameChooser, Rule, Shot

MS = 1000
LIDAR, CAMERA, BACK = "LIDAR_TOP", "CAM_FRONT", "CAM_BACK"


def rule(**fields: object) -> Rule:
    values = {"delays_us": {CAMERA: 0}, "lidars": frozenset({LIDAR}), "period_us": 500 * MS}
    values |= {"reference": LIDAR, "jitter_us": 50 * MS, "start_us": 0, "end_us": 10**12}
    return Rule(**{**values, **fields})


def shots(channel: str, times_ms: Iterable[float], lag_ms: float = 2) -> list[Shot]:
    return [Shot(channel, round(t * MS), round((t + lag_ms) * MS), t) for t in times_ms]


def choose(rule: Rule, *streams: list[Shot]) -> tuple[list[Chosen], Counter[str]]:
    """What is chosen of streams that are merged as a recorder does."""
    left_out: Counter[str] = Counter()
    merged = sorted((shot for stream in streams for shot in stream), key=lambda shot: shot.log_us)
    return list(KeyFrameChooser(rule, left_out).choose(merged)), left_out


def key_times_ms(chosen: list[Chosen]) -> list[float]:
    return [one.at.time_us / MS for one in chosen if one.is_key]


def test_key_frames__come_at_their_rate_and_have_the_nearest_images() -> None:
    lidar = shots(LIDAR, range(0, 2001, 100))
    camera = shots(CAMERA, [t + 7 for t in range(-33, 2001, 33)])
    chosen, left_out = choose(rule(), lidar, camera)
    assert key_times_ms(chosen) == [0, 500, 1000, 1500, 2000]
    for one in (one for one in chosen if one.is_key):
        nearest = min(camera, key=lambda shot: abs(shot.time_us - one.at.time_us))
        assert one.others[CAMERA] is nearest
    assert not left_out


def test_sweeps__are_all_there_and_precede_their_key_frame() -> None:
    chosen, _ = choose(rule(), shots(LIDAR, range(0, 1301, 100)), shots(CAMERA, range(0, 1301, 100)))
    times_ms = [one.at.time_us / MS for one in chosen]
    assert times_ms == [*range(0, 1301, 100)]
    assert key_times_ms(chosen) == [0, 500, 1000]


def test_rate_that_jitters__does_not_drift() -> None:
    lidar = shots(LIDAR, [t + (-1) ** t * 3 for t in range(0, 5001, 100)])
    times_ms = key_times_ms(choose(rule(), lidar)[0])
    assert len(times_ms) == 11
    assert all(490 <= b - a <= 510 for a, b in pairwise(times_ms))


def test_slow_reference__is_used_whole_even_if_it_is_uneven() -> None:
    times_ms = [0, 400, 1000, 1400, 2050, 2500, 2950]
    assert key_times_ms(choose(rule(), shots(LIDAR, times_ms))[0]) == times_ms


def test_delay__is_what_a_camera_lags_behind() -> None:
    lidar, camera = shots(LIDAR, range(0, 1001, 500)), shots(CAMERA, range(0, 1301, 50))
    chosen, _ = choose(rule(delays_us={CAMERA: 150 * MS}, jitter_us=5 * MS), lidar, camera)
    assert [one.others[CAMERA].time_us / MS for one in chosen if one.is_key] == [150, 650, 1150]


def test_images_beyond_the_jitter__are_missing() -> None:
    lidar, camera = shots(LIDAR, [0, 500, 1000]), shots(CAMERA, [51, 549, 950])
    chosen, _ = choose(rule(), lidar, camera)
    assert [CAMERA in one.others for one in chosen] == [False, True, True]


def test_camera_that_stops__holds_nothing_up_and_is_missing() -> None:
    lidar, camera = shots(LIDAR, range(0, 5001, 100)), shots(CAMERA, range(0, 2001, 100))
    chosen, _ = choose(rule(), lidar, camera)
    assert [CAMERA in one.others for one in chosen if one.is_key] == [True] * 5 + [False] * 6


def test_messages_that_come_late_or_twice__are_sorted_or_counted() -> None:
    camera = shots(CAMERA, [0, 480, 520]) + shots(CAMERA, [500], lag_ms=60) + shots(CAMERA, [480], lag_ms=61)
    camera += shots(CAMERA, [1000])
    chosen, left_out = choose(rule(), shots(LIDAR, [0, 500, 1000], lag_ms=80), camera)
    assert [one.others[CAMERA].time_us / MS for one in chosen] == [0, 500, 1000]
    assert sum(left_out.values()) == 1


def test_stretches__share_no_key_frame_and_no_sweep() -> None:
    lidar, camera = shots(LIDAR, range(0, 4000, 100)), shots(CAMERA, range(0, 4000, 33))
    parts = [
        choose(rule(start_us=start * MS, end_us=(start + 1300) * MS), lidar, camera)[0]
        for start in range(0, 4000, 1300)
    ]
    times_ms = [one.at.time_us / MS for part in parts for one in part]
    assert times_ms == [*range(0, 4000, 100)]
    assert all(CAMERA in one.others for part in parts for one in part if one.is_key)


def test_memory__does_not_grow_when_the_reference_stops() -> None:
    chooser = KeyFrameChooser(rule(), Counter())
    stream = sorted(
        shots(LIDAR, [0, 100]) + shots(CAMERA, range(0, 60_000, 10)), key=lambda shot: shot.log_us
    )
    held = []

    def watch() -> Iterable[Shot]:
        for shot in stream:
            yield shot
            held.append(sum(map(len, chooser._queues.values())))

    list(chooser.choose(watch()))
    assert max(held) <= 2 * LAG_US // (10 * MS) + 3


@settings(max_examples=200, deadline=None)
@given(
    lidar=st.lists(st.integers(0, 4000), min_size=1, max_size=30, unique=True),
    front=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 300)), max_size=40),
    back=st.lists(st.integers(0, 4000), max_size=40, unique=True),
)
def test_any_streams__give_key_frames_in_order_with_images_in_time(
    lidar: list[int], front: list[tuple[int, int]], back: list[int]
) -> None:
    given_rule = rule(delays_us={CAMERA: 0, BACK: 20 * MS})
    cameras = [shot for time, lag in front for shot in shots(CAMERA, [time], lag)]
    chosen, _ = choose(given_rule, shots(LIDAR, sorted(lidar)), cameras, shots(BACK, sorted(back)))
    keys = [one for one in chosen if one.is_key]
    assert key_times_ms(chosen) == sorted(set(key_times_ms(chosen)))
    for channel, delay_us in given_rule.delays_us.items():
        used = [one.others[channel].time_us for one in keys if channel in one.others]
        assert used == sorted(set(used))
        for one in (one for one in keys if channel in one.others):
            assert abs(one.others[channel].time_us - delay_us - one.at.time_us) <= given_rule.jitter_us
    assert sorted(one.at.time_us for one in chosen) == sorted(time * MS for time in lidar)


@pytest.mark.parametrize("rate_hz", [1, 2, 5, 10])
def test_rates__give_that_many_key_frames(rate_hz: int) -> None:
    chosen, _ = choose(rule(period_us=10**6 // rate_hz), shots(LIDAR, range(0, 10_000, 50)))
    assert len(key_times_ms(chosen)) == 10 * rate_hz

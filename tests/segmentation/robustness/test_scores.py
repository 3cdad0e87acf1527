import pytest

from occfeat.data.corruptions.corruptions import NAMES, SEVERITIES
from occfeat.segmentation.robustness.scores import KINDS, Corrupted, mean, score, score_all

METRIC = "vehicle_iou/visible"


def metrics(**corruptions: tuple[float | None, float | None, float | None]) -> Corrupted:
    return {  # type: ignore[misc]  # names are given as keywords
        name: {severity: {METRIC: iou} for severity, iou in zip(SEVERITIES, ious, strict=True)}
        for name, ious in corruptions.items()
    }


def test_kinds__hold_every_corruption_once() -> None:
    assert sorted(name for names in KINDS.values() for name in names) == sorted(NAMES)


def test_score__by_hand() -> None:
    one = score(0.5, (0.4, 0.3, 0.2), (0.2, 0.1, 0.0))
    assert one.iou == pytest.approx(0.3)
    assert one.resilience_rate == pytest.approx((0.4 + 0.3 + 0.2) / (3 * 0.5))
    assert one.corruption_error == pytest.approx((0.6 + 0.7 + 0.8) / (0.8 + 0.9 + 1.0))


def test_score__against_itself_and_without_loss() -> None:
    one = score(0.4, (0.4, 0.4, 0.4), (0.4, 0.4, 0.4))
    assert (one.resilience_rate, one.corruption_error) == (pytest.approx(1), pytest.approx(1))


def test_score__what_is_not_known() -> None:
    assert score(0.0, (0.1, 0.1, 0.1)).resilience_rate is None
    assert score(None, (0.1, 0.1, 0.1)).resilience_rate is None
    assert score(0.5, (0.1, None, 0.1)).iou is None
    assert score(0.5, (0.1, 0.1, 0.1)).corruption_error is None
    assert score(0.5, (0.1, 0.1, 0.1), (None, 0.1, 0.1)).corruption_error is None
    assert score(0.5, (0.1, 0.1, 0.1), (1.0, 1.0, 1.0)).corruption_error is None
    assert mean([]) is None


def test_score_all__means_over_corruptions_and_kinds() -> None:
    corrupted = metrics(Fog=(0.4, 0.3, 0.2), Snow=(0.2, 0.1, 0.0), MotionBlur=(0.5, 0.5, 0.5))
    baseline = metrics(
        Fog=(0.1, 0.1, 0.1), Snow=(0.1, 0.1, 0.1), MotionBlur=(0.0, 0.0, 0.0), LowLight=(0, 0, 0)
    )
    scores = score_all({METRIC: 0.5}, corrupted, baseline)[METRIC]
    assert scores.by_corruption["Fog"].resilience_rate == pytest.approx(0.6)
    assert scores.by_corruption["Snow"].corruption_error == pytest.approx(1.0)
    assert set(scores.by_kind) == {"weather", "blur"}
    assert scores.by_kind["weather"].iou == pytest.approx(0.2)
    assert scores.by_kind["weather"].resilience_rate == pytest.approx(0.4)
    assert scores.mean.iou == pytest.approx((0.3 + 0.1 + 0.5) / 3)
    assert scores.mean.resilience_rate == pytest.approx((0.6 + 0.2 + 1.0) / 3)
    assert scores.mean.corruption_error == pytest.approx((0.7 / 0.9 + 1.0 + 0.5) / 3)


def test_score_all__order_of_corruptions_and_other_metrics_do_not_matter() -> None:
    corrupted = metrics(Snow=(0.2, 0.1, 0.0), Fog=(0.4, None, 0.2))
    scores = score_all({METRIC: 0.5}, corrupted)[METRIC]
    assert scores.by_corruption["Fog"].iou is None
    assert scores.mean.iou is None
    assert scores.by_kind["weather"].resilience_rate is None
    assert scores.by_corruption["Snow"].resilience_rate == pytest.approx(0.2)

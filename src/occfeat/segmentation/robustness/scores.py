"""Resilience rate and corruption error, per corruption, per kind and overall.

An unknown metric, without any counted cell, is None, and so are the scores that depend on it.
"""

from collections.abc import Sequence

from occfeat.settings.sections import CorruptionName, Severity
from occfeat.settings.strict import Strict

KINDS: dict[str, tuple[CorruptionName, ...]] = {
    "weather": ("Fog", "Snow"),
    "light": ("Brightness", "LowLight"),
    "blur": ("MotionBlur",),
    "sensor loss": ("CameraCrash", "FrameLost"),
    "quantisation": ("ColorQuant",),
}
"""Corruptions by kind (this project's grouping)."""

Metric = float | None
Metrics = dict[str, Metric]
"""IoU by name and protocol, 0 to 1."""
Corrupted = dict[CorruptionName, dict[Severity, Metrics]]


class Score(Strict):
    """Robustness of a network to one corruption, or to several on average."""

    iou: Metric
    """Mean over the severities."""
    resilience_rate: Metric
    """Sum of the IoUs over the severities, relative to that of clean images. 1: no loss."""
    corruption_error: Metric = None
    """Sum of 1 - IoU over the severities, relative to the baseline's. Below 1: better than the baseline."""


class Scores(Strict):
    """All scores of one metric, such as `vehicle_iou/visible`."""

    by_corruption: dict[CorruptionName, Score]
    by_kind: dict[str, Score]
    """Means over the corruptions of each kind that were evaluated."""
    mean: Score
    """Means over all evaluated corruptions: the rate is mRR, the error mCE."""


def score_all(clean: Metrics, corrupted: Corrupted, baseline: Corrupted | None = None) -> dict[str, Scores]:
    """Return the scores of every metric.

    Args:
        clean: Metrics of clean images.
        corrupted: Metrics under at least one corruption.
        baseline: Another network's metrics under at least the same corruptions.
    """
    return {metric: _scores(metric, clean, corrupted, baseline) for metric in clean}


def score(clean: Metric, corrupted: Sequence[Metric], baseline: Sequence[Metric] | None = None) -> Score:
    """Return the score of one corruption.

    Args:
        clean: IoU of clean images.
        corrupted: IoU of each severity.
        baseline: IoU of each severity of another network.
    """
    iou = mean(corrupted)
    rate = None if iou is None or not clean else iou / clean
    theirs = None if baseline is None else mean(baseline)
    error = None if iou is None or theirs is None or theirs == 1 else (1 - iou) / (1 - theirs)
    return Score(iou=iou, resilience_rate=rate, corruption_error=error)


def mean(metrics: Sequence[Metric]) -> Metric:
    """Return the mean of metrics; None if one of them is None."""
    known = [metric for metric in metrics if metric is not None]
    return sum(known) / len(known) if known and len(known) == len(metrics) else None


def _scores(metric: str, clean: Metrics, corrupted: Corrupted, baseline: Corrupted | None) -> Scores:
    """Return all scores of one metric."""
    by_corruption = {}
    for name, severities in corrupted.items():
        ours = [metrics[metric] for metrics in severities.values()]
        theirs = None if baseline is None else [baseline[name][one][metric] for one in severities]
        by_corruption[name] = score(clean[metric], ours, theirs)
    by_kind = {
        kind: _mean_score([by_corruption[name] for name in names if name in by_corruption])
        for kind, names in KINDS.items()
        if not by_corruption.keys().isdisjoint(names)
    }
    overall = _mean_score(list(by_corruption.values()))
    return Scores(by_corruption=by_corruption, by_kind=by_kind, mean=overall)


def _mean_score(scores: Sequence[Score]) -> Score:
    """Return the mean of each value of some scores."""
    return Score(
        iou=mean([one.iou for one in scores]),
        resilience_rate=mean([one.resilience_rate for one in scores]),
        corruption_error=mean([one.corruption_error for one in scores]),
    )

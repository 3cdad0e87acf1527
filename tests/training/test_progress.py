"""What a training says while it runs."""

import logging
import time

import pytest

from occfeat.training.progress import TrainingProgress


def test_advance__metrics_are_told_once_and_with_their_step(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of metrics are rarer than lines on a slow machine: a line without news repeats nothing."""
    caplog.set_level(logging.INFO)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = TrainingProgress(40, 0, "pretrain")
    told = ["", "", "up to step 10: loss 0.5", "up to step 10: loss 0.5", "up to step 20: loss 0.5"]
    for number, metrics in enumerate(told, start=1):
        now[0] += 61
        progress.advance(number * 5, metrics)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" left")[2] for line in lines] == [
        "",
        "",
        "; up to step 10: loss 0.5",
        "",
        "; up to step 20: loss 0.5",
    ]
    assert lines[0] == "step 5/40, 7.1 min left"

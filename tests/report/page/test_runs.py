from pathlib import Path

from occfeat.report.page.runs import Cost, RunFiles


def test_run__that_has_not_begun_knows_nothing() -> None:
    run = RunFiles(Path("r"), "r", "finetune", None, {"started": "yesterday"}, None, [])
    assert (run.grid, run.seconds, run.has_weights, run.started) == (None, None, False, "-")


def test_run__says_when_and_how_long() -> None:
    environment, cost = {"started": "2026-01-02T03:04:05+00:00"}, Cost(seconds={"training": 90.0})
    run = RunFiles(Path("r"), "r", "finetune", None, environment, None, [], cost)
    assert (run.seconds, run.started) == (90.0, "2026-01-02 03:04 UTC")

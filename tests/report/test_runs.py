from pathlib import Path

from occfeat.report.page.runs import Cost, RunFiles, names_of


def test_names_of__as_many_parts_as_tell_them_apart() -> None:
    assert names_of([Path("/r/a"), Path("/r/b")]) == ["a", "b"]
    assert names_of([Path("/one/a"), Path("/two/a"), Path("/two/b")]) == ["one/a", "two/a", "two/b"]
    assert names_of([Path("/r/a")]) == ["a"]


def test_run__that_has_not_begun_knows_nothing() -> None:
    run = RunFiles(Path("r"), "r", "finetune", None, {"started": "yesterday"}, None, [])
    assert (run.grid, run.seconds, run.has_weights, run.started) == (None, None, False, "-")


def test_run__says_when_and_how_long() -> None:
    environment, cost = {"started": "2026-01-02T03:04:05+00:00"}, Cost(seconds={"training": 90.0})
    run = RunFiles(Path("r"), "r", "finetune", None, environment, None, [], cost)
    assert (run.seconds, run.started) == (90.0, "2026-01-02 03:04 UTC")

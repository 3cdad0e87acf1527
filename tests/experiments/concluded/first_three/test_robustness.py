"""What corruptions cost with and without pretraining: who is evaluated, and how metrics are summed up."""

import argparse
import json
import sys
from pathlib import Path

import pytest

from occfeat.data.corruptions.corruptions import NAMES, SEVERITIES
from occfeat.runs.folder import ROBUSTNESS
from occfeat.segmentation.robustness.results import RobustnessResults
from tests.experiments.scripts import load

jobs = load("harness.jobs")
plans = load("concluded.first_three.plan")
robustness = load("concluded.first_three.robustness")
report = load("concluded.first_three.robustness_report")

CLEAN = {"none": 0.2, "occupancy": 0.3, "branch": 0.4}
DRAWS = [0, 1, 2]


def plan_of(runs: Path) -> object:
    given = argparse.Namespace(
        street=runs / "street", runs=runs, split="test", arms=robustness.COMPARED, seeds=[0]
    )
    return robustness.plan_of(given)


def results_of(clean: float) -> RobustnessResults:
    """Each severity takes a quarter of what the one before left, whatever the corruption."""
    under = {
        severity: {report.METRIC: clean * 0.75**power} for power, severity in enumerate(SEVERITIES, start=1)
    }
    corrupted = dict.fromkeys(NAMES, under)
    made = RobustnessResults(
        split="test", key_frames=4, data_fingerprint="street", images="generated", seed=0,
        clean={report.METRIC: clean}, corrupted=corrupted, scores={},
    )  # fmt: skip
    return made.scored(None)


def write_results(plan: object) -> None:
    for tuning in robustness.tunings(plan, DRAWS):
        out = robustness.folder(plan, tuning)
        out.mkdir(parents=True)
        (out / ROBUSTNESS).write_text(results_of(CLEAN[tuning.arm] + 0.01 * tuning.draw).model_dump_json())
        (out / "robustness.md").touch()


def test_tunings__are_the_fine_tuned_of_the_smallest_share_draw_by_draw(tmp_path: Path) -> None:
    chosen = robustness.tunings(plan_of(tmp_path), [0, 1])
    assert [one.name for one in chosen] == [
        f"{arm}-0-full-1-{draw}" for draw in (0, 1) for arm in ("none", "occupancy", "branch")
    ]


def test_one_round__evaluates_what_has_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(tmp_path)
    chosen = robustness.tunings(plan, DRAWS)
    write_results(plan)
    half = robustness.folder(plan, chosen[1])
    (half / "robustness.md").unlink()  # stopped in the middle
    evaluated: list[Path] = []

    def evaluate(run: Path, *, out: Path, **settings: object) -> None:
        assert out == half  # with what it had found already
        assert (out / "robustness.json").is_file()
        assert settings["corruptions"] == ("all",)
        evaluated.append(run)
        (out / "robustness.md").touch()

    monkeypatch.setattr(jobs.occfeat, "evaluate", evaluate)
    assert robustness.one_round(plan, chosen)
    assert evaluated == [half.parent]
    with jobs.claim(half.parent):
        assert not robustness.one_round(plan, chosen)


def test_main__metrics_of_a_ledger_are_no_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(tmp_path)
    plans.restore(plan, plans.LEDGER)
    assert len(list(tmp_path.glob("*/evaluation-test/results.json"))) == 3 * 5
    monkeypatch.setattr(sys, "argv", ["robustness", str(tmp_path / "street"), str(tmp_path)])
    with pytest.raises(SystemExit, match=r"lacks the networks of none-0-full-1-0, .* in a new folder"):
        robustness.main()


def test_table__means_and_paired_gains(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    write_results(plan)
    found = report.collect(plan, DRAWS)
    rows = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in report.table(found, plan.arms).splitlines()  # type: ignore[attr-defined]
    }
    assert set(NAMES) < rows.keys()
    assert rows["clean images"][0].startswith("21.0 ± ")
    assert rows["clean images"][3:] == ["+10.0 ± 0.0", "+20.0 ± 0.0"]
    kept = (0.75 + 0.75**2 + 0.75**3) / 3
    assert rows["mRR"][:3] == [f"{100 * kept:.1f} ± 0.0"] * 3
    assert rows["all corruptions"][4].startswith(f"{20 * kept:+.1f}")
    errors = [100 * (1 - kept * (0.3 + 0.01 * d)) / (1 - kept * (0.2 + 0.01 * d)) for d in DRAWS]
    assert rows["mCE"][1].startswith(f"{sum(errors) / 3:.1f} ± ")
    assert rows["mCE"][0] == "100.0 ± 0.0"


def test_collect__without_a_base_there_is_no_error(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    write_results(plan)
    for tuning in robustness.tunings(plan, DRAWS):
        if tuning.arm == "none":
            (robustness.folder(plan, tuning) / "robustness.md").unlink()
    found = report.collect(plan, DRAWS)
    assert {one.arm for one in found} == {"occupancy", "branch"}
    assert all(one.scores[report.METRIC].mean.corruption_error is None for one in found.values())


def test_ledger__holds_every_severity(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    write_results(plan)
    rows = [json.loads(line) for line in report.ledger(report.collect(plan, DRAWS)).splitlines()]
    assert len(rows) == 9
    assert rows[0]["clean"] == 0.2
    assert rows[0]["Fog"] == pytest.approx([0.15, 0.1125, 0.08437], abs=1e-5)


def test_draw__writes_a_radar_of_all_arms(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    write_results(plan)
    report.draw(report.collect(plan, DRAWS), plan.arms, tmp_path / "new" / "radar.png")  # type: ignore[attr-defined]
    assert (tmp_path / "new" / "radar.png").stat().st_size > 10_000


def test_write__is_refused_for_another_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "EXPERIMENTS", tmp_path)
    monkeypatch.setattr(report, "LEDGER", tmp_path / "robustness.jsonl")
    words = ["robustness_report.py", str(tmp_path / "street"), str(tmp_path), "--split", "val", "--write"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        report.main()
    assert stop.value.code == 2
    assert "--write needs --split test" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_refusal__where_rows_would_be_missing_or_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, reported = plan_of(tmp_path), tmp_path / "robustness.jsonl"
    monkeypatch.setattr(report, "LEDGER", reported)
    write_results(plan)
    found = report.collect(plan, DRAWS)
    assert report.refusal(plan, DRAWS, found) is None
    assert "no results here of branch-0-full-1-3" in str(report.refusal(plan, [*DRAWS, 3], found))
    reported.write_text(report.ledger(found))
    assert report.refusal(plan, DRAWS, found) is None
    assert "none-0-full-1-2" in str(report.refusal(plan, [0, 1], report.collect(plan, [0, 1])))

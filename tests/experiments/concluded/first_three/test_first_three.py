"""The first three experiments: what is run, what is skipped, and how metrics are summed up."""

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from tests.experiments.scripts import load

spread = load("harness.spread")
plans = load("concluded.first_three.plan")
pictures = load("concluded.first_three.pictures")
report = load("concluded.first_three.report")


def plan_of(runs: Path, **changes: object) -> "plans.Plan":  # type: ignore[name-defined]
    plan = {
        "street": runs / "street",
        "runs": runs,
        "split": "val",
        "arms": ("none", "occupancy", "both"),
        "seeds": (0, 1),
        "shares": ("1%", "100%"),
        "modes": ("full", "frozen"),
    }
    return plans.Plan(**{**plan, **changes})


def write_results(plan: object, figure_of: dict[str, float]) -> None:
    """Made-up results: arm, seed and draw add up to the figure."""
    for tuning in plan.tunings():  # type: ignore[attr-defined]
        value = figure_of[tuning.arm] + 0.01 * tuning.seed + 0.02 * tuning.draw**2
        file = plan.results(tuning)  # type: ignore[attr-defined]
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"metrics": dict.fromkeys(report.METRICS, value)}))


def test_plan__every_arm_sees_the_same_draws(tmp_path: Path) -> None:
    tunings = plan_of(tmp_path).tunings()
    assert len({tuning.name for tuning in tunings}) == len(tunings) == 2 * 3 * 2 * (5 + 1)
    draws = {
        arm: [(t.seed, t.mode, t.share, t.draw) for t in tunings if t.arm == arm]
        for arm in ("none", "occupancy", "both")
    }
    assert draws["none"] == draws["occupancy"] == draws["both"]


def test_plan__pretrains_only_what_a_missing_result_needs(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert [plan.needs_pretraining(arm, 0) for arm in plan.arms] == [False, True, True]
    write_results(plan, {"none": 0.1, "occupancy": 0.2, "both": 0.25})
    assert not any(plan.needs_pretraining(arm, seed) for arm in plan.arms for seed in plan.seeds)
    plan.results(plan.tunings()[-1]).unlink()
    needed = [(arm, seed) for arm in plan.arms for seed in plan.seeds if plan.needs_pretraining(arm, seed)]
    assert needed == [("both", 1)]


def test_results__differences_are_paired(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    write_results(plan, {"none": 0.1, "occupancy": 0.2, "both": 0.25})
    results = report.Results(plan)
    gains = results.differences("both", "occupancy", "full", "1%", "mean_iou/map")
    assert list(gains.values()) == pytest.approx([5.0] * 10)
    row = next(line for line in report.table(results, "full", "1%").splitlines() if "both, λ 0.01" in line)
    assert "+5.0 ± 0.0" in row
    whole = report.table(results, "frozen", "100%")
    assert "20.0 / 21.0" in whole  # two seeds: no interval


def test_independent__the_same_draw_under_two_seeds_counts_once(tmp_path: Path) -> None:
    """Copies of a draw tell nothing new: the interval is that of the five draws, not of ten values."""
    plan = plan_of(tmp_path)
    write_results(plan, {"none": 0.1, "occupancy": 0.2, "both": 0.25})
    results = report.Results(plan)
    values = report.independent(results.of("none", "full", "1%", "mean_iou/map"))
    assert values == pytest.approx([10.5 + 2 * draw**2 for draw in range(5)])
    row = next(
        line for line in report.table(results, "full", "1%").splitlines() if line.startswith("| no BEV")
    )
    assert f"22.5 ± {spread.half_width(values):.1f}" in row
    single = report.independent(results.of("none", "full", "100%", "mean_iou/map"))
    assert single == pytest.approx([10, 11])  # of one draw, what each seed gave


def test_gentle__without_pretraining_is_full(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, seeds=(0,), shares=("1%",), modes=("full", "gentle"))
    assert {t.mode for t in plan.tunings() if t.arm == "none"} == {"full"}
    assert {t.mode for t in plan.tunings() if t.arm == "both"} == {"full", "gentle"}
    write_results(plan, {"none": 0.1, "occupancy": 0.2, "both": 0.25})
    results = report.Results(plan)
    gains = results.differences("both", "none", "gentle", "1%", "mean_iou/map")
    assert list(gains.values()) == pytest.approx([15.0] * 5)
    assert "no BEV pretraining | " in report.table(results, "gentle", "1%")
    assert report.rows(results).count("gentle") == 2 * 5
    pictures.draw_draws(results, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


def test_rows__hold_every_result(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, arms=("none",), seeds=(1,))
    write_results(plan, {"none": 0.1})
    found = [json.loads(line) for line in report.rows(report.Results(plan)).splitlines()]
    assert len(found) == len(plan.tunings())
    last = {"arm": "none", "seed": 1, "mode": "frozen", "share": "100%", "draw": 0}
    assert found[-1] == {**last, **dict.fromkeys(report.METRICS, pytest.approx(0.11))}


def test_restore__results_of_another_machine_are_not_computed_again(tmp_path: Path) -> None:
    there, here = plan_of(tmp_path / "there", arms=("none", "both")), plan_of(tmp_path / "here")
    write_results(there, {"none": 0.1, "both": 0.25})
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text(report.rows(report.Results(there)))
    own = here.results(here.tunings()[0])
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps({"metrics": dict.fromkeys(report.METRICS, 0.9)}))
    plans.restore(here, ledger)
    assert not here.needs_pretraining("both", 0)
    assert here.needs_pretraining("occupancy", 0)
    found, expected = report.Results(here).found, report.Results(there).found
    assert found.keys() == expected.keys()
    assert found.pop(here.tunings()[0])["mean_iou/map"] == 0.9
    assert all(results == pytest.approx(expected[tuning]) for tuning, results in found.items())
    plans.restore(here, tmp_path / "none.jsonl")  # nothing to restore


def test_draw__writes_pictures(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, shares=("1%", "10%", "100%"))
    write_results(plan, {"none": 0.1, "occupancy": 0.2, "both": 0.25})
    report.draw_pictures(report.Results(plan), tmp_path / "pictures")
    sizes = {file.name: file.stat().st_size for file in (tmp_path / "pictures").iterdir()}
    assert set(sizes) == {"first_three.png", "first_three_shares.png"}
    assert min(sizes.values()) > 10_000


def test_draw_shares__shows_the_arms_that_have_all_shares(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, shares=("1%", "10%", "100%"), modes=("full",))
    write_results(plan, {"none": 0.1, "occupancy": 0.2, "both": 0.25})
    results = report.Results(plan)
    results.found = {
        one: found for one, found in results.found.items() if (one.arm, one.share) != ("both", "10%")
    }
    axes = Figure().subplots()
    pictures._draw_lines(axes, results, "full", "mean_iou/map")
    lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert lines == {
        "no BEV pretraining": pytest.approx([22.5, 10.5, 10.5]),
        "occupancy only": pytest.approx([32.5, 20.5, 20.5]),
    }


def test_cut__says_what_lies_far_below_all_that_was_pretrained() -> None:
    near, far = Figure().subplots(1, 2, sharey=True)
    for axes, untrained in ((near, 29.0), (far, 1.25)):
        axes.plot([0, 1], [untrained - 1, untrained], label="no BEV pretraining")
        axes.plot([0, 1], [30.0, 40.0], label="occupancy only")
    pictures._cut([near, far])
    assert far.get_ylim()[0] == near.get_ylim()[0] == 30 - pictures.BELOW
    assert [text.get_text() for text in far.texts] == ["no BEV pretraining: 1.2 at the most"]
    assert not near.texts


def test_put__replaces_what_is_between_the_marks(tmp_path: Path) -> None:
    file = tmp_path / "LOG.md"
    file.write_text("before\n<!-- first_three: begin -->\nold\n<!-- first_three: end -->\nafter\n")
    report.put(file, "new", "first_three")
    assert file.read_text() == "before\n<!-- first_three: begin -->\nnew\n<!-- first_three: end -->\nafter\n"
    file.write_text("no marks")
    with pytest.raises(ValueError, match="substring"):
        report.put(file, "new", "first_three")

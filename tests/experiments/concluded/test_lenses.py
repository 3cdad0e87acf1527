"""The experiment on lenses: what is run, what a ledger keeps, and the table."""

from pathlib import Path

import pytest

from tests.experiments.scripts import load

lenses = load("concluded.lenses")
ledger = load("harness.ledger")
ROW = {"vehicle_iou/visible": 0.2, "vehicle_iou/all": 0.1, "drivable_area_iou/map": 0.5}


def test_planned__gives_both_rigs_the_same_seeds_and_draws() -> None:
    plan = lenses.planned([0, 1])
    assert len({tuning.name for tuning in plan}) == len(plan)
    kinds = {rig: [(t.pretrained, t.seed, t.draw) for t in plan if t.rig == rig] for rig in lenses.RIGS}
    assert kinds["fisheye4"] == kinds["pinhole8"]
    assert {seed for pretrained, seed, _ in kinds["fisheye4"] if not pretrained} == {0}


def test_main__runs_what_has_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = lenses.planned([0])
    rows = ledger.Ledger(tmp_path / "rows.jsonl", lenses.Tuning)
    monkeypatch.setattr(lenses, "LEDGER", rows)
    rows.add(dict.fromkeys(plan[2:], ROW), tmp_path)
    ran: list[str] = []
    monkeypatch.setattr(lenses, "prepare", lambda runs, rig: ran.append(rig))
    monkeypatch.setattr(lenses, "tune", lambda runs, tuning: ran.append(tuning.name) or ROW)
    monkeypatch.setattr("sys.argv", ["lenses.py", str(tmp_path), "--seeds", "0"])
    lenses.main()
    assert ran == ["fisheye4", plan[0].name, "fisheye4", plan[1].name]
    assert set(rows.read()) == set(plan)


def test_table__pairs_the_rigs() -> None:
    rows = {tuning: dict(ROW) for tuning in lenses.planned([0, 1])}
    for tuning, row in rows.items():
        row["vehicle_iou/visible"] += 0.03 * (tuning.rig == "fisheye4") + 0.01 * tuning.seed
    first = lenses.table(rows).splitlines()[0]
    assert "OccFeat vehicle_iou/visible: fisheye4 23.5 ± 0.9  pinhole8 20.5 ± 0.9" in first
    assert "difference +3.0 ± 0.0 of 4 pairs standard deviation 0.0" in first

"""The experiment on real scenes: its plan, its table, and a whole run of the smallest size."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.experiments.scripts import load
from tests.support.nuscenes_folder import build_nuscenes_folder

real_scene = load("real_scene")
ledger = load("harness.ledger")
PARTS = ("--pretrain", "scene-0061:0-0.6", "--labels", "scene-0061:0-0.6", "--test", "scene-0061:0.7-1")


def _run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    """Call the script."""
    monkeypatch.setattr("sys.argv", ["real_scene.py", *map(str, words)])
    real_scene.main()


def _tuning(arm: str, rate: float = 1.0, seed: int = 0, draw: int = 0) -> Any:
    """A fine-tuning with two labelled key frames."""
    return real_scene.Tuning("s", 8, arm, 2, rate, seed, draw)


def test_planned__gives_all_arms_before_the_next_draw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Any] = []
    monkeypatch.setattr(real_scene, "prepare", lambda plan: plans.append(plan) is None)
    monkeypatch.setattr(real_scene, "one_round", lambda plan: True)
    monkeypatch.setattr(real_scene, "LEDGER", ledger.Ledger(tmp_path / "rows.jsonl", real_scene.Tuning))
    few = ("--seeds", 0, "--draws", 0, 1, "--labelled", 2, "--start", f"street={tmp_path}")
    _run(monkeypatch, tmp_path, tmp_path, *PARTS, *few)
    found = [(t.arm, t.rate) for t in plans[0].tunings if t.draw == 0]
    pretrained = [(arm, rate) for arm in ("occupancy", "both", "street") for rate in (1.0, 0.1)]
    assert found == [("none", 1.0), *pretrained]
    assert [t.draw for t in plans[0].tunings] == [0] * len(found) + [1] * len(found)
    assert len({tuning.name for tuning in plans[0].tunings}) == 2 * len(found)
    assert plans[0].pretrained(plans[0].tunings[-1]) == tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--pretrain", "a:0-0.8", "--labels", "a:0-0.6", "--test", "a:0.7-1"), "a:0-0.8 is learned from"),
        (("--pretrain", "a", "--labels", "b:1-0", "--test", "c"), "expected SCENE or SCENE:BEGIN-END"),
        (("--pretrain", "a", "--labels", "a", "--test", "c", "--start", "both=x"), "cannot be called both"),
    ],
)
def test_main__refuses_what_would_say_nothing(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        _run(monkeypatch, tmp_path, tmp_path, *words)
    assert said in capsys.readouterr().err


def test_epochs__come_nearest_to_the_steps() -> None:
    assert [real_scene.epochs(60, count, 2) for count in (2, 4, 8)] == [60, 30, 15]
    assert real_scene.epochs(480, 25, 4) == 69
    assert real_scene.epochs(1, 25, 4) == 1


def test_table__pairs_equal_seeds_draws_and_rates() -> None:
    rows = {}
    for arm, rate in (("none", 1.0), ("occupancy", 1.0), ("occupancy", 0.1), ("both", 0.1)):
        gain = 0.1 * (arm != "none") + 0.02 * (rate == 0.1) + 0.03 * (arm == "both")
        for seed in range(3):
            for draw in range(3):
                rows[_tuning(arm, rate, seed, draw)] = {"vehicle_iou/visible": 0.1 + gain + 0.01 * draw}
    lines = real_scene.table(rows).splitlines()[2:]
    assert lines[0] == "| 2 | none | 1 | vehicle, visible | 9 | 11.0 ± 0.0 / 2.5 | - | - |"
    ends = "| +15.0 ± 0.0 / 0.0 | +3.0 ± 0.0 / 0.0 |"
    assert lines[3] == f"| 2 | both | 0.1 | vehicle, visible | 9 | 26.0 ± 0.0 / 2.5 {ends}"


@pytest.mark.slow
@pytest.mark.packaged
def test_main__from_a_folder_to_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = build_nuscenes_folder(tmp_path / "data", key_frames=11, returns=300, scenes=("scene-0061",))
    rows = ledger.Ledger(tmp_path / "rows.jsonl", real_scene.Tuning)
    monkeypatch.setattr(real_scene, "LEDGER", rows)
    short = ("--steps", 2, "--tuned-steps", 1, "--apart-m", 1)
    few = ("--seeds", 0, "--draws", 0, "--labelled", 2, "--rates", 0.1, "--arms", "both")
    _run(monkeypatch, root, tmp_path / "runs", *PARTS, *few, *short)
    found = rows.read()
    assert [tuning.arm for tuning in found] == ["none", "both"]
    assert all(0 <= metrics["vehicle_iou/visible"] <= 1 for metrics in found.values())
    assert (tmp_path / "runs" / "real_scene.png").stat().st_size > 10_000
    tokens = (tmp_path / "runs" / "both-2-2-0.1-0-0" / "label_tokens.txt").read_text().split()
    samples = json.loads((tmp_path / "runs" / "parts" / "v1.0-mini" / "sample.json").read_text())
    learned = {sample["token"] for sample in samples if sample["scene_token"] == "scene-0061:0-0.6"}
    assert len(tokens) == 2
    assert set(tokens) < learned
    table = capsys.readouterr().out
    monkeypatch.setattr(real_scene, "tune", lambda plan, tuning: pytest.fail("ran what has a row"))
    _run(monkeypatch, root, tmp_path / "runs", *PARTS, *few, *short)
    assert capsys.readouterr().out.strip() in table


@pytest.mark.parametrize("labelled", [(4,), (2, 4)])
def test_draw__one_number_of_labelled_key_frames_gives_a_line_per_arm(
    labelled: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {
        real_scene.Tuning("s", 8, arm, count, 1.0, seed, 0): {"vehicle_iou/visible": 0.2 + 0.1 * seed}
        for arm in ("none", "both")
        for count in labelled
        for seed in range(3)
    }
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(real_scene, "draw_arms", lambda file, panels: drawn.update(panels))
    monkeypatch.setattr(real_scene, "draw_curves", lambda file, panels, title: drawn.update(curves=panels))
    real_scene.draw(rows, tmp_path / "plot.png")
    assert ("curves" in drawn) == (len(labelled) > 1)
    if len(labelled) == 1:
        cells = drawn["vehicle, visible, IoU in %"]
        assert list(cells) == ["none", "both, rate 1"]
        assert [round(value) for value in cells["none"].values()] == [20, 30, 40]

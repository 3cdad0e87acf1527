"""The self-test of a device, against the CPU itself and on the pretended GPU."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from occfeat.cli import main
from occfeat.commands.doctor import compare, rates
from occfeat.commands.doctor.compare import STUDENTS, compare_resumed, compare_student, compare_targets
from occfeat.commands.doctor.rows import Row, as_table
from occfeat.commands.doctor.scene import SMALL, make_batch
from occfeat.pretraining.network import TargetMaker
from tests.pretended.device import GPU, PretendedGpu

TINY = {"backbone": "test_efficientnet", "image_channels": 8, "bev_channels": 8}

pytestmark = pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")


@pytest.fixture(autouse=True)
def small_students(monkeypatch: pytest.MonkeyPatch) -> None:
    """Students and scenes that take a second."""
    tiny = {name: config.model_copy(update=TINY) for name, config in STUDENTS.items()}
    monkeypatch.setattr(compare, "STUDENTS", tiny)
    monkeypatch.setattr(compare, "STEPS", 3)
    monkeypatch.setattr(compare, "KEY_FRAMES", 1)


@pytest.mark.parametrize("name", STUDENTS)
def test_doctor__a_gpu_that_computes_like_the_cpu_is_right(gpu: PretendedGpu, name: str) -> None:
    rows = [*compare_student(name, GPU)]
    assert len(rows) == 10
    assert all(row.is_right for row in rows), as_table(rows)
    exact = [row for row in rows if "32-true" in row.what and "difference" in row.what]
    assert all(row.value < 1e-6 for row in exact), as_table(rows)


def test_doctor__targets_and_resuming_are_right(gpu: PretendedGpu) -> None:
    rows = [*compare_targets(GPU), *compare_resumed(GPU)]
    assert [row.value for row in rows] == [0, 0, pytest.approx(0, abs=1e-6), 0]


def test_doctor__wrong_targets_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    make, count = TargetMaker.__call__, iter(range(9))

    def wrong_the_second_time(maker: TargetMaker, batch: Any) -> Any:
        targets = make(maker, batch)
        if next(count) == 1:
            occupied = ~targets["occupancy"].occupied
            targets["occupancy"] = replace(targets["occupancy"], occupied=occupied)
        return targets

    monkeypatch.setattr(TargetMaker, "__call__", wrong_the_second_time)
    wrong = [row for row in compare_targets(torch.device("cpu")) if not row.is_right]
    assert [row.what for row in wrong] == ["targets: voxels with another occupancy"]


def test_doctor__a_network_that_differs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    build, count = compare.build_learner, iter(range(9))

    def other_the_second_time(*given: Any) -> compare.Learner:
        learner = build(*given)
        if next(count) == 1:
            with torch.no_grad():
                for parameter in learner.network.student.parameters():
                    parameter.mul_(1.5)
        return learner

    monkeypatch.setattr(compare, "build_learner", other_the_second_time)
    rows = list(compare_student("lss", torch.device("cpu")))
    assert not rows[0].is_right
    assert "WRONG" in as_table(rows)


def test_doctor__writes_what_it_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def few(device: torch.device) -> Iterator[Row]:
        yield Row("a rate", 3.0, "key frames/s")
        yield Row("a difference", float("nan"), limit=1)

    monkeypatch.setattr("occfeat.commands.doctor.doctor.learning_rates", few)
    monkeypatch.setattr("occfeat.commands.doctor.doctor.compare_student", lambda *_: ())
    monkeypatch.setattr(rates, "SECONDS", 0.2)
    assert main(["doctor", "--device", "cpu", "--out", str(tmp_path / "doctor.json")]) == 1
    shown = capsys.readouterr().out
    assert "1 of 10 lines are WRONG." in shown
    assert shown.splitlines()[-1] == str(tmp_path / "doctor.json")
    written = json.loads((tmp_path / "doctor.json").read_text())
    assert written["about"]["device"] == "cpu"
    assert [row["is_right"] for row in written["rows"]] == [True] * 9 + [False]
    assert next(row for row in written["rows"] if row["what"] == "loading, in one process")["value"] > 0


def test_scene__same_seed_same_batch_with_cells_that_cameras_see() -> None:
    first, second = (make_batch(SMALL, 2, seed) for seed in (1, 1))
    assert torch.equal(first.images, second.images)
    assert first.points is not None
    cell, inside = SMALL.grid.cell_index(first.points.points_ego)
    assert inside.float().mean() > 0.5
    assert len(cell[inside].unique(dim=0)) > 300


def test_doctor__targets_of_other_voxels_alone_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    make, count = TargetMaker.__call__, iter(range(9))

    def elsewhere_the_second_time(maker: TargetMaker, batch: Any) -> Any:
        targets = make(maker, batch)
        if next(count) == 1:
            cells = targets["features"].cells + 1000
            targets["features"] = replace(targets["features"], cells=cells)
        return targets

    monkeypatch.setattr(TargetMaker, "__call__", elsewhere_the_second_time)
    wrong = [row for row in compare_targets(torch.device("cpu")) if not row.is_right]
    assert [(row.what, row.value) for row in wrong] == [
        ("targets: share of voxels with features here alone", 2)
    ]


def test_doctor__a_device_that_computes_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([[2.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    monkeypatch.setattr(compare, "_one_pass", lambda *_: (torch.ones(1),) * 3)
    monkeypatch.setattr(compare, "_ten_steps", lambda *_: next(losses))
    wrong = [row for row in compare_student("simplebev", torch.device("cpu")) if not row.is_right]
    assert [(row.what.split(": ")[1], row.value) for row in wrong] == [
        ("loss after 3 steps, relative", 1),
        ("last loss over first", float("inf")),
    ] * 2

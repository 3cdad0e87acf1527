"""Ledgers of experiments."""

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

from tests.experiments.scripts import load

ledger = load("harness.ledger")


@dataclass(frozen=True)
class Job:
    """A job."""

    arm: str
    seed: int
    averaged: bool = False


def _add(file: Path, seeds: range) -> None:
    """Add rows one by one, as a process does."""
    for seed in seeds:
        ledger.Ledger(file, Job).add({Job("a", seed): {"iou": seed / 10}}, file.parent / "locks")


def test_read__gives_what_was_added(tmp_path: Path) -> None:
    rows = ledger.Ledger(tmp_path / "rows.jsonl", Job)
    assert rows.read() == {}
    rows.add({Job("a", 0): {"iou": 0.1234567}, Job("a", 0, True): {"iou": 0.2}}, tmp_path)
    rows.add({Job("b", 1): {"iou": 0.3}, Job("a", 0): {"iou": 0.5, "all": 1.0}}, tmp_path)
    expected = {
        Job("a", 0): {"iou": 0.5, "all": 1.0},
        Job("a", 0, True): {"iou": 0.2},
        Job("b", 1): {"iou": 0.3},
    }
    assert rows.read() == expected
    assert "0.1234567" not in rows.file.read_text()
    rows.add({Job("c", 0): {"iou": 0.1234567}}, tmp_path)
    assert rows.read()[Job("c", 0)] == {"iou": 0.12346}


def test_add__loses_nothing_of_two_processes(tmp_path: Path) -> None:
    file, context = tmp_path / "rows.jsonl", multiprocessing.get_context("fork")
    processes = [context.Process(target=_add, args=(file, range(n, 40, 2))) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert {job.seed for job in ledger.Ledger(file, Job).read()} == set(range(40))

"""The first three experiments as values: arms, shares of the labels, ways to fine-tune, results there are."""

import argparse
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness import jobs
from harness.ledger import LEDGERS, Ledger
from harness.settings import CHOSEN
from occfeat.machine.atomic import write_text_atomic

LEDGER = LEDGERS / "first_three.jsonl"
"""A row per fine-tuning evaluated on the split test; `report.py --write` keeps it."""
REPORTED = "test"
"""Split of the ledger and of everything that is written down."""
SEEDS = (0, 1)
"""Of pretraining, and of the order in fine-tuning."""


@dataclass(frozen=True)
class Arm:
    """One way to pretrain."""

    title: str
    loss: dict[str, Any] | None
    """Settings of the loss; None: no pretraining."""
    branch: bool = False
    """The features have a branch of their own in the head."""
    oracle: bool = False
    """The teacher is the world's truth."""


ARMS = {
    "none": Arm("no BEV pretraining", None),
    "occupancy": Arm("occupancy only", {"features": 0}),
    "features": Arm("distillation only, λ 1", {"occupancy": 0, "features": 1}),
    "both": Arm("both, λ 0.01 (the paper's)", {"features": 0.01}),
    "centered-0.1": Arm("both, centred, λ 0.1", {"features": 0.1, "center": "mean"}),
    "centered-1": Arm("both, centred, λ 1", {"features": 1, "center": "mean"}),
    "branch": Arm("both, centred, λ 0.3, own branch", CHOSEN, branch=True),
    "oracle": Arm("the same with an oracle teacher", CHOSEN, branch=True, oracle=True),
}


@dataclass(frozen=True)
class Labels:
    """A share of the labels, and how long to learn from it."""

    fraction: float
    draws: int
    epochs: int
    batch_size: int


LABELS = {
    "1%": Labels(0.01, draws=5, epochs=60, batch_size=3),
    "10%": Labels(0.1, draws=1, epochs=16, batch_size=4),
    "100%": Labels(1.0, draws=1, epochs=2, batch_size=4),
}
"""With 300 training key frames: 60, 120 and 150 steps."""


@dataclass(frozen=True)
class Mode:
    """A way to fine-tune."""

    rate: float
    student_rate: float = 1.0
    freeze: bool = False


MODES = {
    "full": Mode(3e-3),
    "gentle": Mode(3e-3, student_rate=0.1),
    "frozen": Mode(1e-1, freeze=True),
}
"""Everything at one rate; what was pretrained at a tenth of it; a linear head on the frozen network."""


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning."""

    arm: str
    seed: int
    mode: str
    share: str
    draw: int

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.arm}-{self.seed}-{self.mode}-{self.share.rstrip('%')}-{self.draw}"


@dataclass(frozen=True)
class Plan:
    """What is run, and where."""

    street: Path
    runs: Path
    split: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    shares: tuple[str, ...]
    modes: tuple[str, ...]

    def tunings(self) -> list[Tuning]:
        """Return all fine-tunings, those of the smallest share of the labels first, whatever the seed.

        Nothing is gentle without pretraining: most of that network is yet to be learned.
        """
        return [
            Tuning(arm, seed, mode, share, draw)
            for share in self.shares
            for seed in self.seeds
            for arm in self.arms
            for mode in self.modes
            for draw in range(LABELS[share].draws)
            if (arm, mode) != ("none", "gentle")
        ]

    def needs_pretraining(self, arm: str, seed: int) -> bool:
        """Return whether a fine-tuning that starts from it has no result yet."""
        mine = (tuning for tuning in self.tunings() if (tuning.arm, tuning.seed) == (arm, seed))
        return ARMS[arm].loss is not None and not all(self.results(tuning).is_file() for tuning in mine)

    def pretrained(self, arm: str, seed: int) -> Path:
        """Folder of a pretraining run."""
        return self.runs / f"pretrained-{arm}-{seed}"

    def results(self, tuning: Tuning) -> Path:
        """Metrics of a fine-tuning."""
        return jobs.results_file(self.runs / tuning.name, self.split)


Rows = dict[Tuning, dict[str, float]]
"""Metrics of fine-tunings, IoUs from 0 to 1."""


def read_ledger(file: Path) -> Rows:
    """Rows of a ledger; none if there is no such file."""
    return Ledger(file, Tuning).read()


def restore(plan: Plan, ledger: Path) -> None:
    """Put the results of a ledger where this plan looks for them, unless it has its own."""
    rows, locks = read_ledger(ledger), plan.runs / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / "ledger"):  # several processes begin at once
        for tuning in plan.tunings():
            file = plan.results(tuning)
            if tuning in rows and not file.is_file():
                write_text_atomic(file, json.dumps({"metrics": rows[tuning]}))


def lacking(known: Collection[Tuning]) -> list[Tuning]:
    """Return what tables need beside this: every seed has all arms, shares and modes."""
    seeds = sorted({*SEEDS, *(tuning.seed for tuning in known)})
    whole = Plan(Path(), Path(), REPORTED, tuple(ARMS), tuple(seeds), tuple(LABELS), tuple(MODES))
    return [tuning for tuning in whole.tunings() if tuning not in known]


def parser(about: str | None, split: str) -> argparse.ArgumentParser:
    """Return what `work.py` and its report are told; `split` is the one they take if none is named."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("street", type=Path)
    made.add_argument("runs", type=Path)
    made.add_argument("--split", default=split, help="where to evaluate: val to choose, test to report")
    made.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    made.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    made.add_argument("--shares", nargs="+", default=list(LABELS), choices=list(LABELS))
    made.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    told = "train nothing that has a row in first_three.jsonl: its metrics count as results of RUNS"
    made.add_argument("--from-ledger", action="store_true", help=told)
    return made


def read_arguments(made: argparse.ArgumentParser) -> tuple[argparse.Namespace, Plan]:
    """Read the command line, and the plan it asks for."""
    given = made.parse_args()
    if given.from_ledger and given.split != REPORTED:
        made.error(f"--from-ledger needs --split {REPORTED}: first_three.jsonl has metrics of no other")
    chosen = (tuple(given.arms), tuple(given.seeds), tuple(given.shares), tuple(given.modes))
    return given, Plan(given.street, given.runs, given.split, *chosen)

"""Compare ways to pretrain on a street of `study.py`: what is run, and the rows that it adds to a ledger.

Each arm is pretrained with several seeds and analysed, and each of these is fine-tuned on several draws of
three labelled key frames, as a whole and with a linear head. What has rows in the ledger of the world is not
run again. So questions about one world share their runs, if they get the same folder. An interrupted run goes
on, and several processes can share the work.
"""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import occfeat
from harness import jobs
from harness.ledger import Ledger, Metrics
from harness.study import FROM_SCRATCH, MODES, Arm, Study
from occfeat.runs.folder import ANALYSIS, RunFolder

METRICS = {"vehicle_iou/visible": "vehicle, visible", "mean_iou/map": "map"}
SPLITS = ("val", "test")
"""Towns to choose in and to report."""
PRETRAINING = "pretraining"
"""Mode of the rows that say what a pretraining took and learned."""
PROBED = 12
"""Key frames of the validation town on which a pretraining is analysed."""


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning."""

    arm: str
    mode: str
    seed: int
    draw: int

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.arm}-{self.mode}-{self.seed}-{self.draw}"


@dataclass(frozen=True)
class Result(Tuning):
    """What a fine-tuning gives in one town."""

    split: str


Rows = dict[Result, Metrics]


@dataclass(frozen=True)
class Comparison:
    """A question."""

    arms: Mapping[str, Arm | None]
    """Ways to pretrain; None: no pretraining."""
    ledger: Ledger[Result]
    study: Study

    @property
    def runs(self) -> Path:
        """Folder of the runs."""
        return self.study.runs

    def run(self, tunings: list[Tuning]) -> None:
        """Work through fine-tunings and what they start from."""
        jobs.work(self.study.build_world)
        jobs.work(lambda: self.one_round(tunings))

    def one_round(self, tunings: list[Tuning]) -> bool:
        """Look at every fine-tuning once; whether all of them are done."""
        done = True
        for tuning in tunings:
            if not self.is_done(tuning):
                done &= self.pretrain(tuning.arm, tuning.seed) and self.tune(tuning)
        return done

    def is_done(self, tuning: Tuning) -> bool:
        """Return whether a fine-tuning has a row for each town."""
        known = self.ledger.read()
        return all(result_of(tuning, split) in known for split in SPLITS)

    def pretrain(self, name: str, seed: int) -> bool:
        """Pretrain an arm, and look at what it learned; whether that is done."""
        arm, out = self.arms[name], self.runs / f"pretrained-{name}-{seed}"
        if arm is None:
            return True
        begin, row = time.process_time(), Result(name, PRETRAINING, seed, 0, SPLITS[0])
        if not jobs.is_pretrained(out) and not self.study.pretrain(out, arm, seed):
            return False
        with jobs.claim(out) as mine:
            if mine and row not in self.ledger.read():
                measured = self.measure(out)
                self.ledger.add(
                    {row: {**measured, "cpu_s": time.process_time() - begin}}, self.runs / "locks"
                )
        return mine

    def measure(self, run: Path) -> Metrics:
        """Return what a pretraining learned: probes of its features, and the occupancy that it predicts."""
        out = RunFolder(run).analysis(SPLITS[0])
        if not (out / ANALYSIS).is_file():
            shutil.rmtree(out, ignore_errors=True)  # what was interrupted
            occfeat.analyse(run, data=self.study.folder, split=SPLITS[0], key_frames=PROBED)
        return measures_of(json.loads((out / ANALYSIS).read_text(encoding="utf-8")))

    def tune(self, tuning: Tuning) -> bool:
        """Fine-tune, and evaluate in both towns; whether it is done."""
        begin, out, arm = time.process_time(), self.runs / tuning.name, self.arms[tuning.arm]
        settings = dict(MODES[tuning.mode])
        if arm is None:
            settings |= FROM_SCRATCH[tuning.mode]
        else:
            settings |= {"start": self.runs / f"pretrained-{tuning.arm}-{tuning.seed}"}
        if not self.study.finetune(out, draw=tuning.draw, seed=tuning.seed, **settings):
            return False
        with jobs.claim(out) as mine:
            if mine:
                self._evaluate(tuning, out, begin)
        return mine

    def _evaluate(self, tuning: Tuning, out: Path, begin: float) -> None:
        """Add the rows of a fine-tuning, evaluated where it is not yet."""
        rows = {result_of(tuning, split): self.study.evaluate(out, split) for split in SPLITS}
        rows[result_of(tuning, SPLITS[0])]["cpu_s"] = time.process_time() - begin
        self.ledger.add(rows, self.runs / "locks")
        chosen = rows[result_of(tuning, SPLITS[0])]
        said = ", ".join(f"{title} {100 * chosen[metric]:.1f}" for metric, title in METRICS.items())
        print(f"{tuning.name}: {said} in the validation town", flush=True)


def result_of(tuning: Tuning, split: str) -> Result:
    """Return the row of a fine-tuning in a town."""
    return Result(tuning.arm, tuning.mode, tuning.seed, tuning.draw, split)


def measures_of(analysis: Mapping[str, Any]) -> Metrics:
    """Return the numbers of an analysis that are compared: AUC of probes, cosines, IoU of occupancy."""
    probes = {
        f"probe_auc/{who}/{name}": value
        for who, found in analysis["probe_auc"].items()
        for name, value in found.items()
    }
    by_distance = {
        f"probe_auc/{who}/{name}/{ring}": value
        for who, by_class in analysis["probe_auc_by_distance"].items()
        for name, found in by_class.items()
        for ring, value in found.items()
    }
    cosines = {f"cosine/{name}": value for name, value in analysis["cosine_by_class"].items()}
    rings = {
        f"occupancy_iou/{ring}": found["iou"] for ring, found in analysis["occupancy_by_distance"].items()
    }
    return {**probes, **by_distance, **cosines, **rings}


def planned(arms: list[str], modes: list[str], seeds: list[int], draws: list[int]) -> list[Tuning]:
    """Return all fine-tunings, a seed of all arms before the next, so that arms can be compared early."""
    return [Tuning(arm, mode, *pair) for *pair, arm, mode in product(seeds, draws, arms, modes)]

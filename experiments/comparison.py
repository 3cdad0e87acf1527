"""Compare ways to pretrain on the street of `study.py`: seeds, draws, ledger, tables and plots.

A script of a question names its arms and calls `main`. Each arm is pretrained with several seeds, and each of
these is fine-tuned on several draws of 1 % of the labels, as a whole and with a linear head. What has rows in
the ledger is not run again. An interrupted run goes on, and several processes can share the work.
"""

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import jobs
import study
from ledger import Ledger, Metrics
from plots import draw_arms
from spread import Cell, markdown, paired, with_intervals
from study import Arm

import occfeat

METRICS = {"vehicle_iou/visible": "vehicle, visible", "mean_iou/map": "map"}
BASES = ("none", "occupancy")
"""Arms that the others are compared with."""
SPLITS = ("val", "test")
"""Towns to choose in and to report."""
PRETRAINING = "pretraining"
"""Mode of the rows that say what a pretraining took."""


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

    arms: dict[str, Arm | None]
    """Ways to pretrain; None: no pretraining."""
    ledger: Ledger[Result]
    runs: Path

    def run(self, tunings: list[Tuning]) -> None:
        """Work through fine-tunings and what they start from."""
        jobs.work(lambda: study.build_world(self.runs))
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
        """Pretrain an arm; whether it is done."""
        arm, out = self.arms[name], self.runs / f"pretrained-{name}-{seed}"
        if arm is None or jobs.is_pretrained(out):
            return True
        begin = time.process_time()
        done = study.pretrain(self.runs, out, arm, seed)
        if done:
            row = Result(name, PRETRAINING, seed, 0, "train")
            self.ledger.add({row: {"cpu_s": time.process_time() - begin}}, self.runs / "locks")
        return done

    def tune(self, tuning: Tuning) -> bool:
        """Fine-tune, and evaluate in both towns; whether it is done."""
        begin, out, arm = time.process_time(), self.runs / tuning.name, self.arms[tuning.arm]
        settings = dict(study.MODES[tuning.mode])
        if arm is None:
            settings |= study.FROM_SCRATCH[tuning.mode]
        else:
            settings |= {"start": self.runs / f"pretrained-{tuning.arm}-{tuning.seed}"}
        if not study.finetune(out, SPLITS[0], draw=tuning.draw, seed=tuning.seed, **settings):
            return False
        with jobs.claim(out) as mine:
            if mine:
                self._evaluate(tuning, out, begin)
        return mine

    def _evaluate(self, tuning: Tuning, out: Path, begin: float) -> None:
        """Add the rows of a fine-tuning, evaluated where it is not yet."""
        rows = {}
        for split in SPLITS:
            file = jobs.results_file(out, split)
            if not file.is_file():
                settings = {"split": split, "pictures": 0, "engine": {"workers": 0}}
                occfeat.evaluate(out, data=study.street(self.runs), **settings)
            rows[result_of(tuning, split)] = dict(json.loads(file.read_text(encoding="utf-8"))["metrics"])
        rows[result_of(tuning, SPLITS[0])]["cpu_s"] = time.process_time() - begin
        self.ledger.add(rows, self.runs / "locks")
        chosen = rows[result_of(tuning, SPLITS[0])]
        said = ", ".join(f"{title} {100 * chosen[metric]:.1f}" for metric, title in METRICS.items())
        print(f"{tuning.name}: {said} in the validation town", flush=True)


def result_of(tuning: Tuning, split: str) -> Result:
    """Return the row of a fine-tuning in a town."""
    return Result(tuning.arm, tuning.mode, tuning.seed, tuning.draw, split)


def planned(arms: list[str], modes: list[str], seeds: list[int], draws: list[int]) -> list[Tuning]:
    """Return all fine-tunings, a seed of all arms before the next, so that arms can be compared early."""
    return [Tuning(arm, mode, *pair) for *pair, arm, mode in product(seeds, draws, arms, modes)]


def cells_of(rows: Rows, mode: str, split: str, metric: str) -> dict[str, Cell]:
    """Return per cent by arm, of a mode and a town."""
    cells: dict[str, Cell] = defaultdict(dict)
    for one, metrics in rows.items():
        if (one.mode, one.split) == (mode, split):
            cells[one.arm][one.seed, one.draw] = 100 * metrics[metric]
    return cells


def table(rows: Rows, titles: dict[str, str], mode: str, split: str) -> str:
    """Return the table of a mode and a town: means with intervals over seeds and over draws, and gains."""
    lines = []
    cells = {metric: cells_of(rows, mode, split, metric) for metric in METRICS}
    for arm in (arm for arm in titles if arm in cells["mean_iou/map"]):
        row = [titles[arm], len(cells["mean_iou/map"][arm])]
        row += [with_intervals(of_arm[arm]) for of_arm in cells.values()]
        for base, of_arm in product(BASES, cells.values()):
            gain = {} if arm in ("none", base) else paired(of_arm[arm], of_arm.get(base, {}))
            row.append(with_intervals(gain, sign=True))
        lines.append(row)
    gains = [f"{title}, over {titles[base]}" for base, title in product(BASES, METRICS.values())]
    return markdown([f"{mode}, {split}", "runs", *METRICS.values(), *gains], lines)


def hours(rows: Rows) -> float:
    """Return the hours of two cores that the rows took."""
    return sum(metrics.get("cpu_s", 0.0) for metrics in rows.values()) / 3600 / 2


def main(about: str | None, arms: dict[str, Arm | None], ledger: Path, picture: str) -> None:
    """Read the command line of a question, run what is missing, and print and draw what there is.

    Args:
        about: Docstring of the script.
        arms: Ways to pretrain by name, `none` and `occupancy` among them.
        ledger: File of the rows.
        picture: Name of the plot, in the folder of the runs.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--arms", nargs="+", default=list(arms), choices=list(arms))
    parser.add_argument("--modes", nargs="+", default=list(study.MODES), choices=list(study.MODES))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--draws", nargs="+", type=int, default=list(range(3)))
    parser.add_argument("--split", default=SPLITS[0], choices=SPLITS, help="town of tables and plot")
    parser.add_argument("--report", action="store_true", help="run nothing")
    given = parser.parse_args()
    comparison = Comparison(arms, Ledger(ledger, Result), given.runs)
    if not given.report:
        comparison.run(planned(given.arms, given.modes, given.seeds, given.draws))
    rows = comparison.ledger.read()
    titles = {name: arm.title if arm else "no BEV pretraining" for name, arm in arms.items()}
    print("\n\n".join(table(rows, titles, mode, given.split) for mode in given.modes))
    print(f"\n{hours(rows):.1f} hours of two cores")
    panels = {
        f"{mode}: {title}, IoU in %": {titles[arm]: cell for arm, cell in cells.items()}
        for mode, (metric, title) in product(given.modes, METRICS.items())
        if (cells := cells_of(rows, mode, given.split, metric))
    }
    if panels:
        draw_arms(given.runs / picture, panels)

"""What makes fine-tunings vary less with the seed and with the draw of the labels, at equal cost.

    python experiments/noise.py RUNS [--ways plain layers ...] [--starts none occupancy ...] [--report]

Builds the world of `study.py` below RUNS, pretrains once by each objective, and fine-tunes each start in each
way on 1 % of the labels, with several seeds and draws; evaluates in the validation town. Every run keeps
averaged weights beside its last ones, so each fine-tuning adds two rows to `ledgers/noise.jsonl`: of its last
weights and of their average. What has rows is not run again. Several processes can share the work. `--report`
prints the tables alone, also one of the rates and seeds of `ledgers/first_three.jsonl`.
"""

import argparse
import shutil
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from scipy.stats import chi2

from concluded.first_three import plan as first_three
from harness import jobs
from harness.ledger import LEDGERS, Ledger
from harness.spread import Cell, cells_by, markdown, of_draws, paired, with_interval
from harness.study import BOTH, OCCUPANCY, STREET, Study
from occfeat.runs.checkpoint import load_checkpoint
from occfeat.runs.folder import RunFolder

SPLIT = "val"
METRIC = "vehicle_iou/visible"
MAPS = "mean_iou/map"
SEEDS, DRAWS = 3, 3
EMA = 0.2
"""Share of a run over which weights are averaged."""
OBJECTIVES = {"occupancy": OCCUPANCY, "both": BOTH}
STARTS = ("none", "occupancy", "occupancy-averaged", "both", "both-averaged")
"""What fine-tuning starts from; averaged: from the averaged weights of the same pretraining."""
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layers": {"optim": {"layer_decay": 0.7}},
    "frozen": {"student": {"freeze_backbone": True}},
    "half": {"optim": {"epochs": 30}},
    "double": {"optim": {"epochs": 120}},
}
"""What is changed: rates by layer; the backbone, with its batch statistics, is kept; shorter; longer."""


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning."""

    start: str
    way: str
    seed: int
    draw: int

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.start}-{self.way}-{self.seed}-{self.draw}"


@dataclass(frozen=True)
class Weights(Tuning):
    """Weights of a fine-tuning: their average, or those after the last step."""

    averaged: bool

    @property
    def name(self) -> str:
        """What they are."""
        return f"{super().name}-{'average' if self.averaged else 'last'}"


Rows = dict[Weights, dict[str, float]]
LEDGER = Ledger(LEDGERS / "noise.jsonl", Weights)


def weights_of(tuning: Tuning, *, averaged: bool) -> Weights:
    """Return one of the two that a fine-tuning keeps."""
    return Weights(tuning.start, tuning.way, tuning.seed, tuning.draw, averaged)


def planned(starts: list[str], ways: list[str]) -> list[Tuning]:
    """Return all fine-tunings: way after way, each with all starts of a seed and a draw before the next."""
    pairs = sorted(product(range(SEEDS), range(DRAWS)), key=lambda pair: (max(pair), pair))
    return [Tuning(start, way, *pair) for way in ways for pair in pairs for start in starts]


def pretrain(runs: Path, start: str) -> bool:
    """Pretrain what a fine-tuning starts from; whether it is there."""
    objective = start.removesuffix("-averaged")
    averaged, last = (runs / f"pretrained-{objective}{which}" for which in ("-averaged", ""))
    if not Study(STREET, runs).pretrain(averaged, OBJECTIVES[objective], 0, ema=EMA):
        return False
    with jobs.claim(last) as mine:
        if mine and not last.is_dir():
            write_last_weights(averaged, last, "")
    return last.is_dir()


def write_last_weights(run: Path, out: Path, prefix: str) -> None:
    """Write a folder like that of a run with averaged weights, with the weights after the last step."""
    network = load_checkpoint(RunFolder(run).checkpoint).network
    shipped = load_file(RunFolder(run).weights)
    unfinished = out.with_name(f"{out.name}-unfinished")
    unfinished.mkdir(exist_ok=True)
    tensors = {name: network[f"{prefix}{name}"].contiguous() for name in shipped}
    save_file(tensors, RunFolder(unfinished).weights)
    shutil.copy(RunFolder(run).card, RunFolder(unfinished).card)
    unfinished.rename(out)


def tune(runs: Path, tuning: Tuning) -> Rows:
    """Fine-tune, and evaluate the average and the last weights; nothing if another process is at it."""
    start, way, out = tuning.start, WAYS[tuning.way], runs / tuning.name
    begin = {} if start == "none" else {"start": runs / f"pretrained-{start}"}
    rates = {"ema": EMA, "student_rate": 1.0 if start == "none" else 0.1}
    settings = {**begin, **way, "optim": {**rates, **way.get("optim", {})}}
    street = Study(STREET, runs)
    done = street.finetune(out, draw=tuning.draw, seed=tuning.seed, keep_checkpoint=True, **settings)
    if not done:
        return {}
    with jobs.claim(out) as mine:
        if not mine:
            return {}
        last = runs / f"{tuning.name}-last"
        shutil.rmtree(last, ignore_errors=True)
        write_last_weights(out, last, "segmenter.")
        rows = {
            weights_of(tuning, averaged=averaged): street.evaluate(run, SPLIT)
            for averaged, run in ((True, out), (False, last))
        }
        LEDGER.add(rows, runs / "locks")
        shutil.rmtree(out)
        shutil.rmtree(last)
    return rows


def one_round(runs: Path, tunings: list[Tuning]) -> bool:
    """Look at every fine-tuning once; whether all of them are done."""
    done = True
    for tuning in tunings:
        if weights_of(tuning, averaged=True) in LEDGER.read():
            continue
        ready = tuning.start == "none" or pretrain(runs, tuning.start)
        rows = tune(runs, tuning) if ready else {}
        for weights, metrics in rows.items():
            print(f"{weights.name}: {METRIC} {metrics[METRIC]:.3f}", flush=True)
        done &= bool(rows)
    return done


@dataclass(frozen=True)
class Deviation:
    """A standard deviation and its 95 % interval by chi squared."""

    value: float
    degrees: int

    def __str__(self) -> str:
        if self.degrees < 1:
            return "-"
        low, high = (self.value * (self.degrees / chi2.ppf(q, self.degrees)) ** 0.5 for q in (0.975, 0.025))
        return f"{self.value:.1f} ({low:.1f} to {high:.1f})"


def over_seeds(values: Cell) -> Deviation:
    """Deviation between the seeds of a draw, pooled over draws."""
    of_draw = defaultdict(list)
    for (_, draw), value in values.items():
        of_draw[draw].append(value)
    degrees = sum(len(found) - 1 for found in of_draw.values())
    squares = sum(float(np.var(found)) * len(found) for found in of_draw.values())
    return Deviation((squares / degrees) ** 0.5 if degrees else 0.0, degrees)


def over_draws(values: Cell) -> Deviation:
    """Deviation between draws of the mean over their seeds."""
    means = of_draws(values)
    return Deviation(float(np.std(means, ddof=1)) if len(means) > 1 else 0.0, len(means) - 1)


def over_all(values: Cell) -> Deviation:
    """Deviation of all values, whatever their seed and draw."""
    found = list(values.values())
    return Deviation(float(np.std(found, ddof=1)) if len(found) > 1 else 0.0, len(found) - 1)


def table(rows: Rows) -> str:
    """Vehicle IoU in per cent by start, way and weights, and how far it varies, with 95 % intervals."""
    cells = cells_by(rows, METRIC, lambda one: (one.start, one.way, one.averaged))
    titles = ("start", "way", "weights", "runs", "mean", "sd over seeds", "sd over all")
    titles += ("over plain, last weights", "over none", "sd of that")
    lines = []
    for (start, way, averaged), values in cells.items():
        plain = paired(values, cells.get((start.removesuffix("-averaged"), "plain", False), {}))
        gain = paired(values, cells.get(("none", way, averaged), {}))
        row = (start, way, "average" if averaged else "last", len(values), with_interval([*values.values()]))
        row += (over_seeds(values), over_all(values), with_interval([*plain.values()], sign=True))
        row += (with_interval([*gain.values()], sign=True), over_all(gain))
        lines.append(row)
    return markdown(titles, lines)


def mode_of(tuning: first_three.Tuning) -> tuple[str, str]:
    """Return the mode and the arm of a fine-tuning."""
    return tuning.mode, tuning.arm


def table_of_modes(rows: first_three.Rows) -> str:
    """Deviations of the first three experiments, 1 % of the labels: root mean squares over pretrained arms.

    The gain is that over occupancy only, of equal seeds and draws.
    """
    few, lines = {tuning: metrics for tuning, metrics in rows.items() if tuning.share == "1%"}, []
    for metric, mode in product((METRIC, MAPS), first_three.MODES):
        arms = {arm: cell for (how, arm), cell in cells_by(few, metric, mode_of).items() if how == mode}
        arms.pop("none", None)
        gains = [paired(cell, arms["occupancy"]) for arm, cell in arms.items() if arm != "occupancy"]
        found = [
            [over_seeds(cell).value for cell in arms.values()],
            [over_draws(cell).value for cell in arms.values()],
        ]
        found.append([over_all(gain).value for gain in gains])
        numbers = (f"{float(np.sqrt(np.mean(np.square(each)))):.1f}" for each in found)
        lines.append((metric, mode, *numbers))
    return markdown(("metric", "way", "sd over seeds", "sd over draws", "sd of the gain"), lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--starts", nargs="+", default=list(STARTS), choices=STARTS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--report", action="store_true", help="run nothing")
    given = parser.parse_args()
    if not given.report:
        jobs.work(Study(STREET, given.runs).build_world)
        jobs.work(lambda: one_round(given.runs, planned(given.starts, given.ways)))
    print(table(LEDGER.read()))
    print(table_of_modes(first_three.read_ledger(first_three.LEDGER)))


if __name__ == "__main__":
    main()

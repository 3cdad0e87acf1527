"""Do networks learn from several rigs at once, and does it carry over to a rig that was never seen?

    python experiments/rigs.py RUNS [--arms ...] [--rigs ...] [--seeds 0 1] [--draws 0 1 2] [--split val]
      [--report]

Pretrains on rig A, on B, and on both, at equal steps and at equal epochs, and fine-tunes each on three
labelled key frames of A, of B and of C, which no pretraining sees. Every rig drives in streets of its own.
Rows go to `ledgers/rigs.jsonl`. What has a row is not run again. RUNS is a folder of its own.
"""

import argparse
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from harness import jobs
from harness.comparison import METRICS, SPLITS
from harness.ledger import LEDGERS, Ledger
from harness.plots import draw_arms
from harness.settings import PACKAGED, TURNED
from harness.spread import Cell, cells_by, markdown, paired, with_intervals
from harness.study import BOTH, MODES, RECIPE, Study, World

EPOCHS = 12
"""Of pretraining on one rig: 456 steps."""
RIGS = {
    name: World(f"rig-{name}", 152, settings={"rig": rig, "seed": seed})
    for seed, (name, rig) in enumerate({"A": "nuscenes", "B": "fisheye4", "C": "truck8"}.items())
}


@dataclass(frozen=True)
class Rigs:
    """What is pretrained on."""

    title: str
    rigs: tuple[str, ...]
    """Empty: no pretraining."""
    epochs: int = EPOCHS
    settings: dict[str, Any] = field(default_factory=dict)
    """What differs."""


SPARING = {"loss": {**BOTH.settings["loss"], "unseen": "ignore"}, "augment": {**TURNED, "lidar_beams": 0.5}}
"""Voxels that no camera sees do not count, and up to half of the LiDAR's beams are left out at random."""
ARMS = {
    "none": Rigs("no BEV pretraining", ()),
    "A": Rigs("A", ("A",)),
    "B": Rigs("B", ("B",)),
    "AB-steps": Rigs("A and B, equal steps", ("A", "B"), EPOCHS // 2),
    "AB-epochs": Rigs("A and B, equal epochs", ("A", "B")),
    "AB-sparing": Rigs("A and B, equal steps, sparing", ("A", "B"), EPOCHS // 2, SPARING),
}


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning, evaluated in one town."""

    arm: str
    rig: str
    seed: int
    draw: int
    split: str

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.arm}-on-{self.rig}-{self.seed}-{self.draw}"


Rows = dict[Tuning, dict[str, float]]
LEDGER = Ledger(LEDGERS / "rigs.jsonl", Tuning)


def study_of(runs: Path, rig: str) -> Study:
    """Return the street of a rig, with a folder of its own for runs and caches."""
    return Study(RIGS[rig], runs / rig)


def pretrain(runs: Path, name: str, seed: int) -> bool:
    """Pretrain an arm; whether it is done."""
    arm, out = ARMS[name], runs / f"pretrained-{name}-{seed}"
    studies = [study_of(runs, rig) for rig in arm.rigs]
    if not studies or jobs.is_pretrained(out):
        return True
    if not all(study.build_world() and study.fill_cache(BOTH) for study in studies):
        return False
    settings = {
        "augment": TURNED,
        "teacher": PACKAGED,
        **BOTH.settings,
        **arm.settings,
        "optim": {"epochs": arm.epochs},
        "engine": {"seed": seed, "workers": 0},
    }
    data = [study.folder for study in studies]
    caches = [study.cache_of(BOTH) for study in studies]
    return jobs.pretrain(out, recipe=RECIPE, data=data, teacher_cache=caches, **settings)


def tune(runs: Path, arm: str, rig: str, seed: int, draw: int) -> bool:
    """Fine-tune on a rig, evaluate in both towns, and add the rows; whether that is done."""
    tunings = {split: Tuning(arm, rig, seed, draw, split) for split in SPLITS}
    study, known = study_of(runs, rig), LEDGER.read()
    if all(tuning in known for tuning in tunings.values()):
        return True
    if not study.build_world() or not pretrain(runs, arm, seed):
        return False
    start = {**MODES["fine-tuned"], "start": runs / f"pretrained-{arm}-{seed}"} if ARMS[arm].rigs else {}
    out = study.runs / tunings[SPLITS[0]].name
    if not study.finetune(out, draw=draw, seed=seed, **start):
        return False
    with jobs.claim(out) as mine:
        if mine:
            LEDGER.add({of: study.evaluate(out, split) for split, of in tunings.items()}, runs / "locks")
            print(*(f"{of.name}, {split}: {LEDGER.read()[of]}" for split, of in tunings.items()), flush=True)
    return mine


def one_round(runs: Path, order: list[tuple[int, int, str, str]]) -> bool:
    """Look at every seed, draw, arm and rig once; whether all of them are done."""
    done = True
    for seed, draw, arm, rig in order:
        done &= tune(runs, arm, rig, seed, draw)
    return done


def cells_of(rows: Rows, split: str, metric: str) -> dict[tuple[str, str], Cell]:
    """Return per cent by arm and rig."""
    return cells_by(rows, metric, lambda one: (one.arm, one.rig) if one.split == split else None)


def table(rows: Rows, split: str) -> str:
    """Return means and gains over no pretraining of each arm on each rig, with intervals."""
    lines = []
    for (metric, title), rig in product(METRICS.items(), RIGS):
        cells = cells_of(rows, split, metric)
        for arm in (arm for arm in ARMS if (arm, rig) in cells):
            gain = {} if arm == "none" else paired(cells[arm, rig], cells.get(("none", rig), {}))
            row = (title, rig, ARMS[arm].title, len(cells[arm, rig]))
            lines.append((*row, with_intervals(cells[arm, rig]), with_intervals(gain, sign=True)))
    return markdown((f"metric, {split}", "tested on", "pretrained on", "runs", "IoU", "over none"), lines)


def panels_of(rows: Rows, split: str) -> dict[str, dict[str, Cell]]:
    """Return a panel per metric and rig, with the rows of its arms."""
    panels: dict[str, dict[str, Cell]] = {}
    for (metric, title), rig in product(METRICS.items(), RIGS):
        cells = cells_of(rows, split, metric)
        if found := {arm.title: cells[name, rig] for name, arm in ARMS.items() if (name, rig) in cells}:
            panels[f"{title} on rig {rig}, IoU in %"] = found
    return panels


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--rigs", nargs="+", default=list(RIGS), choices=list(RIGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--split", default=SPLITS[0], choices=SPLITS, help="town of table and plot")
    parser.add_argument("--report", action="store_true", help="run nothing")
    given = parser.parse_args()
    order = list(product(given.seeds, given.draws, given.arms, given.rigs))
    if not given.report:
        jobs.work(lambda: one_round(given.runs, order))
    rows = LEDGER.read()
    print(table(rows, given.split))
    panels = panels_of(rows, given.split)
    if panels:
        draw_arms(given.runs / "rigs.png", panels)


if __name__ == "__main__":
    main()

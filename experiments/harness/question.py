"""Questions about ways to pretrain: their command line, tables and plots.

A script of a question names its arms and calls `ask`. What is run is in `comparison.py`.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from harness.comparison import METRICS, PRETRAINING, SPLITS, Comparison, Result, Rows, planned
from harness.ledger import LEDGERS, Ledger
from harness.plots import Curve, draw_arms, draw_curves
from harness.spread import Cell, cells_by, markdown, paired, with_interval, with_intervals
from harness.study import MODES, STREET, Arm, Study, World

BASES = ("none", "occupancy")
"""Arms that the others are compared with."""
MEASURES = {
    "probe_auc/bev/car": "probe for cars, BEV features, AUC",
    "probe_auc/bev/mean": "for all classes",
    "probe_auc/student/mean": "for all classes, predicted features",
    "probe_auc/teacher/mean": "for all classes, teacher",
    "occupancy_iou/0-10 m": "occupancy to 10 m, IoU",
    "occupancy_iou/10-20 m": "to 20 m",
}
"""Of what is known of a pretraining, what the table shows."""


def cells_of(rows: Rows, mode: str, split: str, metric: str) -> dict[str, Cell]:
    """Return per cent by arm, of a mode and a town."""
    return cells_by(rows, metric, lambda one: one.arm if (one.mode, one.split) == (mode, split) else None)


@dataclass(frozen=True)
class Question:
    """What a script asks."""

    about: str
    """Docstring of the script."""
    arms: Mapping[str, Arm | None]
    """Ways to pretrain by name, `none` and `occupancy` among them; names are the same for all questions."""
    picture: str
    """Name of the plot, in the folder of the runs."""
    metrics: Mapping[str, str] = field(default_factory=lambda: METRICS)
    """What tables and plot show, with titles."""
    world: World = STREET
    curves: Mapping[str, Mapping[float, str]] = field(default_factory=dict)
    """Arms along an axis, by the title of their curve. Without curves every arm is a line of its own."""
    axis: str = ""
    """What was varied."""

    @property
    def titles(self) -> dict[str, str]:
        """Title of each arm."""
        return {name: arm.title if arm else "no BEV pretraining" for name, arm in self.arms.items()}

    def draw(self, rows: Rows, modes: list[str], split: str, file: Path) -> None:
        """Draw what there is; nothing without rows."""
        cells = {
            f"{mode}: {title}, IoU in %": found
            for mode, (metric, title) in product(modes, self.metrics.items())
            if (found := cells_of(rows, mode, split, metric))
        }
        if not cells:
            return
        if self.curves:
            draw_curves(file, {title: self._curves(found) for title, found in cells.items()}, self.axis)
        else:
            titles = self.titles
            draw_arms(
                file,
                {title: {titles[arm]: of for arm, of in found.items()} for title, found in cells.items()},
            )

    def _curves(self, cells: dict[str, Cell]) -> list[Curve]:
        """Return the curves of one panel, as far as their arms have rows."""
        return [
            Curve(title, {at: cells[arm] for at, arm in arms.items() if arm in cells})
            for title, arms in self.curves.items()
        ]


def table(rows: Rows, question: Question, mode: str, split: str) -> str:
    """Return the table of a mode and a town: means with intervals over seeds and over draws, and gains."""
    lines, titles, metrics = [], question.titles, question.metrics
    cells = {metric: cells_of(rows, mode, split, metric) for metric in metrics}
    runs = {arm: len(found) for of_arm in cells.values() for arm, found in of_arm.items()}
    for arm in (arm for arm in titles if arm in runs):
        row = [titles[arm], runs[arm]]
        row += [with_intervals(of_arm.get(arm, {})) for of_arm in cells.values()]
        for base, of_arm in product(BASES, cells.values()):
            gain = {} if arm in ("none", base) else paired(of_arm.get(arm, {}), of_arm.get(base, {}))
            row.append(with_intervals(gain, sign=True))
        lines.append(row)
    gains = [f"{title}, over {titles[base]}" for base, title in product(BASES, metrics.values())]
    return markdown([f"{mode}, {split}", "runs", *metrics.values(), *gains], lines)


def table_of_measures(rows: Rows, titles: dict[str, str]) -> str:
    """Return what pretrainings learned: means and intervals over seeds, in per cent."""
    cells = {name: cells_of(rows, PRETRAINING, SPLITS[0], name) for name in MEASURES}
    arms = [arm for arm in titles if any(arm in of_arm for of_arm in cells.values())]
    lines = [
        (titles[arm], *(with_interval([*of_arm.get(arm, {}).values()]) for of_arm in cells.values()))
        for arm in arms
    ]
    return markdown(["pretraining, val", *MEASURES.values()], lines)


def hours(rows: Rows) -> float:
    """Return the hours of two cores that the rows took."""
    return sum(metrics.get("cpu_s", 0.0) for metrics in rows.values()) / 3600 / 2


def ask(question: Question) -> None:
    """Read the command line of a question, run what is missing, and print and draw what there is."""
    parser = argparse.ArgumentParser(
        description=question.about, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("--arms", nargs="+", default=list(question.arms), choices=list(question.arms))
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--draws", nargs="+", type=int, default=list(range(3)))
    parser.add_argument("--split", default=SPLITS[0], choices=SPLITS, help="town of tables and plot")
    parser.add_argument("--report", action="store_true", help="run nothing")
    given = parser.parse_args()
    ledger = Ledger(LEDGERS / f"{question.world.name}.jsonl", Result)
    comparison = Comparison(question.arms, ledger, Study(question.world, given.runs))
    if not given.report:
        comparison.run(planned(given.arms, given.modes, given.seeds, given.draws))
    rows = {
        one: metrics
        for one, metrics in ledger.read().items()
        if one.arm in given.arms and one.seed in given.seeds and one.draw in given.draws
    }
    tables = [table(rows, question, mode, given.split) for mode in given.modes]
    print("\n\n".join([*tables, table_of_measures(rows, question.titles)]))
    print(f"\n{hours(rows):.1f} hours of two cores")
    question.draw(rows, given.modes, given.split, given.runs / question.picture)

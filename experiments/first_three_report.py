"""Table and picture of the first three experiments, from their results.

    python experiments/first_three_report.py STREET RUNS [--split test] [--write]

Prints the tables; with --write, also puts them between the marks in experiments/LOG.md, the short one
into README.md, the picture into docs/pictures, and the result of every fine-tuning, a row each, into
experiments/first_three.jsonl. Figures are per cent. An interval is Student's t of 95 %
over the pairs of draw and pretraining seed; differences are paired: same labelled key frames, same seed.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from first_three_plan import ARMS, LABELS, LEDGER, MODES, Plan, Tuning, restore
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from spread import half_width, with_interval

HERE = Path(__file__).resolve().parent
METRICS = {
    "vehicle_iou/visible": "vehicle, visible",
    "vehicle_iou/all": "vehicle, all",
    "mean_iou/map": "map",
}
TITLES = {
    "full": "fine-tuned",
    "gentle": "fine-tuned, what was pretrained at a tenth of the rate",
    "frozen": "linear head on the frozen network",
}
SHOWN = "gentle"
"""Mode of the table in README: the better one on the validation town."""
BASE = "occupancy"
"""Arm that the others are compared with, beside `none`."""
COLORS = {"none": "tab:gray", BASE: "tab:blue", "oracle": "tab:green"}
"""Of the arms in the picture that are not orange."""
DRAWN = ("vehicle_iou/visible", "mean_iou/map")
GAINS = (("none", "vehicle_iou/visible"), (BASE, "vehicle_iou/visible"), (BASE, "mean_iou/map"))
"""Paired differences of the tables: over which arm, in what."""


class Figures:
    """Results of all fine-tunings that are finished."""

    def __init__(self, plan: Plan) -> None:
        self.found: dict[Tuning, dict[str, float]] = {}
        for tuning in plan.tunings():
            if plan.results(tuning).is_file():
                self.found[tuning] = json.loads(plan.results(tuning).read_text())["metrics"]

    def of(self, arm: str, mode: str, share: str, metric: str) -> dict[Tuning, float]:
        """Per cent of each draw and seed of an arm; where nothing was pretrained, gentle is full."""
        wanted = (arm, "full" if arm == "none" and mode == "gentle" else mode, share)
        return {
            replace(tuning, mode=mode): 100 * metrics[metric]
            for tuning, metrics in self.found.items()
            if (tuning.arm, tuning.mode, tuning.share) == wanted
        }

    def differences(self, arm: str, base: str, mode: str, share: str, metric: str) -> list[float]:
        """Gain of each draw and seed over another arm."""
        ours, theirs = (self.of(one, mode, share, metric) for one in (arm, base))
        pairs = ((value, theirs.get(replace(tuning, arm=base))) for tuning, value in ours.items())
        return [one - other for one, other in pairs if other is not None]


def table(figures: Figures, mode: str, share: str) -> str:
    """One table of a share of the labels: means, and gains; arms without a result are left out."""
    titles = [f"{METRICS[name]}, over {ARMS[base].title}" for base, name in GAINS]
    head = [*METRICS.values(), *titles]
    lines = [
        f"| {share} of the labels, {TITLES[mode]} | " + " | ".join(head) + " |",
        "|---" * (len(head) + 1) + "|",
    ]
    for arm in ARMS:
        found = [list(figures.of(arm, mode, share, metric).values()) for metric in METRICS]
        gains = [
            [] if arm == base else figures.differences(arm, base, mode, share, name) for base, name in GAINS
        ]
        cells = [with_interval(one) for one in found] + [with_interval(one, sign=True) for one in gains]
        if found[0]:
            lines.append(f"| {ARMS[arm].title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rows(figures: Figures) -> str:
    """The result of every fine-tuning as a line of JSON, IoUs from 0 to 1."""
    return "".join(
        json.dumps({**asdict(tuning), **{name: round(metrics[name], 5) for name in METRICS}}) + "\n"
        for tuning, metrics in figures.found.items()
    )


def draw(figures: Figures, path: Path) -> None:
    """Every draw as a dot, means with their intervals as bars, at the smallest share."""
    share = next(iter(LABELS))
    figure = Figure(figsize=(10, 9), layout="constrained")
    figure.suptitle(f"{share} of the labels, a town never seen: every draw, mean and 95 % interval")
    modes = [mode for mode in MODES if any(tuning.mode == mode for tuning in figures.found)]
    for part, mode in zip(figure.subfigures(len(modes), squeeze=False)[:, 0], modes, strict=True):
        part.suptitle(TITLES[mode], fontsize=11)
        for axes, metric in zip(part.subplots(1, 2, sharey=True), DRAWN, strict=True):
            _draw_panel(axes, figures, mode, share, metric)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _draw_panel(axes: Axes, figures: Figures, mode: str, share: str, metric: str) -> None:
    values = {arm: list(figures.of(arm, mode, share, metric).values()) for arm in reversed(ARMS)}
    shown = {arm: found for arm, found in values.items() if found}
    for place, (arm, found) in enumerate(shown.items()):
        color = COLORS.get(arm, "tab:orange")
        axes.plot(found, [place] * len(found), "o", color=color, alpha=0.35, markersize=4)
        error = half_width(found)
        axes.errorbar(np.mean(found), place, xerr=error, fmt="D", color=color, capsize=4, zorder=3)
    axes.set_yticks(range(len(shown)), [ARMS[arm].title for arm in shown])
    axes.set_title(f"{METRICS[metric]} IoU in %", fontsize=9)
    axes.grid(axis="x", alpha=0.3)


def put(file: Path, text: str, mark: str = "first_three") -> None:
    """Replace what stands between the marks of a file.

    Raises:
        ValueError: The file lacks the marks.
    """
    begin, end = f"<!-- {mark}: begin -->\n", f"\n<!-- {mark}: end -->"
    whole = file.read_text()
    first, last = whole.index(begin) + len(begin), whole.index(end)
    file.write_text(whole[:first] + text + whole[last:])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("street", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--write", action="store_true", help="into LOG.md, README.md and docs/pictures")
    given = parser.parse_args()
    chosen = (tuple(ARMS), tuple(given.seeds), tuple(LABELS), tuple(MODES))
    plan = Plan(given.street, given.runs, given.split, *chosen)
    if plan.split == "test":
        restore(plan, LEDGER)  # else --write would forget what another machine has found
    figures = Figures(plan)
    known = {(tuning.mode, tuning.share) for tuning in figures.found}
    tables = {
        (mode, share): table(figures, mode, share)
        for share in LABELS
        for mode in MODES
        if (mode, share) in known
    }
    text = "\n\n".join(tables.values())
    print(text)
    draw(figures, given.runs / "first_three.png")
    if given.write:
        put(HERE / "LOG.md", text)
        put(HERE.parent / "README.md", tables[SHOWN, next(iter(LABELS))])
        LEDGER.write_text(rows(figures))
        draw(figures, HERE.parent / "docs" / "pictures" / "first_three.png")


if __name__ == "__main__":
    main()

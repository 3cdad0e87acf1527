"""Table and picture of the first three experiments, from their results.

    python experiments/first_three_report.py STREET RUNS [--split test] [--write]

Prints the tables; with --write, also puts them between the marks in experiments/LOG.md, the short one
into README.md, the picture into docs/pictures, and the result of every fine-tuning, a row each, into
experiments/first_three.jsonl. Figures are per cent. An interval is Student's t of 95 %
over the pairs of draw and pretraining seed; differences are paired: same labelled key frames, same seed.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from first_three_figures import BASE, METRICS, TITLES, Figures
from first_three_pictures import draw_draws, draw_shares
from first_three_plan import ARMS, LABELS, LEDGER, MODES, Plan, restore
from spread import with_interval

HERE = Path(__file__).resolve().parent
SHOWN = "gentle"
"""Mode of the table in README: the better one on the validation town."""
GAINS = (("none", "vehicle_iou/visible"), (BASE, "vehicle_iou/visible"), (BASE, "mean_iou/map"))
"""Paired differences of the tables: over which arm, in what."""


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


def draw_pictures(figures: Figures, folder: Path) -> None:
    """Both pictures, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_draws(figures, folder / "first_three.png")
    draw_shares(figures, folder / "first_three_shares.png")


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
    draw_pictures(figures, given.runs)
    if given.write:
        put(HERE / "LOG.md", text)
        put(HERE.parent / "README.md", tables[SHOWN, next(iter(LABELS))])
        LEDGER.write_text(rows(figures))
        draw_pictures(figures, HERE.parent / "docs" / "pictures")


if __name__ == "__main__":
    main()

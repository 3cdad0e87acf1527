"""Table and picture of the first three experiments, from their results.

    PYTHONPATH=experiments python -m concluded.first_three.report STREET RUNS [--split test] [--seeds 0]
      [--arms none …] [--write]

Prints the tables of what has a result in RUNS, and draws the pictures there. With --write (split test only)
they show the rows of experiments/ledgers/first_three.jsonl as well, RUNS before those of the same arm, seed,
mode, share and draw; then all rows go into that file, the tables between the marks in experiments/LOG.md, the
short one into docs/results.md, the pictures into docs/pictures. Nothing is written unless every seed has all
arms, shares and modes. With --check nothing is done but to refuse what cannot be done.

Metrics are per cent. An interval is Student's t of 95 % over the draws of the labels, each the mean of its
pretraining seeds; differences are paired: same labelled key frames, same seed.
"""

import json
import shutil
from collections.abc import Collection
from dataclasses import asdict
from functools import partial
from pathlib import Path

from concluded.first_three.pictures import draw_draws, draw_shares
from concluded.first_three.plan import (
    ARMS,
    LABELS,
    LEDGER,
    MODES,
    REPORTED,
    Plan,
    Tuning,
    lacking,
    parser,
    read_arguments,
    read_ledger,
    restore,
)
from concluded.first_three.results import BASE, METRICS, TITLES, Results, independent
from harness.spread import with_interval
from occfeat.machine.atomic import write_atomic, write_text_atomic

EXPERIMENTS = Path(__file__).resolve().parents[2]
SHOWN = "gentle"
"""Mode of the table in docs/results.md: the better one on the validation town."""
PICTURES = {"first_three.png": draw_draws, "first_three_shares.png": draw_shares}
GAINS = (("none", "vehicle_iou/visible"), (BASE, "vehicle_iou/visible"), (BASE, "mean_iou/map"))
"""Paired differences of the tables: over which arm, in what."""


def table(results: Results, mode: str, share: str) -> str:
    """Return one table of a share of the labels: means, and gains; arms without a result are left out."""
    titles = [f"{METRICS[name]}, over {ARMS[base].title}" for base, name in GAINS]
    head = [*METRICS.values(), *titles]
    lines = [
        f"| {share} of the labels, {TITLES[mode]} | " + " | ".join(head) + " |",
        "|---" * (len(head) + 1) + "|",
    ]
    for arm in ARMS:
        found = [independent(results.of(arm, mode, share, metric)) for metric in METRICS]
        gains = [
            [] if arm == base else independent(results.differences(arm, base, mode, share, name))
            for base, name in GAINS
        ]
        cells = [with_interval(one) for one in found] + [with_interval(one, sign=True) for one in gains]
        if found[0]:
            lines.append(f"| {ARMS[arm].title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def all_tables(results: Results) -> dict[tuple[str, str], str]:
    """Return a table for every mode and share that have a result."""
    known = {(tuning.mode, tuning.share) for tuning in results.found}
    cells = [(mode, share) for share in LABELS for mode in MODES if (mode, share) in known]
    return {(mode, share): table(results, mode, share) for mode, share in cells}


def rows(results: Results) -> str:
    """Return the result of every fine-tuning as a line of JSON, IoUs from 0 to 1."""
    return "".join(
        json.dumps({**asdict(tuning), **{name: round(metrics[name], 5) for name in METRICS}}) + "\n"
        for tuning, metrics in results.found.items()
    )


def draw_pictures(results: Results, folder: Path) -> None:
    """Both pictures, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        draw(results, folder / name)


def replaced(file: Path, text: str, mark: str) -> str:
    """Return what a file holds, with other text between its marks.

    Raises:
        ValueError: The file lacks the marks.
    """
    begin, end = f"<!-- {mark}: begin -->\n", f"\n<!-- {mark}: end -->"
    whole = file.read_text(encoding="utf-8")
    first, last = whole.index(begin) + len(begin), whole.index(end)
    return whole[:first] + text + whole[last:]


def put(file: Path, text: str, mark: str) -> None:
    """Replace what stands between the marks of a file.

    Raises:
        ValueError: The file lacks the marks.
    """
    write_text_atomic(file, replaced(file, text, mark))


def write(results: Results, drawn: Path) -> None:
    """Put tables, rows and the pictures of a folder where they are kept: nothing before all of it is made."""
    tables = all_tables(results)
    log, page = EXPERIMENTS / "LOG.md", EXPERIMENTS.parent / "docs" / "results.md"
    texts = {
        log: replaced(log, "\n\n".join(tables.values()), "first_three"),
        page: replaced(page, tables[SHOWN, next(iter(LABELS))], "first_three"),
        LEDGER: rows(results),
    }
    for file, text in texts.items():
        write_text_atomic(file, text)
    for name in PICTURES:
        kept = EXPERIMENTS.parent / "docs" / "pictures" / name
        write_atomic(kept, partial(shutil.copyfile, drawn / name))


def refusal(split: str, found: Collection[Tuning]) -> str | None:
    """Return why --write must not be done with these results and the ledger's; None if it may be."""
    if split != REPORTED:
        return f"--write needs --split {REPORTED}: metrics of another would replace those that are reported"
    missing = lacking({*read_ledger(LEDGER), *found})
    if missing:
        return (
            f"--write needs all arms, shares and modes of every seed: {len(missing)} results are neither in "
            f"RUNS nor in {LEDGER.name}, such as {missing[0].name}. Without --write, tables are printed."
        )
    return None


def show(plan: Plan, results: Results) -> None:
    """Print the tables and draw the pictures beside the runs."""
    if not results.found:
        raise SystemExit(f"No results of the split {plan.split} in {plan.runs}: run run.sh first.")
    print("\n\n".join(all_tables(results).values()))
    draw_pictures(results, plan.runs)


def main() -> None:
    """Read the command line."""
    made = parser(__doc__, split=REPORTED)
    made.add_argument(
        "--write", action="store_true", help="into docs/results.md, LOG, docs/pictures and ledger"
    )
    made.add_argument("--check", action="store_true", help="only refuse what cannot be done, before any work")
    given, plan = read_arguments(made)
    if given.write and (why := refusal(plan.split, plan.tunings())):
        made.error(why)
    if given.check:
        return
    if given.from_ledger:
        restore(plan, LEDGER)
    results = Results(plan)
    if given.write and (why := refusal(plan.split, results.found)):
        made.error(why)
    if given.write:
        results.found = {**read_ledger(LEDGER), **results.found}
    show(plan, results)
    if given.write:
        write(results, plan.runs)


if __name__ == "__main__":
    main()

"""Table and picture of what corruptions cost with and without pretraining: the results of `robustness.py`.

    PYTHONPATH=experiments python -m concluded.first_three.robustness_report STREET RUNS
      [--split test] [--write]

Prints the table; with --write (split test only), also puts it between the marks in experiments/LOG.md, the
picture into docs/pictures, and a row for every network into experiments/ledgers/robustness.jsonl: refused
where a network that is asked for, or has a row, has no result in RUNS. Metrics are per cent, IoU means over
the three severities. Intervals are Student's t of 95 % over the draws; differences are paired.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from concluded.first_three.plan import ARMS, REPORTED, Plan, Tuning
from concluded.first_three.report import EXPERIMENTS, put
from concluded.first_three.robustness import parser, plan_of, read, tunings
from harness.ledger import LEDGERS
from harness.spread import with_interval
from occfeat.data.corruptions.corruptions import NAMES, SEVERITIES
from occfeat.machine.atomic import write_text_atomic
from occfeat.report.pictures.robustness import Radar, draw_radar
from occfeat.segmentation.robustness.results import RobustnessResults

LEDGER = LEDGERS / "robustness.jsonl"
METRIC = "vehicle_iou/visible"
BASE = "none"
"""Corruption errors and gains are relative to it."""
Found = dict[Tuning, RobustnessResults]
Value = Callable[[RobustnessResults], float | None]


def collect(plan: Plan, draws: list[int]) -> Found:
    """Results that are there, each scored against the base of its own draw and seed."""
    known = {tuning: results for tuning in tunings(plan, draws) if (results := read(plan, tuning))}
    pairs = {(one.seed, one.draw): results for one, results in known.items() if one.arm == BASE}
    return {one: results.scored(pairs.get((one.seed, one.draw))) for one, results in known.items()}


def rows() -> dict[str, Value]:
    """Return what each row of the table shows."""
    shown: dict[str, Value] = {"clean images": lambda one: one.clean[METRIC]}
    for name in NAMES:
        shown[name] = lambda one, name=name: one.scores[METRIC].by_corruption[name].iou
    shown["all corruptions"] = lambda one: one.scores[METRIC].mean.iou
    shown["mRR"] = lambda one: one.scores[METRIC].mean.resilience_rate
    shown["mCE"] = lambda one: one.scores[METRIC].mean.corruption_error
    return shown


def table(found: Found, arms: tuple[str, ...]) -> str:
    """Return a row for every corruption and score, a column for every arm and for its paired gain."""
    gaining = [arm for arm in arms if arm != BASE]
    head = [ARMS[arm].title for arm in arms] + [f"gain of {ARMS[arm].title}" for arm in gaining]
    lines = [f"| {METRIC} | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for title, value in rows().items():
        cells = [with_interval(_of(found, arm, value)) for arm in arms]
        gains = [with_interval(_gains(found, arm, value), sign=True) for arm in gaining]
        cells += ["-"] * len(gaining) if title == "mCE" else gains
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _of(found: Found, arm: str, value: Value) -> list[float]:
    """Return a value of all networks of an arm, in percent."""
    mine = (value(results) for one, results in found.items() if one.arm == arm)
    return [100 * number for number in mine if number is not None]


def _gains(found: Found, arm: str, value: Value) -> list[float]:
    """Return the paired gains of an arm over the base, in percentage points."""
    by_draw = {(one.arm, one.seed, one.draw): value(results) for one, results in found.items()}
    pairs = [
        (number, by_draw.get((BASE, seed, draw)))
        for (name, seed, draw), number in by_draw.items()
        if name == arm
    ]
    return [100 * (ours - theirs) for ours, theirs in pairs if ours is not None and theirs is not None]


def ledger(found: Found) -> str:
    """Return a line of JSON for every network: IoU of clean and of corrupted images, 0 to 1."""
    lines = []
    for one, results in found.items():
        under = {
            name: [round(results.corrupted[name][severity][METRIC] or 0, 5) for severity in SEVERITIES]
            for name in NAMES
        }
        clean = round(results.clean[METRIC] or 0, 5)
        lines.append(json.dumps({**asdict(one), "figure": METRIC, "clean": clean, **under}) + "\n")
    return "".join(lines)


def refusal(plan: Plan, draws: list[int], found: Found) -> str | None:
    """Return why --write must not be done with these results; None if it may be."""
    if plan.split != REPORTED:
        return f"--write needs --split {REPORTED}: metrics of another would replace those that are reported"
    known = (
        [json.loads(line) for line in LEDGER.read_text(encoding="utf-8").splitlines()]
        if LEDGER.is_file()
        else []
    )
    reported = {Tuning(**{field.name: row[field.name] for field in fields(Tuning)}) for row in known}
    lost = ({*tunings(plan, draws)} | reported) - found.keys()
    if lost:
        names = ", ".join(sorted(tuning.name for tuning in lost))
        return f"--write would leave gaps: there are no results here of {names}. Run robustness.py first."
    return None


def draw(found: Found, arms: tuple[str, ...], path: Path) -> None:
    """Draw a radar of all arms, each the mean over its draws."""
    networks = []
    for arm in arms:
        results = [one for tuning, one in found.items() if tuning.arm == arm]
        clean = np.mean([one.clean[METRIC] for one in results])
        corrupted = [
            [
                float(np.mean([one.corrupted[name][severity][METRIC] for one in results]))
                for severity in SEVERITIES
            ]
            for name in NAMES
        ]
        networks.append(Radar(ARMS[arm].title, float(clean), corrupted))
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_radar(path, networks, NAMES, title=f"{METRIC}, a town never seen, 1% of the labels")


def main() -> None:
    """Read the command line."""
    made = parser(__doc__)
    made.add_argument("--write", action="store_true", help="into LOG.md, robustness.jsonl and docs/pictures")
    given = made.parse_args()
    plan = plan_of(given)
    found = collect(plan, given.draws)
    if given.write and (why := refusal(plan, given.draws, found)):
        made.error(why)
    missing = [arm for arm in plan.arms if not any(one.arm == arm for one in found)]
    if missing:
        raise SystemExit(f"No results of {', '.join(missing)} in {plan.runs}: run robustness.py first.")
    text = table(found, plan.arms)
    print(text)
    draw(found, plan.arms, plan.runs / "robustness.png")
    if given.write:
        put(EXPERIMENTS / "LOG.md", text, "robustness")
        write_text_atomic(LEDGER, ledger(found))
        draw(found, plan.arms, EXPERIMENTS.parent / "docs" / "pictures" / "robustness.png")


if __name__ == "__main__":
    main()

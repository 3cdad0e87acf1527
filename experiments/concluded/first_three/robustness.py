"""What corruptions cost with and without pretraining: fine-tuned networks of the first three experiments.

    PYTHONPATH=experiments python -m concluded.first_three.robustness STREET RUNS [--split test] [--arms …]
      [--seeds 0] [--draws 0 1 2 3 4]

After `run.sh RUNS`, whose networks with 1 % of the labels it evaluates under all corruptions of
nuScenes-C. They must have been trained in RUNS: what `--from-ledger` took over has metrics, but no weights.
What has a result is skipped; several processes can share the work. `robustness_report.py` sums it up.
"""

import argparse
from pathlib import Path

from concluded.first_three.plan import ARMS, LABELS, Plan, Tuning
from harness import jobs
from occfeat.runs.folder import ROBUSTNESS, RunFolder
from occfeat.segmentation.robustness.results import RobustnessResults

SHARE = next(iter(LABELS))
COMPARED = ("none", "occupancy", "branch")
"""Arms that are evaluated unless others are named."""


def tunings(plan: Plan, draws: list[int]) -> list[Tuning]:
    """Networks that are compared, all arms of a draw together."""
    chosen = [tuning for tuning in plan.tunings() if tuning.draw in draws]
    return sorted(chosen, key=lambda tuning: (tuning.seed, tuning.draw))


def folder(plan: Plan, tuning: Tuning) -> Path:
    """Return where the metrics of a network under corruptions are."""
    return plan.runs / tuning.name / f"robustness-{plan.split}"


def read(plan: Plan, tuning: Tuning) -> RobustnessResults | None:
    """Metrics of a network under corruptions, if it has been evaluated."""
    if not jobs.is_evaluated(folder(plan, tuning)):
        return None
    return RobustnessResults.model_validate_json((folder(plan, tuning) / ROBUSTNESS).read_bytes())


def one_round(plan: Plan, chosen: list[Tuning]) -> bool:
    """Look at every network once; whether all of them are evaluated."""
    done = True
    for tuning in chosen:
        run, out = plan.runs / tuning.name, folder(plan, tuning)
        settings = {"corruptions": ("all",), "pictures": 0, "engine": {"workers": 0}}
        done &= jobs.evaluate(run, out, data=plan.street, split=plan.split, **settings)
    return done


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return what this script and its report are told."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("street", type=Path)
    made.add_argument("runs", type=Path)
    made.add_argument("--split", default="test")
    made.add_argument("--arms", nargs="+", default=list(COMPARED), choices=list(ARMS))
    made.add_argument("--seeds", nargs="+", type=int, default=[0])
    made.add_argument("--draws", nargs="+", type=int, default=list(range(LABELS[SHARE].draws)))
    return made


def plan_of(given: argparse.Namespace) -> Plan:
    """Return the part of the first three experiments that is looked at."""
    arms, seeds = tuple(given.arms), tuple(given.seeds)
    return Plan(given.street, given.runs, given.split, arms, seeds, (SHARE,), ("full",))


def main() -> None:
    """Read the command line."""
    given = parser(__doc__).parse_args()
    plan = plan_of(given)
    chosen = tunings(plan, given.draws)
    missing = [one.name for one in chosen if not RunFolder(plan.runs / one.name).weights.is_file()]
    if missing:
        raise SystemExit(
            f"{plan.runs} lacks the networks of {', '.join(missing)}: run run.sh there first. "
            "If it ran there with --from-ledger, run it without, in a new folder."
        )
    jobs.work(lambda: one_round(plan, chosen))


if __name__ == "__main__":
    main()

"""Work through the paper's first table: every network, pretrained by every objective, fine-tuned, evaluated.

    PYTHONPATH=experiments python -m table1.work DATA RUNS [--recipes …] [--objectives …] [--tasks …]
      [--fractions …] …

What has a result is skipped, and several processes can share the work: each takes what no other is at. With
`RUNS/teacher-cache`, as `run.sh` makes it, the teacher is read from there.
"""

import argparse
import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from harness import jobs
from occfeat.data.maps.masks import LAYERS

RECIPES = ("paper-simplebev-b0", "paper-simplebev-r50", "paper-bevformer-b0", "paper-bevformer-r50")
OBJECTIVES = {
    "none": "no BEV pretraining",
    "img-also": "Img-ALSO",
    "occupancy": "occupancy only",
    "distillation": "distillation only",
    "occfeat": "OccFeat",
}
"""How a network is pretrained, and what tables call it."""
TASKS = {
    "vehicle": ("vehicle",),
    "map": LAYERS,
}
METRICS = {"vehicle": "vehicle_iou/visible", "map": "mean_iou/map"}


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning."""

    recipe: str
    objective: str
    task: str
    fraction: float
    seed: int
    draw: int

    @property
    def name(self) -> str:
        """Its folder."""
        share = f"{100 * self.fraction:g}pct"
        return f"{self.recipe}-{self.objective}-{self.seed}-{self.task}-{share}-{self.draw}"


@dataclass(frozen=True)
class Plan:
    """What is run, and where."""

    data: Path
    runs: Path
    split: str
    recipes: tuple[str, ...]
    objectives: tuple[str, ...]
    tasks: tuple[str, ...]
    epochs: dict[float, int]
    """Epochs of fine-tuning by share of the labels."""
    seeds: tuple[int, ...]
    """Of pretraining, and of the order in fine-tuning."""
    draws: tuple[int, ...]
    """Of the labels; of all labels there is one."""
    pretrain_config: Path | None = None
    finetune_config: Path | None = None

    def tunings(self) -> list[Tuning]:
        """Return all fine-tunings; those of one pretraining stand together."""
        kinds = product(self.seeds, self.recipes, self.objectives, self.tasks, self.epochs)
        return [
            Tuning(recipe, objective, task, fraction, seed, draw)
            for seed, recipe, objective, task, fraction in kinds
            for draw in (self.draws if fraction < 1 else self.draws[:1])
        ]

    def pretrained(self, tuning: Tuning) -> Path:
        """Folder of the pretraining run that a fine-tuning starts from."""
        return self.runs / f"{tuning.recipe}-{tuning.objective}-{tuning.seed}"

    def results(self, tuning: Tuning) -> Path:
        """Metrics of a fine-tuning."""
        return jobs.results_file(self.runs / tuning.name, self.split)


def one_round(plan: Plan) -> bool:
    """Look at every job once; whether all of them are done."""
    done = True
    for tuning in plan.tunings():
        if not plan.results(tuning).is_file():
            done &= _pretrain(plan, tuning) and _finetune(plan, tuning)
    return done


def _pretrain(plan: Plan, tuning: Tuning) -> bool:
    """Pretrain, or go on with it; return whether it is done."""
    run = plan.pretrained(tuning)
    if tuning.objective == "none" or jobs.is_pretrained(run):
        return True
    cache = plan.runs / "teacher-cache"
    suffix = "" if tuning.objective == "occfeat" else f"+{tuning.objective}"
    return jobs.pretrain(
        run,
        recipe=tuning.recipe + suffix,
        config=plan.pretrain_config,
        data=plan.data,
        teacher_cache=cache if cache.is_dir() else None,
        engine={"seed": tuning.seed},
    )


def _finetune(plan: Plan, tuning: Tuning) -> bool:
    """Fine-tune, or go on with it; return whether it is done."""
    start = {} if tuning.objective == "none" else {"start": plan.pretrained(tuning)}
    done = jobs.finetune(
        plan.runs / tuning.name,
        plan.split,
        **start,
        recipe=tuning.recipe,
        config=plan.finetune_config,
        data=plan.data,
        classes=TASKS[tuning.task],
        label_fraction=tuning.fraction,
        label_seed=tuning.draw,
        optim={"epochs": plan.epochs[tuning.fraction]},
        engine={"seed": tuning.seed},
    )
    if done:
        found = [plan.results(one).is_file() for one in plan.tunings()]
        print(f"{sum(found)}/{len(found)} {tuning.name}: {metric(plan, tuning):.1f} %", flush=True)
    return done


def metric(plan: Plan, tuning: Tuning) -> float:
    """IoU of a finished fine-tuning in per cent."""
    metrics: dict[str, Any] = json.loads(plan.results(tuning).read_text(encoding="utf-8"))["metrics"]
    return 100 * float(metrics[METRICS[tuning.task]])


def read_plan() -> Plan:
    """Read the plan of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--split", default="val", help="where to evaluate")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES))
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), choices=list(OBJECTIVES))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.01, 0.1, 1.0])
    parser.add_argument("--epochs", nargs="+", type=int, default=[100, 50, 30], help="one for each fraction")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--pretrain-config", type=Path, help="settings above the recipe's, such as batch sizes"
    )
    parser.add_argument("--finetune-config", type=Path, help="the same for fine-tuning")
    given = vars(parser.parse_args())
    fractions, epochs = given.pop("fractions"), given.pop("epochs")
    if len(fractions) != len(epochs):
        parser.error(f"{len(fractions)} fractions need as many numbers of --epochs, not {len(epochs)}")
    lists = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return Plan(**lists, epochs=dict(zip(fractions, epochs, strict=True)))


if __name__ == "__main__":
    whole = read_plan()
    jobs.work(lambda: one_round(whole))

"""Whether pretraining on real scenes gains on real scenes: none, occupancy, both, few labelled key frames.

    python experiments/real_scene.py NUSCENES RUNS --pretrain SCENES --labels SCENES --test SCENES
      [--start NAME=RUN ...] [--seeds 0 1 2] [--draws 0 1 2] [--labelled 2 4 8] [--rates 1 0.1] [--report]

A scene is named as `scene-0916`, or by a part of its duration as `scene-0916:0-0.6`. Parts become scenes of
a folder below RUNS. Test key frames within `--apart-m` of a labelled one are left out. `--start` adds an arm
that begins from a network pretrained elsewhere. Every fine-tuning takes equally many steps and adds a row to
`ledgers/real_scene.jsonl`. What has a row is not run again; an interrupted run goes on; several processes can
share the work. Rates are those of what was pretrained, relative to the rest. Choose them on scenes that are
not reported. `--report` prints the table and draws the plot alone.
"""

import argparse
import json
import math
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import occfeat
from harness import jobs
from harness.ledger import LEDGERS, Ledger
from harness.plots import Curve, draw_arms, draw_curves
from harness.scene_parts import Part, write_parts
from harness.settings import TURNED
from harness.spread import Cell, cells_by, markdown, paired, with_intervals
from harness.study import BOTH, OCCUPANCY, RECIPE
from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig

METRICS = {
    "vehicle_iou/visible": "vehicle, visible",
    "vehicle_iou/all": "vehicle, all",
    "drivable_area_iou/map": "drivable area",
}
PRETRAINED = {"occupancy": OCCUPANCY, "both": BOTH}
"""Ways to pretrain."""
BATCH, FEW = 4, 2
"""Key frames per step of pretraining and of fine-tuning."""


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning."""

    scenes: str
    """What is learned from, labelled and tested."""
    steps: int
    """Of pretraining."""
    arm: str
    labelled: int
    rate: float
    """Of what was pretrained, relative to the rest."""
    seed: int
    draw: int

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.arm}-{self.steps}-{self.labelled}-{self.rate:g}-{self.seed}-{self.draw}"


Rows = dict[Tuning, dict[str, float]]
LEDGER = Ledger(LEDGERS / "real_scene.jsonl", Tuning)


@dataclass(frozen=True)
class Plan:
    """What is run, and where."""

    nuscenes: Path
    version: str
    runs: Path
    splits: dict[str, tuple[Part, ...]]
    apart_m: float
    starts: dict[str, Path]
    """Networks pretrained elsewhere, by the name of their arm."""
    steps: int
    tuned_steps: int
    tunings: tuple[Tuning, ...]

    @property
    def data(self) -> Path:
        """Folder of the parts."""
        return self.runs / "parts"

    def pretrained(self, tuning: Tuning) -> Path:
        """Folder of the pretraining that a fine-tuning starts from."""
        return self.starts.get(tuning.arm, self.runs / f"pretrained-{tuning.arm}-{self.steps}-{tuning.seed}")


def scenes_of(splits: dict[str, tuple[Part, ...]]) -> str:
    """Return the parts in words that tell them from others."""
    return " > ".join(" ".join(part.name for part in parts) for parts in splits.values())


def planned(scenes: str, given: argparse.Namespace, arms: list[str]) -> tuple[Tuning, ...]:
    """Return all fine-tunings, seed after seed and draw after draw, so that arms stay comparable early."""
    order = product(given.seeds, given.draws, given.labelled, arms, given.rates)
    return tuple(
        Tuning(scenes, given.steps, arm, labelled, 1.0 if arm == "none" else rate, seed, draw)
        for seed, draw, labelled, arm, rate in order
        if arm != "none" or rate == given.rates[0]
    )


def prepare(plan: Plan) -> bool:
    """Write the parts and the teacher's features; whether they are there."""
    with jobs.claim(plan.data) as mine:
        if mine and not plan.data.is_dir():
            write_parts(plan.nuscenes, plan.version, plan.splits, plan.data, apart_m=plan.apart_m)
            for split in plan.splits:
                print(f"{split}: {count(plan.data, split)} key frames", flush=True)
    if not mine:
        return False
    with jobs.claim(plan.runs / "teacher") as mine:
        if mine:
            occfeat.cache(plan.data, plan.runs / "teacher", recipe=RECIPE, split="pretrain")
    return mine


@cache
def count(data: Path, split: str) -> int:
    """Return the number of key frames of a split of the parts, which are written once."""
    return len(Index.open(DataConfig(root=data)).rows(split))


def pretrain(plan: Plan, tuning: Tuning) -> bool:
    """Pretrain what a fine-tuning starts from; whether it is there."""
    if tuning.arm == "none" or tuning.arm in plan.starts:
        return True
    arm = PRETRAINED[tuning.arm]
    teacher = {"teacher_cache": plan.runs / "teacher"} if arm.features else {}
    return jobs.pretrain(
        plan.pretrained(tuning),
        recipe=RECIPE,
        data=plan.data,
        split="pretrain",
        augment=TURNED,
        optim={"epochs": epochs(plan.steps, count(plan.data, "pretrain"), BATCH), "batch_size": BATCH},
        engine={"seed": tuning.seed, "workers": 0},
        **arm.settings,
        **teacher,
    )


def epochs(steps: int, key_frames: int, batch_size: int) -> int:
    """Return the epochs that come nearest to a number of steps, at least one."""
    return max(1, round(steps / math.ceil(key_frames / batch_size)))


def tune(plan: Plan, tuning: Tuning) -> bool:
    """Fine-tune and evaluate, and add the row; whether it is done."""
    begin = {} if tuning.arm == "none" else {"start": plan.pretrained(tuning)}
    out = plan.runs / tuning.name
    done = jobs.finetune(
        out,
        "test",
        recipe=RECIPE,
        data=plan.data,
        split="labels",
        classes=("vehicle", "drivable_area"),
        label_fraction=tuning.labelled / count(plan.data, "labels"),
        label_draw="key-frame",
        label_seed=tuning.draw,
        pictures=2 if tuning.draw == 0 else 0,
        augment=TURNED,
        optim={
            "epochs": epochs(plan.tuned_steps, tuning.labelled, FEW),
            "batch_size": FEW,
            "student_rate": tuning.rate,
        },
        engine={"seed": tuning.seed, "workers": 0},
        **begin,
    )
    if done:
        metrics = json.loads(jobs.results_file(out, "test").read_text(encoding="utf-8"))["metrics"]
        LEDGER.add(
            {tuning: {name: metrics[name] for name in METRICS if name in metrics}}, plan.runs / "locks"
        )
        said = ", ".join(f"{METRICS[name]} {100 * metrics[name]:.1f}" for name in METRICS if name in metrics)
        print(f"{tuning.name}: {said}", flush=True)
    return done


def one_round(plan: Plan) -> bool:
    """Look at every fine-tuning once; whether all of them are done."""
    done = True
    for tuning in plan.tunings:
        if tuning not in LEDGER.read():
            done &= pretrain(plan, tuning) and tune(plan, tuning)
    return done


def cells_of(rows: Rows, metric: str) -> dict[tuple[int, str, float], Cell]:
    """Return per cent by labelled key frames, arm and rate."""
    cells = cells_by(rows, metric, lambda tuning: (tuning.labelled, tuning.arm, tuning.rate))
    return dict(sorted(cells.items(), key=lambda item: item[0][0]))


def table(rows: Rows) -> str:
    """Return means with intervals over seeds and over draws, and gains of equal seeds and draws."""
    titles = ("labelled", "arm", "rate", "metric", "runs", "IoU", "over none", "over occupancy")
    lines = []
    for metric, title in METRICS.items():
        cells = cells_of(rows, metric)
        for (labelled, arm, rate), values in cells.items():
            gains = [
                {} if arm in (base, "none") else paired(values, cells.get((labelled, base, of), {}))
                for base, of in (("none", 1.0), ("occupancy", rate))
            ]
            said = [with_intervals(gain, sign=True) for gain in gains]
            lines.append((labelled, arm, f"{rate:g}", title, len(values), with_intervals(values), *said))
    return markdown(titles, lines)


def draw(rows: Rows, file: Path) -> None:
    """Draw IoU over the number of labelled key frames, or of every arm if there is one number."""
    panels: dict[str, list[Curve]] = {}
    for metric, title in METRICS.items():
        cells = cells_of(rows, metric)
        lines = dict.fromkeys((arm, rate) for _, arm, rate in cells)
        panels[f"{title}, IoU in %"] = [
            Curve(
                arm if arm == "none" else f"{arm}, rate {rate:g}",
                {n: cells[n, a, r] for n, a, r in cells if (a, r) == (arm, rate)},
            )
            for arm, rate in lines
        ]
    if len({tuning.labelled for tuning in rows}) > 1:
        draw_curves(file, panels, "labelled key frames")
        return
    arms = {
        title: {curve.title: cell for curve in curves for cell in curve.cells.values()}
        for title, curves in panels.items()
    }
    draw_arms(file, arms)


def read_plan(given: argparse.Namespace) -> Plan:
    """Return the plan of a command line.

    Raises:
        ValueError: A part is tested and learned from, or an arm has the name of another.
    """
    splits = {name: tuple(map(Part.parse, getattr(given, name))) for name in ("pretrain", "labels", "test")}
    for tested, learned in product(splits["test"], (*splits["pretrain"], *splits["labels"])):
        if tested.meets(learned):
            raise ValueError(f"{tested.name} is tested, and {learned.name} is learned from: they overlap")
    starts = {name: Path(run) for name, _, run in (text.partition("=") for text in given.start)}
    if taken := {"none", *PRETRAINED} & set(starts):
        raise ValueError(f"--start cannot be called {taken.pop()}: that is an arm already")
    tunings = planned(scenes_of(splits), given, ["none", *given.arms, *starts])
    where = (given.nuscenes, given.version, given.runs)
    return Plan(*where, splits, given.apart_m, starts, given.steps, given.tuned_steps, tunings)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("nuscenes", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--version", default="v1.0-mini", help="folder of the tables")
    for name in ("pretrain", "labels", "test"):
        parser.add_argument(f"--{name}", nargs="+", required=True, metavar="SCENE[:BEGIN-END]")
    parser.add_argument("--apart-m", type=float, default=5.0)
    parser.add_argument("--start", nargs="+", default=[], metavar="NAME=RUN")
    parser.add_argument("--arms", nargs="*", default=list(PRETRAINED), choices=list(PRETRAINED))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--labelled", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--rates", nargs="+", type=float, default=[1.0, 0.1])
    parser.add_argument("--steps", type=int, default=480, help="of pretraining")
    parser.add_argument("--tuned-steps", type=int, default=60)
    parser.add_argument("--report", action="store_true", help="run nothing")
    given = parser.parse_args()
    try:
        plan = read_plan(given)
    except ValueError as error:
        parser.error(str(error))
    if not given.report:
        jobs.work(lambda: prepare(plan))
        jobs.work(lambda: one_round(plan))
    known = LEDGER.read()
    rows = {tuning: known[tuning] for tuning in plan.tunings if tuning in known}
    print(table(rows))
    draw(rows, plan.runs / "real_scene.png")


if __name__ == "__main__":
    main()

"""Work through the first three experiments: pretrain every arm, fine-tune it, evaluate it.

    python experiments/first_three.py STREET RUNS [--split val] [--seeds 0] [--arms none occupancy ...]

What has a result is skipped, in RUNS or (on the split test) in the rows of `first_three.jsonl`, which another
machine may have written. Several processes can share the work: each takes what no other is at. STREET needs
`teacher-cache` and `oracle-cache` beside it, as `first_three.sh` makes them.
"""

import argparse
import json
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import jobs

from occfeat.engine.checkpoint import write_text_whole

LEDGER = Path(__file__).with_name("first_three.jsonl")
"""A row per fine-tuning evaluated on the split test; `first_three_report.py --write` keeps it."""
TURNED = {"bev_flip": True, "bev_rotation_deg": 180}
PACKAGED = {"name": "packaged", "image_size": (224, 392)}
TRUTH = {"name": "truth", "image_size": (224, 400)}
CLASSES = (
    "vehicle",
    "drivable_area",
    "ped_crossing",
    "walkway",
    "stop_line",
    "carpark_area",
    "divider",
)


@dataclass(frozen=True)
class Arm:
    """One way to pretrain."""

    title: str
    loss: dict[str, Any] | None
    """Settings of the loss; None: no pretraining."""
    branch: bool = False
    """The features have a branch of their own in the head."""
    oracle: bool = False
    """The teacher is the world's truth."""


CHOSEN = {"features": 0.3, "center_features": True}
"""What did best on the validation town."""

ARMS = {
    "none": Arm("no BEV pretraining", None),
    "occupancy": Arm("occupancy only", {"features": 0}),
    "features": Arm("distillation only, λ 1", {"occupancy": 0, "features": 1}),
    "both": Arm("both, λ 0.01 (the paper's)", {"features": 0.01}),
    "centered-0.1": Arm("both, centred, λ 0.1", {"features": 0.1, "center_features": True}),
    "centered-1": Arm("both, centred, λ 1", {"features": 1, "center_features": True}),
    "branch": Arm("both, centred, λ 0.3, own branch", CHOSEN, branch=True),
    "oracle": Arm("the same with an oracle teacher", CHOSEN, branch=True, oracle=True),
}


@dataclass(frozen=True)
class Labels:
    """A share of the labels, and how long to learn from it."""

    fraction: float
    draws: int
    epochs: int
    batch_size: int


LABELS = {
    "1%": Labels(0.01, draws=5, epochs=60, batch_size=3),
    "10%": Labels(0.1, draws=1, epochs=16, batch_size=4),
    "100%": Labels(1.0, draws=1, epochs=2, batch_size=4),
}
"""With 300 training key frames: 60, 120 and 150 steps."""


@dataclass(frozen=True)
class Mode:
    """A way to fine-tune."""

    rate: float
    student_rate: float = 1.0
    freeze: bool = False


MODES = {
    "full": Mode(3e-3),
    "gentle": Mode(3e-3, student_rate=0.1),
    "frozen": Mode(1e-1, freeze=True),
}
"""Everything at one rate; what was pretrained at a tenth of it; a linear head on the frozen network."""


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning."""

    arm: str
    seed: int
    mode: str
    share: str
    draw: int

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.arm}-{self.seed}-{self.mode}-{self.share.rstrip('%')}-{self.draw}"


@dataclass(frozen=True)
class Plan:
    """What is run, and where."""

    street: Path
    runs: Path
    split: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    shares: tuple[str, ...]
    modes: tuple[str, ...]

    def tunings(self) -> list[Tuning]:
        """All fine-tunings, those of the smallest share of the labels first, whatever the seed.

        Nothing is gentle without pretraining: most of that network is yet to be learned.
        """
        return [
            Tuning(arm, seed, mode, share, draw)
            for share in self.shares
            for seed in self.seeds
            for arm in self.arms
            for mode in self.modes
            for draw in range(LABELS[share].draws)
            if (arm, mode) != ("none", "gentle")
        ]

    def needs_pretraining(self, arm: str, seed: int) -> bool:
        """Whether a fine-tuning that starts from it has no result yet."""
        mine = (tuning for tuning in self.tunings() if (tuning.arm, tuning.seed) == (arm, seed))
        return ARMS[arm].loss is not None and not all(self.results(tuning).is_file() for tuning in mine)

    def pretrained(self, arm: str, seed: int) -> Path:
        """Folder of a pretraining run."""
        return self.runs / f"pretrained-{arm}-{seed}"

    def results(self, tuning: Tuning) -> Path:
        """Figures of a fine-tuning."""
        return jobs.results_file(self.runs / tuning.name, self.split)


def restore(plan: Plan, ledger: Path) -> None:
    """Put the results of a ledger where this plan looks for them, unless it has its own."""
    for line in ledger.read_text().splitlines() if ledger.is_file() else ():
        row = json.loads(line)
        tuning = Tuning(**{field.name: row.pop(field.name) for field in fields(Tuning)})
        file = plan.results(tuning)
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text_whole(file, json.dumps({"metrics": row}))


def one_round(plan: Plan) -> bool:
    """Look at every job once; whether all of them are done."""
    done = True
    for share, seed in product(plan.shares, plan.seeds):
        for arm in plan.arms:
            if plan.needs_pretraining(arm, seed):
                done &= _pretrain(plan, arm, seed)
        for tuning in plan.tunings():
            if (tuning.share, tuning.seed) == (share, seed):
                done &= plan.results(tuning).is_file() or _finetune(plan, tuning)
    return done


def _pretrain(plan: Plan, arm: str, seed: int) -> bool:
    chosen = ARMS[arm]
    cache = plan.street.parent / ("oracle-cache" if chosen.oracle else "teacher-cache")
    return jobs.pretrain(
        plan.pretrained(arm, seed),
        recipe="cpu-small",
        data=plan.street,
        teacher=TRUTH if chosen.oracle else PACKAGED,
        teacher_cache=cache,
        head={"feature_channels": 64 if chosen.branch else None},
        loss=chosen.loss,
        augment=TURNED,
        optim={"epochs": 6},
        engine={"seed": seed, "workers": 0},
    )


def _finetune(plan: Plan, tuning: Tuning) -> bool:
    labels, mode = LABELS[tuning.share], MODES[tuning.mode]
    base: dict[str, Any] = {"recipe": "cpu-small"}
    if ARMS[tuning.arm].loss is not None:
        base = {"start": plan.pretrained(tuning.arm, tuning.seed)}
        if not jobs.is_pretrained(base["start"]):
            return False
    done = jobs.finetune(
        plan.runs / tuning.name,
        plan.split,
        **base,
        data=plan.street,
        classes=CLASSES,
        label_fraction=labels.fraction,
        label_draw="key-frame",
        label_seed=tuning.draw,
        freeze=mode.freeze,
        pictures=int(tuning.draw == 0),
        augment=TURNED,
        optim={
            "epochs": labels.epochs,
            "batch_size": labels.batch_size,
            "learning_rate": mode.rate,
            "student_rate": mode.student_rate,
        },
        engine={"seed": tuning.seed, "workers": 0},
    )
    if done:
        _say(plan, tuning)
    return done


def _say(plan: Plan, tuning: Tuning) -> None:
    """A line for whoever waits."""
    done = [plan.results(one).is_file() for one in plan.tunings()]
    metrics = json.loads(plan.results(tuning).read_text())["metrics"]
    vehicle, layers = metrics["vehicle_iou/visible"], metrics["mean_iou/map"]
    count = f"{sum(done)}/{len(done)}"
    print(f"{count} {tuning.name}: vehicle {vehicle:.3f}, map {layers:.3f}", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("street", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--split", default="val", help="where to evaluate: val to choose, test to report")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--shares", nargs="+", default=list(LABELS), choices=list(LABELS))
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=list(MODES))
    given = parser.parse_args()
    chosen = (tuple(given.arms), tuple(given.seeds), tuple(given.shares), tuple(given.modes))
    plan = Plan(given.street, given.runs, given.split, *chosen)
    if plan.split == "test":
        restore(plan, LEDGER)
    jobs.work(lambda: one_round(plan))


if __name__ == "__main__":
    main()

"""The same street through four fisheye lenses and through eight pinholes that see as much.

    PYTHONPATH=experiments python -m concluded.lenses RUNS [--seeds 0 1] [--report]

Builds both worlds below RUNS, with the same towns and traffic, pretrains and fine-tunes on each with the same
seeds and labelled key frames, and evaluates in a town of its own. A fine-tuning adds a row to
`ledgers/lenses.jsonl`. What has a row is not run again, and an interrupted run goes on. `--report` prints the
table alone.
"""

import argparse
import json
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

import occfeat
from harness import jobs
from harness.ledger import LEDGERS, Ledger
from harness.settings import CHOSEN, TURNED
from harness.spread import cells_by, paired, with_interval

RIGS: dict[str, tuple[int, int]] = {"fisheye4": (96, 128), "pinhole8": (96, 88)}
"""Size of the images that the student sees; a pixel in the middle spans about the same angle in both."""
TEACHER: dict[str, tuple[int, int]] = {"fisheye4": (98, 126), "pinhole8": (98, 98)}
DRAWS = 2
"""Draws of the labelled key frames; both rigs get the same."""
SPLIT = "test"
METRICS = ("vehicle_iou/visible", "vehicle_iou/all", "drivable_area_iou/map")
WORLD = {"scenes": 30, "val_scenes": 0, "test_scenes": 6, "key_frames": 4, "image_size": (160, 280)}


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning."""

    rig: str
    pretrained: bool
    seed: int
    draw: int

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.rig}-{'occfeat' if self.pretrained else 'none'}-{self.seed}-{self.draw}"


Rows = dict[Tuning, dict[str, float]]
LEDGER = Ledger(LEDGERS / "lenses.jsonl", Tuning)


def planned(seeds: list[int]) -> list[Tuning]:
    """Return all fine-tunings, seed after seed; those without pretraining have the first seed alone."""
    kinds = [(True, seed) for seed in seeds] + [(False, seed) for seed in seeds[:1]]
    return [Tuning(rig, kind, seed, draw) for kind, seed in kinds for rig in RIGS for draw in range(DRAWS)]


def prepare(runs: Path, rig: str) -> None:
    """Build the world of a rig and the cache of its teacher's features."""
    street = runs / f"street-{rig}"
    occfeat.build_world(street, rig=rig, lights=("noon", "overcast"), workers=1, **WORLD)
    occfeat.cache(street, runs / f"teacher-{rig}", recipe="cpu-small", teacher={"image_size": TEACHER[rig]})


def tune(runs: Path, tuning: Tuning) -> dict[str, float]:
    """Pretrain if that is still to be done, fine-tune and evaluate; the metrics."""
    street, view = runs / f"street-{tuning.rig}", {"image_size": RIGS[tuning.rig]}
    common = {"data": street, "view": view, "augment": TURNED, "engine": {"seed": tuning.seed, "workers": 0}}
    start = runs / f"pretrained-{tuning.rig}-{tuning.seed}"
    begin: dict[str, Any] = {}
    rate = 1.0
    if tuning.pretrained:
        jobs.pretrain(
            start,
            recipe="cpu-small",
            teacher={"image_size": TEACHER[tuning.rig]},
            teacher_cache=runs / f"teacher-{tuning.rig}",
            head={"feature_channels": 64},
            loss=CHOSEN,
            optim={"epochs": 4},
            **common,
        )
        begin, rate = {"start": start}, 0.1
    jobs.finetune(
        runs / tuning.name,
        SPLIT,
        recipe="cpu-small",
        classes=("vehicle", "drivable_area"),
        label_fraction=0.06,
        label_draw="key-frame",
        label_seed=tuning.draw,
        pictures=2 if tuning.draw == 0 else 0,
        optim={"epochs": 24, "batch_size": 3, "student_rate": rate},
        **begin,
        **common,
    )
    found: dict[str, float] = json.loads(
        jobs.results_file(runs / tuning.name, SPLIT).read_text(encoding="utf-8")
    )["metrics"]
    return found


def table(rows: Rows) -> str:
    """Return IoUs in per cent by rig, and the paired differences, with 95 % intervals."""
    lines = []
    for kind, title in ((True, "OccFeat"), (False, "ImageNet")):
        of_kind = {tuning: metrics for tuning, metrics in rows.items() if tuning.pretrained == kind}
        for metric in METRICS:
            values = cells_by(of_kind, metric, attrgetter("rig"))
            gaps = list(paired(values["fisheye4"], values["pinhole8"]).values())
            means = "  ".join(f"{rig} {with_interval(list(values[rig].values()))}" for rig in RIGS)
            spread = f"standard deviation {np.std(gaps, ddof=1):.1f}" if len(gaps) > 1 else ""
            gap = with_interval(gaps, sign=True)
            lines.append(f"{title} {metric}: {means}  difference {gap} of {len(gaps)} pairs {spread}")
    return "\n".join(lines)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--report", action="store_true", help="run nothing")
    given = parser.parse_args()
    for tuning in [] if given.report else planned(given.seeds):
        if tuning not in LEDGER.read():
            prepare(given.runs, tuning.rig)
            LEDGER.add({tuning: tune(given.runs, tuning)}, given.runs / "locks")
            print(tuning.name, LEDGER.read()[tuning], flush=True)
    print(table(LEDGER.read()))


if __name__ == "__main__":
    main()

"""The street of the comparisons that need many seeds: its world, its caches, how arms pretrain and fine-tune.

It is the world of `first_three.sh`, so its numbers can be set beside theirs.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jobs
from first_three_plan import CHOSEN, CLASSES, PACKAGED, TRUTH, TURNED
from oracle_cache import write_oracle_cache

import occfeat
from occfeat.teacher.cache import TEACHER

WORLD: dict[str, Any] = {
    "scenes": 107,
    "val_scenes": 12,
    "test_scenes": 20,
    "key_frames": 4,
    "lights": ("noon", "overcast"),
    "truth": True,
}
"""300 key frames to learn from, 48 to choose with, 80 to report, the last two in towns of their own."""
RECIPE = "cpu-small"
EPOCHS = 6
"""Of pretraining: 450 steps."""
ONE_PER_CENT: dict[str, Any] = {"label_fraction": 0.01, "label_draw": "key-frame"}
TUNED: dict[str, Any] = {"epochs": 60, "batch_size": 3}
"""Of fine-tuning with three labelled key frames: 60 steps."""
MODES: dict[str, dict[str, Any]] = {
    "fine-tuned": {"optim": {"student_rate": 0.1}},
    "linear": {"freeze": True, "optim": {"learning_rate": 0.1}},
}
"""What is learned, and how fast. What was pretrained learns at a tenth of the rate; or the head alone."""
FROM_SCRATCH: dict[str, dict[str, Any]] = {"fine-tuned": {"optim": {}}, "linear": {}}
"""What differs without pretraining: the network is yet to be learned, so all of it has one rate."""


@dataclass(frozen=True)
class Arm:
    """One way to pretrain."""

    title: str
    settings: dict[str, Any] = field(default_factory=dict)
    """What differs from the recipe."""
    features: bool = True
    """Whether a teacher is needed."""
    oracle: bool = False
    """The teacher is the world's truth."""
    cache: str = ""
    """Name of the cache of a teacher of its own, if it has one."""


OCCUPANCY = Arm("occupancy only", {"loss": {"features": 0}}, features=False)
BOTH = Arm(
    "both, centred, λ 0.3, own branch",
    {"loss": CHOSEN, "head": {"feature_channels": 64}},
)
"""What did best on the validation town of the first three experiments."""


def street(runs: Path) -> Path:
    """Return the folder of the world."""
    return runs / "street"


def build_world(runs: Path) -> bool:
    """Build the world, or what is left of it; whether it is there."""
    with jobs.claim(street(runs)) as mine:
        if mine:
            occfeat.build_world(street(runs), workers=1, **WORLD)
        return mine


def fill_cache(runs: Path, arm: Arm) -> bool:
    """Compute the features that an arm learns, or what is left of them; whether they are there."""
    with jobs.claim(cache_of(runs, arm)) as mine:
        if mine and not arm.oracle:
            occfeat.cache(street(runs), cache_of(runs, arm), recipe=RECIPE, teacher=teacher_of(arm))
        elif mine and not (cache_of(runs, arm) / TEACHER.card_file).is_file():
            shutil.rmtree(cache_of(runs, arm), ignore_errors=True)  # what was interrupted
            write_oracle_cache(street(runs), cache_of(runs, arm))
        return mine


def cache_of(runs: Path, arm: Arm) -> Path:
    """Return the folder of the features that an arm learns."""
    return runs / (f"cache-{arm.cache}" if arm.cache else "oracle-cache" if arm.oracle else "teacher-cache")


def teacher_of(arm: Arm) -> dict[str, Any]:
    """Return the settings of the teacher that an arm learns from."""
    return arm.settings.get("teacher", TRUTH if arm.oracle else PACKAGED)


def pretrain(runs: Path, out: Path, arm: Arm, seed: int, **optim: Any) -> bool:
    """Pretrain, or go on with it; whether it is done.

    Args:
        runs: Folder of the world and the caches.
        out: Folder of the run.
        arm: What is learned.
        seed: Random seed.
        **optim: Settings of the optimiser that differ.
    """
    if not jobs.is_pretrained(out) and arm.features and not fill_cache(runs, arm):
        return False
    settings: dict[str, Any] = {"augment": TURNED, "engine": {"seed": seed, "workers": 0}}
    if arm.features:
        settings |= {"teacher": teacher_of(arm), "teacher_cache": cache_of(runs, arm)}
    settings |= {**arm.settings, "optim": {"epochs": EPOCHS, **arm.settings.get("optim", {}), **optim}}
    return jobs.pretrain(out, recipe=RECIPE, data=street(runs), **settings)


def finetune(out: Path, split: str, /, *, draw: int, seed: int, **settings: Any) -> bool:
    """Fine-tune on 1 % of the labels and evaluate on a split, or go on with it; whether it is done.

    Args:
        out: Folder of the run, beside the world.
        split: Where to evaluate.
        draw: Draw of the labelled key frames.
        seed: Random seed.
        **settings: Settings that differ from the recipe, such as `start`.
    """
    optim = {**TUNED, **settings.pop("optim", {})}
    return jobs.finetune(
        out,
        split,
        recipe=RECIPE,
        data=street(out.parent),
        classes=CLASSES,
        label_seed=draw,
        augment=TURNED,
        optim=optim,
        engine={"seed": seed, "workers": 0},
        **ONE_PER_CENT,
        **{"pictures": 0, **settings},
    )

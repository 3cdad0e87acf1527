"""The streets of the comparisons that need many seeds: worlds, caches, how arms pretrain and fine-tune."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import occfeat
from harness import jobs
from harness.oracle_cache import write_oracle_cache
from harness.settings import CHOSEN, CLASSES, PACKAGED, TRUTH, TURNED
from occfeat.machine.atomic import write_text_atomic
from occfeat.runs.folder import RESULTS
from occfeat.teacher.cache import TEACHER

VAL_SCENES, TEST_SCENES = 12, 20
LABELLED = 3
"""Key frames with labels: 1 % of 300."""


@dataclass(frozen=True)
class World:
    """A street world with towns of its own to choose and to report in."""

    name: str
    key_frames: int
    """To learn from."""
    per_scene: int = 4
    """Key frames of a scene."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the street of the first three experiments."""
    parts: tuple[int, ...] = ()
    """Numbers of key frames that splits of their own hold, each the first ones of the next."""


STREET = World("street", 300)
"""The world of the first three experiments, so numbers can be set beside its own."""
RECIPE = "cpu-small"
EPOCHS = 6
"""Of pretraining: 450 steps."""
TUNED: dict[str, Any] = {"epochs": 60, "batch_size": 3}
"""Of fine-tuning: 60 steps."""
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
"""The way of `CHOSEN`."""


def part(key_frames: int) -> str:
    """Return the split of the first key frames to learn from."""
    return f"train-{key_frames}"


@dataclass(frozen=True)
class Study:
    """A world in a folder of runs, where arms pretrain, and what they learned is fine-tuned."""

    world: World
    runs: Path

    @property
    def folder(self) -> Path:
        """The world."""
        return self.runs / self.world.name

    def build_world(self) -> bool:
        """Build the world, or what is left of it; whether it is there."""
        with jobs.claim(self.folder) as mine:
            if mine and not {"train", *map(part, self.world.parts)} <= set(_splits_of(self.folder)):
                occfeat.build_world(self.folder, workers=1, **_settings_of(self.world))
                _write_parts(self.folder, self.world)
            return mine

    def fill_cache(self, arm: Arm) -> bool:
        """Compute the features that an arm learns, or what is left of them; whether they are there."""
        cache = self.cache_of(arm)
        with jobs.claim(cache) as mine:
            if mine and not arm.oracle:
                occfeat.cache(self.folder, cache, recipe=RECIPE, teacher=teacher_of(arm))
            elif mine and not (cache / TEACHER.card_file).is_file():
                shutil.rmtree(cache, ignore_errors=True)  # what was interrupted
                write_oracle_cache(self.folder, cache)
            return mine

    def cache_of(self, arm: Arm) -> Path:
        """Return the folder of the features that an arm learns."""
        name = f"cache-{arm.cache}" if arm.cache else "oracle-cache" if arm.oracle else "teacher-cache"
        return self.runs / name

    def pretrain(self, out: Path, arm: Arm, seed: int, **optim: Any) -> bool:
        """Pretrain, or go on with it; whether it is done.

        Args:
            out: Folder of the run.
            arm: What is learned.
            seed: Random seed.
            **optim: Settings of the optimiser that differ.
        """
        if not jobs.is_pretrained(out) and arm.features and not self.fill_cache(arm):
            return False
        settings: dict[str, Any] = {"augment": TURNED, "engine": {"seed": seed, "workers": 0}}
        if arm.features:
            settings |= {"teacher": teacher_of(arm), "teacher_cache": self.cache_of(arm)}
        settings |= {**arm.settings, "optim": {"epochs": EPOCHS, **arm.settings.get("optim", {}), **optim}}
        return jobs.pretrain(out, recipe=RECIPE, data=self.folder, **settings)

    def finetune(self, out: Path, *, draw: int, seed: int, **settings: Any) -> bool:
        """Fine-tune on few labels, or go on with it; whether it is done. Nothing is evaluated.

        Args:
            out: Folder of the run.
            draw: Draw of the labelled key frames.
            seed: Random seed.
            **settings: Settings that differ from the recipe, such as `start`.
        """
        optim = {**TUNED, **settings.pop("optim", {})}
        return jobs.finetune(
            out,
            None,
            recipe=RECIPE,
            data=self.folder,
            classes=CLASSES,
            label_fraction=LABELLED / self.world.key_frames,
            label_draw="key-frame",
            label_seed=draw,
            augment=TURNED,
            optim=optim,
            engine={"seed": seed, "workers": 0},
            **{"pictures": 0, **settings},
        )

    def evaluate(self, run: Path, split: str) -> dict[str, float]:
        """Return the metrics of what was fine-tuned on a split, with what moves and what stands apart."""
        out = run / f"{split}-motion"
        if not (out / RESULTS).is_file():
            shutil.rmtree(out, ignore_errors=True)  # what was interrupted
            settings = {"split": split, "motion": True, "pictures": 0, "engine": {"workers": 0}}
            occfeat.evaluate(run, data=self.folder, out=out, **settings)
        found = json.loads((out / RESULTS).read_text(encoding="utf-8"))["metrics"]
        return {name: value for name, value in found.items() if value is not None}


def teacher_of(arm: Arm) -> dict[str, Any]:
    """Return the settings of the teacher that an arm learns from."""
    return arm.settings.get("teacher", TRUTH if arm.oracle else PACKAGED)


def _settings_of(world: World) -> dict[str, Any]:
    """Return the settings of a world."""
    scenes = {
        "scenes": world.key_frames // world.per_scene + VAL_SCENES + TEST_SCENES,
        "val_scenes": VAL_SCENES,
        "test_scenes": TEST_SCENES,
        "key_frames": world.per_scene,
    }
    return {**scenes, "lights": ("noon", "overcast"), "truth": True, **world.settings}


def _splits_of(folder: Path) -> dict[str, list[str]]:
    """Return the scenes of each split of a world; none if it is not finished."""
    file = _splits_file(folder)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _splits_file(folder: Path) -> Path:
    """Return the file that names the scenes of the splits of a world."""
    return folder / "v1.0-street" / "splits.json"


def _write_parts(folder: Path, world: World) -> None:
    """Add splits of the first key frames to learn from."""
    splits = _splits_of(folder)
    splits |= {part(count): splits["train"][: count // world.per_scene] for count in world.parts}
    write_text_atomic(_splits_file(folder), json.dumps(splits, indent=2))

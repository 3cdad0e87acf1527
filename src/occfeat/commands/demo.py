"""`occfeat demo`: the whole method on a street world it builds, up to a comparison on an unseen town.

A stage that has finished is not repeated, so an interrupted demo goes on where it was.
"""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from occfeat.commands.cache import cache
from occfeat.commands.check import check
from occfeat.commands.config import (
    CacheConfig,
    CheckConfig,
    DemoConfig,
    FinetuneConfig,
    PretrainConfig,
    ViewerConfig,
)
from occfeat.commands.demo_page import TITLES, write_demo_page
from occfeat.commands.finetune import finetune
from occfeat.commands.finetune import resume as resume_finetune
from occfeat.commands.outcome import Outcome, RunOutcome
from occfeat.commands.pretrain import pretrain
from occfeat.commands.pretrain import resume as resume_pretrain
from occfeat.commands.view import view
from occfeat.config import Strict
from occfeat.engine.checkpoint import write_whole
from occfeat.engine.footprint import Footprint
from occfeat.engine.run import lock_folder, require_empty, settings_text
from occfeat.errors import Interrupted, RunError, TrainingError
from occfeat.models.packaged import STUDENT_FILE, TEACHER_FILE, locate
from occfeat.settings import base_layer, build, merge
from occfeat.world.build import build_world
from occfeat.world.config import WorldConfig
from occfeat.world.tracer import require_embree

logger = logging.getLogger(__name__)

SPLIT = "test"
"""Its town is never trained in."""
ARMS = {"none": None, "occfeat": "pretrained"}
"""What is compared, and the pretraining run each starts from (none: ImageNet weights of the backbone)."""
DRAWS = 2
"""Draws of labelled key frames; both arms see the same, and their figures are averaged over them."""


@dataclass(frozen=True)
class Size:
    """How much is built and learned."""

    world: dict[str, Any]
    """Settings of the world."""
    teacher: dict[str, Any]
    """Settings of the teacher, above the recipe."""
    pretrain: dict[str, Any]
    """Settings of pretraining, above the recipe."""
    finetune: dict[str, Any]
    """Settings of both fine-tunings, above the recipe."""


TURNED = {"bev_flip": True, "bev_rotation_deg": 180}
FULL = Size(
    world={"scenes": 46, "test_scenes": 6, "key_frames": 4},
    teacher={"teacher": {"image_size": (126, 224)}},
    pretrain={"augment": TURNED},
    finetune={
        "label_fraction": 0.01,
        "optim": {"epochs": 80, "batch_size": 2},
        "augment": TURNED,
    },
)
QUICK = Size(
    world={"scenes": 4, "test_scenes": 1, "key_frames": 2, "image_size": (96, 168), "town_size": 3},
    teacher={"teacher": {"image_size": (56, 98)}},
    pretrain={"optim": {"epochs": 2, "batch_size": 2}},
    finetune={"label_fraction": 0.34, "optim": {"epochs": 3, "batch_size": 2}},
)


def demo(config: DemoConfig) -> Outcome:
    """Build a world, check it, pretrain, fine-tune with 1 % of the labels with and without, and compare.

    Raises:
        OccFeatError: A part is not installed, or the folder holds something else.
        Interrupted: After Ctrl-C or SIGTERM; the same command goes on.
    """
    require_embree()
    for file in (STUDENT_FILE, TEACHER_FILE):
        locate(file)
    _claim(config)
    try:
        with lock_folder(config.out), Footprint(config.out / "footprint.json") as footprint:
            arms = _run(config, QUICK if config.quick else FULL, footprint)
    except (Interrupted, KeyboardInterrupt) as stop:
        again = f"occfeat demo --out {config.out}" + (" --quick" if config.quick else "")
        raise Interrupted(f"Stopped; what is finished stays. Go on with: {again}") from stop
    return _conclude(config.out, arms, footprint)


def _run(config: DemoConfig, size: Size, footprint: Footprint) -> dict[str, dict[str, float]]:
    """All stages in turn; gives the figures of each arm."""
    out, street = config.out, config.out / "street"
    common = {"data": street, "engine": {"seed": config.seed, "workers": 1, "checkpoint_minutes": 0.5}}

    def stage(name: str, text: str, work: Callable[[], object]) -> None:
        logger.info("\n== %s (%.0f s so far)", text, sum(footprint.seconds.values()))
        with footprint.stage(name):
            work()

    lights = ("noon", "overcast")
    world = {"out": street, "seed": config.seed, "val_scenes": 0, "lights": lights, **size.world}
    stage("world", "a street world in nuScenes' format", partial(build_world, build(WorldConfig, world)))
    stage("check", "is it complete, and its calibration right?", partial(_check, street, out))
    seen = {"data": street, "out": out / "teacher-cache"}
    stage(
        "cache", "what the teacher sees", lambda: cache(_configured(CacheConfig, "cache", seen, size.teacher))
    )
    learned = {"teacher_cache": out / "teacher-cache", **common, **size.teacher, **size.pretrain}
    pretraining = _Learning("pretrain", PretrainConfig, pretrain, resume_pretrain)
    text = "pretraining: LiDAR occupancy and teacher features, no labels"
    stage("pretrain", text, partial(pretraining.run, out / "pretrained", learned, "model.json"))
    finetuning = _Learning("finetune", FinetuneConfig, finetune, resume_finetune)
    done = f"evaluation-{SPLIT}/results.json"
    for arm, start in ARMS.items():
        labels = {"start": out / start if start else None, "val_split": SPLIT, **common, **size.finetune}
        for draw in range(DRAWS):
            text = (
                f"fine-tuning with few labels, from {'OccFeat' if start else 'ImageNet'} weights, draw {draw}"
            )
            drawn = {**labels, "label_draw": "key-frame", "label_seed": draw}
            work = partial(finetuning.run, out / f"{arm}-{draw}", drawn, done)
            stage(f"finetune {arm}", text, work)
    arms = {arm: _mean([_figures(out / f"{arm}-{draw}" / done) for draw in range(DRAWS)]) for arm in ARMS}
    stage("pictures", "pictures", partial(write_demo_page, out, SPLIT, arms, DRAWS))
    return arms


@dataclass(frozen=True)
class _Learning:
    """A command that can be started, gone on with, or left because it has finished."""

    name: str
    settings: type[Strict]
    start: Callable[[Any], RunOutcome]
    resume: Callable[[Path], RunOutcome]

    def run(self, out: Path, settings: dict[str, Any], finished: str) -> None:
        if (out / finished).is_file():
            return
        if (out / "checkpoints" / "last.pt").is_file():
            self.resume(out)
            return
        shutil.rmtree(out, ignore_errors=True)  # it was stopped before its first checkpoint
        self.start(_configured(self.settings, self.name, {"out": out}, settings))


def _configured(kind: type[Strict], command: str, *layers: dict[str, Any]) -> Any:
    """Settings of a command: the recipe, and the layers above it."""
    start = next((layer["start"] for layer in layers if layer.get("start")), None)
    settings = base_layer(command, recipe="cpu-small", start=start)
    for layer in layers:
        settings = merge(settings, layer)
    return build(kind, settings)


def _check(street: Path, out: Path) -> None:
    """Stop at an incomplete world; draw a key frame with LiDAR and boxes."""
    outcome = check(CheckConfig(data=street))
    if outcome.exit_code:
        raise RunError(outcome.text, hint=f"Delete {street} and start the demo again.")
    if not (out / "calibration.png").is_file():
        view(ViewerConfig(data=street, out=out / "calibration.png", calibration=True))


def _claim(config: DemoConfig) -> None:
    """Make sure the folder is new, empty or holds this very demo."""
    file, own = config.out / "demo.yaml", settings_text(config.model_copy(update={"out": Path()}))
    if file.is_file():
        if file.read_text() != own:
            raise RunError(f"{config.out} holds a demo with other settings.", hint="Choose another --out.")
        return
    require_empty(config.out, hint="Choose another --out.")
    write_whole(file, lambda temporary: temporary.write_text(own))


def _figures(file: Path) -> dict[str, float]:
    metrics = json.loads(file.read_text())["metrics"]
    if any(value is None for value in metrics.values()):
        raise TrainingError(f"{file} holds figures that are not numbers.", hint="Start the demo anew.")
    return {str(name): float(value) for name, value in metrics.items()}


def _mean(figures: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in figures) / len(figures) for name in figures[0]}


def _conclude(out: Path, arms: dict[str, dict[str, float]], footprint: Footprint) -> Outcome:
    """Write the summary; the last line of the text says what to open."""
    summary = {
        "arms": arms,
        "seconds": footprint.seconds,
        "peak_memory_mb": footprint.peak_memory_mb,
    }
    write_whole(
        out / "summary.json", lambda temporary: temporary.write_text(json.dumps(summary, indent=2) + "\n")
    )
    names = sorted(arms["none"])
    lines = [f"{'':28}" + "".join(f"{name:>22}" for name in names)]
    for arm, title in TITLES.items():
        lines.append(f"{title:28}" + "".join(f"{arms[arm][name]:22.4f}" for name in names))
    gain = "".join(f"{arms['occfeat'][name] - arms['none'][name]:+22.4f}" for name in names)
    total = sum(footprint.seconds.values())
    cost = f"{total / 60:.1f} minutes, {footprint.peak_memory_mb / 1000:.1f} GB of memory at the most"
    return Outcome("\n".join(["", *lines, f"{'gain':28}{gain}", cost, str(out / "index.html")]))

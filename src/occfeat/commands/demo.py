"""`occfeat demo`: the whole method on a street world it builds, up to a comparison on an unseen town.

A finished stage is not repeated, so an interrupted demo resumes where it stopped.
"""

import json
import logging
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from occfeat.commands.cache.cache import cache
from occfeat.commands.dataset.check import check
from occfeat.commands.dataset.view import view
from occfeat.commands.layers import base_layer
from occfeat.commands.outcome import Outcome
from occfeat.commands.training.finetune import finetune
from occfeat.commands.training.finetune import resume as resume_finetune
from occfeat.commands.training.pretrain import pretrain
from occfeat.commands.training.pretrain import resume as resume_pretrain
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.index.subsets import spread
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import collate
from occfeat.errors import Interrupted, RunError, TrainingError
from occfeat.geometry.grid import build_grid
from occfeat.machine.atomic import LOCK, lock_folder, partial_of, write_text_atomic
from occfeat.machine.footprint import Footprint
from occfeat.machine.interrupt import sigterm_like_ctrl_c
from occfeat.models.weights.packaged import STUDENT_FILE, TEACHER_FILE, locate
from occfeat.release.model import BevModel
from occfeat.release.shipped import load_model
from occfeat.report.page.page import Picture, Section, Table, write_page
from occfeat.report.pictures.comparison import Compared, draw_comparison
from occfeat.runs.card import read_card
from occfeat.runs.folder import CURVES, OCCUPANCY, RESULTS, RunFolder
from occfeat.runs.output import make_folder, require_empty
from occfeat.runs.saved_settings import settings_text
from occfeat.settings.commands import (
    CacheConfig,
    CheckConfig,
    DemoConfig,
    FinetuneConfig,
    PretrainConfig,
    ViewerConfig,
)
from occfeat.settings.layers import build, merge
from occfeat.settings.sections import DataConfig
from occfeat.settings.strict import Strict
from streetworld.build import build_world
from streetworld.config import WorldConfig

logger = logging.getLogger(__name__)
Config = TypeVar("Config", bound=Strict)
SPLIT = "test"
"""Split of the town that no network is trained on."""
DRAWS = 2
"""Draws of labelled key frames. Both arms get the same draws; metrics are averaged over them."""
TITLES = {"none": "from ImageNet weights", "occfeat": "from OccFeat weights"}
"""Compared arms: names in the summary, and titles."""
SHOWN = 2
"""Key frames that are compared in the picture."""


@dataclass(frozen=True)
class Size:
    """How much is built and trained."""

    world: dict[str, Any]
    """Settings of the world."""
    teacher: dict[str, Any]
    """Settings of the teacher, above the recipe."""
    pretrain: dict[str, Any]
    """Settings of pretraining, above the recipe."""
    finetune: dict[str, Any]
    """Settings of both fine-tunings, above the recipe."""


STUDENT_RATES = {"none": 1.0, "occfeat": 0.1}
"""Learning rate of each arm's student, as a share of that of its head. Without pretraining most of the
student is still untrained."""
TURNED = {"bev_flip": True, "bev_rotation_deg": 180}
SMALL = {"image_size": (96, 168)}
FULL = Size(
    world={"scenes": 46, "test_scenes": 6, "key_frames": 4, "image_size": (160, 280)},
    teacher={"teacher": {"image_size": (98, 168)}},
    pretrain={
        "view": SMALL,
        "augment": TURNED,
        "head": {"feature_channels": 64},
        "loss": {"features": 0.3, "center": "mean"},
        "optim": {"epochs": 6},
    },
    finetune={
        "view": SMALL,
        "label_fraction": 0.01,
        "optim": {"epochs": 60, "batch_size": 2},
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
        OccFeatError: A package is not installed, or the folder holds something else.
        Interrupted: After Ctrl-C or SIGTERM; the same command resumes.
    """
    for file in (STUDENT_FILE, TEACHER_FILE):
        locate(file)
    _require_own(config)  # before a folder of something else gets a lock file
    make_folder(config.out)
    try:
        with sigterm_like_ctrl_c(), lock_folder(config.out):
            _require_own(config)  # another process may have been faster
            write_text_atomic(_claim_of(config.out), _settings_of(config))
            with Footprint(RunFolder(config.out).footprint) as footprint:
                arms = _Demo(config, footprint).run()
    except (Interrupted, KeyboardInterrupt) as stop:
        raise Interrupted(f"Stopped; finished stages are kept. Go on with: {_same_again(config)}") from stop
    return _conclude(config.out, arms, footprint)


class _Demo:
    """The stages, each of which skips what is already finished."""

    def __init__(self, config: DemoConfig, footprint: Footprint) -> None:
        self.out, self.seed, self.footprint = config.out, config.seed, footprint
        self.street = config.out / "street"
        self.size = QUICK if config.quick else FULL
        engine = {"seed": config.seed, "workers": 0, "checkpoint_minutes": 0.5}
        self.common = {"data": self.street, "engine": engine}

    def run(self) -> dict[str, dict[str, float]]:
        """Run all stages in turn and return the metrics of each arm."""
        self._stage("world", "a street world in nuScenes' format", self._build_world)
        self._stage("check", "check: files and calibration", self._check)
        self._stage("cache", "cache of teacher features", self._cache)
        self._stage("pretrain", "pretraining: LiDAR occupancy, teacher features, no labels", self._pretrain)
        for arm, title in TITLES.items():
            for draw in range(DRAWS):
                text = f"fine-tuning with few labels (draw {draw}), {title}"
                self._stage(f"finetune {arm}", text, partial(self._finetune, arm, draw))
        arms = {arm: _mean([_metrics(self._results(arm, draw)) for draw in range(DRAWS)]) for arm in TITLES}
        self._stage("pictures", "pictures", partial(write_demo_page, self.out, SPLIT, arms, DRAWS))
        return arms

    def _stage(self, name: str, text: str, work: Callable[[], object]) -> None:
        """Announce a stage, run it and measure its cost."""
        logger.info("\n== %s (%.0f s so far)", text, sum(self.footprint.seconds.values()))
        with self.footprint.stage(name):
            work()

    def _build_world(self) -> None:
        """Build the street world."""
        plain = {"out": self.street, "seed": self.seed, "val_scenes": 0, "lights": ("noon", "overcast")}
        build_world(build(WorldConfig, {**plain, **self.size.world}))

    def _check(self) -> None:
        """Stop at an incomplete world; draw a key frame with LiDAR and boxes."""
        outcome = check(CheckConfig(data=self.street))
        if outcome.exit_code:
            raise RunError(outcome.text, hint=f"Delete {self.street} and start the demo again.")
        picture = self.out / "calibration.png"
        if not picture.is_file():
            view(ViewerConfig(data=self.street, out=picture, calibration=True))

    def _cache(self) -> None:
        """Fill the teacher cache."""
        settings = {"data": self.street, "out": self.out / "teacher-cache", **self.size.teacher}
        cache(_configured(CacheConfig, settings))

    def _pretrain(self) -> None:
        """Start pretraining, or resume it."""
        out = self.out / "pretrained"
        if (RunFolder(out).pictures / OCCUPANCY).is_file():  # the last file of a run
            return
        if _can_resume(out):
            resume_pretrain(out)
            return
        settings: dict[str, Any] = {"out": out, "teacher_cache": self.out / "teacher-cache"}
        settings |= {**self.common, **self.size.teacher, **self.size.pretrain}
        pretrain(_configured(PretrainConfig, settings))

    def _finetune(self, arm: str, draw: int) -> None:
        """Start a fine-tuning of an arm on a draw of labels, or resume it."""
        out = self.out / f"{arm}-{draw}"
        if self._results(arm, draw).is_file():
            return
        if _can_resume(out):
            resume_finetune(out)
            return
        start = self.out / "pretrained" if arm == "occfeat" else None
        settings: dict[str, Any] = {"out": out, "start": start, "label_draw": "key-frame", "label_seed": draw}
        settings |= {"val_split": SPLIT, "pictures": 0, **self.common}
        settings |= merge(self.size.finetune, {"optim": {"student_rate": STUDENT_RATES[arm]}})
        finetune(_configured(FinetuneConfig, settings))

    def _results(self, arm: str, draw: int) -> Path:
        """Return the file of results of a fine-tuning."""
        return RunFolder(self.out / f"{arm}-{draw}").evaluation(SPLIT) / RESULTS


def _same_again(config: DemoConfig) -> str:
    """Return the command that started the demo."""
    words = ["occfeat", config.command, "--out", str(config.out), *(["--quick"] if config.quick else [])]
    if config.seed != DemoConfig().seed:
        words += ["--seed", str(config.seed)]
    return shlex.join(words)


def _can_resume(run: Path) -> bool:
    """Return whether a run has a checkpoint; one that was stopped before its first is removed."""
    if RunFolder(run).checkpoint.is_file():
        return True
    shutil.rmtree(run, ignore_errors=True)
    return False


def _configured(kind: type[Config], settings: dict[str, Any]) -> Config:
    """Return settings of a command, on top of those of the recipe."""
    return build(kind, merge(base_layer(kind, recipe="cpu-small", above=settings), settings))


def _claim_of(out: Path) -> Path:
    """Return the file that says whose demo a folder holds."""
    return out / "demo.yaml"


def _settings_of(config: DemoConfig) -> str:
    """Return the settings of a demo, wherever it lies."""
    return settings_text(config.model_copy(update={"out": Path()}))


def _require_own(config: DemoConfig) -> None:
    """Refuse a folder that is neither new nor empty nor of this very demo."""
    file = _claim_of(config.out)
    if not file.is_file():
        require_empty(config.out, hint="Choose another --out.", except_for={LOCK, partial_of(file).name})
    elif file.read_text(encoding="utf-8") != _settings_of(config):
        raise RunError(f"{config.out} holds a demo with other settings.", hint="Choose another --out.")


def _metrics(file: Path) -> dict[str, float]:
    """Read the metrics of a fine-tuning."""
    metrics = json.loads(file.read_text(encoding="utf-8"))["metrics"]
    if any(value is None for value in metrics.values()):
        raise TrainingError(f"{file} holds metrics that are not numbers.", hint="Choose another --out.")
    return {str(name): float(value) for name, value in metrics.items()}


def _mean(metrics: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each metric."""
    return {name: sum(one[name] for one in metrics) / len(metrics) for name in metrics[0]}


def _conclude(out: Path, arms: dict[str, dict[str, float]], footprint: Footprint) -> Outcome:
    """Write the summary; the last line of the text says what to open."""
    summary = {
        "arms": arms,
        "seconds": footprint.seconds,
        "peak_memory_mb": footprint.peak_memory_mb,
    }
    write_text_atomic(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    names = sorted(arms["none"])
    lines = [f"{'':28}" + "".join(f"{name:>22}" for name in names)]
    for arm, title in TITLES.items():
        lines.append(f"{title:28}" + "".join(f"{arms[arm][name]:22.4f}" for name in names))
    gain = "".join(f"{arms['occfeat'][name] - arms['none'][name]:+22.4f}" for name in names)
    total = sum(footprint.seconds.values())
    cost = f"{total / 60:.1f} minutes, {footprint.peak_memory_mb / 1000:.1f} GB peak memory"
    return Outcome("\n".join(["", *lines, f"{'gain':28}{gain}", cost, str(out / "index.html")]))


def write_demo_page(out: Path, split: str, arms: dict[str, dict[str, float]], draws: int) -> None:
    """Draw the comparison and write `index.html`.

    Args:
        out: Folder of the demo, with all its runs finished.
        split: Split that both arms were evaluated on.
        arms: Mean metrics of each, by name.
        draws: Number of draws of labels they are averaged over; the pictures show the first.
    """
    _draw(out, split)
    tokens = RunFolder(out / "none-0").label_tokens.read_text(encoding="utf-8").split()
    names = sorted(arms["none"])
    rows = [[TITLES[arm], *(f"{arms[arm][name]:.3f}" for name in names)] for arm in TITLES]
    rows.append(["gain", *(f"{arms['occfeat'][name] - arms['none'][name]:+.3f}" for name in names)])
    pictures = {
        "comparison.png": "The unseen town: truth and predictions of each network",
        _picture("pretrained", OCCUPANCY): "Predictions of pretraining: occupancy and teacher features",
        "calibration.png": "A key frame of the street world: LiDAR and boxes on the images",
        _picture("pretrained", CURVES): "Pretraining curves",
        _picture("none-0", CURVES): f"Fine-tuning curves, {TITLES['none']}",
        _picture("occfeat-0", CURVES): f"Fine-tuning curves, {TITLES['occfeat']}",
    }
    words = (
        f"Segmentation of vehicles in BEV, fine-tuned on {len(tokens)} labelled key frames and evaluated in "
        "a town that neither network has seen. One network starts from ImageNet weights. The other was first "
        "pretrained on the unlabelled drives, to predict LiDAR occupancy and a teacher's features; its "
        "student is fine-tuned at a tenth of the learning rate. "
        f"Metrics are means over {draws} draws of the labelled key frames."
    )
    results = Section("IoU", [], [Table(["fine-tuned", *names], rows)])
    shown = Section("Pictures", [], [Picture(file, caption) for file, caption in pictures.items()])
    write_page(out / "index.html", "OccFeat on a street world", [words], [results, shown])


def _picture(run: str, name: str) -> str:
    """Return the address of a picture of a run, relative to the page."""
    return (RunFolder(Path(run)).pictures / name).as_posix()


def _draw(out: Path, split: str) -> None:
    """Draw key frames of the test town with the predictions of each arm."""
    models: dict[str, BevModel] = {TITLES[arm]: load_model(out / f"{arm}-0") for arm in TITLES}
    card = read_card(out / "none-0")
    index = Index.open(DataConfig(root=out / "street"))
    grid = build_grid(card.grid)
    contents = Contents(points=True, classes=card.classes)
    key_frames = KeyFrames(index, card.view, contents, grid=grid)
    rows = index.rows(split)
    between = spread(rows, SHOWN + 2)[1:-1]
    chosen = between if len(between) else rows
    compared = [_compare(key_frames, int(row), models) for row in chosen]
    draw_comparison(out / "comparison.png", compared, grid.bev)


@torch.inference_mode()
def _compare(key_frames: KeyFrames, row: int, models: dict[str, BevModel]) -> Compared:
    """Return one key frame with the predictions of each arm."""
    sample = key_frames.sample(row)
    batch = collate([sample])
    probabilities = {name: model(batch.images, batch.cameras)[0, 0] for name, model in models.items()}
    return Compared(sample, key_frames.channels, probabilities)

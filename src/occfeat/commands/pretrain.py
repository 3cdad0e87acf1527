"""`occfeat pretrain`: learn BEV features from LiDAR occupancy and teacher features, without labels."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from occfeat.commands.outcome import RunOutcome, table
from occfeat.data.check.check import quick_check
from occfeat.data.corruptions.augment import training_effect
from occfeat.data.dataset import Draw, KeyFrames, collate_key_frames
from occfeat.data.index.index import Index
from occfeat.data.subsets import spread
from occfeat.errors import SettingsError
from occfeat.geometry.grid import VoxelGrid, build_grid
from occfeat.models.students.build import build_student
from occfeat.models.students.lss import Lss
from occfeat.pretraining.centering import common_feature
from occfeat.pretraining.head import PretrainingHead
from occfeat.pretraining.targets import FeatureTarget
from occfeat.pretraining.task import PretrainingNetwork, PretrainingTarget, TargetMaker
from occfeat.release.shipped import write_model
from occfeat.report.pictures.plots import draw_curves, draw_occupancy
from occfeat.runs.card import ModelCard
from occfeat.runs.loggers import require_loggers
from occfeat.runs.metrics_log import last_row, read_rows
from occfeat.runs.run import Run, read_settings, require_free
from occfeat.settings.commands import PretrainConfig
from occfeat.teacher.cache import TeacherCache
from occfeat.teacher.network import Teacher, build_teacher
from occfeat.training.device import all_alive, autocast, build_fabric
from occfeat.training.loading import in_order, load_batches
from occfeat.training.loop import Job, fit, micro_batch_size

logger = logging.getLogger(__name__)

COMMON_KEY_FRAMES = 32
"""Key frames from which the mean teacher feature is taken; they hold some 100 000 targets."""


def pretrain(config: PretrainConfig, student: nn.Module | None = None) -> RunOutcome:
    """Pretrain a student and write its weights.

    Args:
        config: The settings.
        student: The user's module, for settings that name one.

    Raises:
        OccFeatError: Settings, data, weights or the output folder cannot be used.
        Interrupted: After Ctrl-C or SIGTERM, with everything saved.
    """
    return _pretrain(config, student, resume=False)


def resume(path: Path, student: nn.Module | None = None) -> RunOutcome:
    """Go on with an interrupted pretraining run, exactly as if it had not been interrupted."""
    config = read_settings(path, PretrainConfig).model_copy(update={"out": path})
    return _pretrain(config, student, resume=True)


def _pretrain(config: PretrainConfig, own: nn.Module | None, *, resume: bool) -> RunOutcome:
    _require_depth(config)
    grid = build_grid(config.grid)
    index = Index.open(config.source)
    rows = index.rows(config.split)
    fabric = build_fabric(config.engine)
    micro_batch_size(config.optim, fabric.world_size)  # refuses what cannot be split, before a run begins
    if fabric.is_global_zero and not resume:
        require_free(config.out, "pretrain")
    require_loggers(config.engine.loggers)
    quick_check(index, rows, view=config.view, needs_lidar=True, allowed=config.engine.max_broken)
    cache = open_cache(config, index, rows)
    key_frames = key_frames_of(config, index, cache, learn=True)
    network, teacher = build_network(config, grid, cache, own)
    with (
        all_alive(fabric),
        Run.start(config.out, "pretrain", config, fabric, index.fingerprint, resume=resume) as run,
    ):
        bins = network.student.bins if config.loss.depth and isinstance(network.student, Lss) else None
        queries = config.queries if config.loss.queries else None
        maker = TargetMaker(
            grid,
            teacher.to(fabric.device) if teacher else None,
            unknown=config.loss.unknown == "ignore",
            queries=queries,
            depth_bins=bins,
        )
        if config.loss.features:
            plain = key_frames_of(config, index, cache, learn=False)
            maker = _centered(maker, plain, rows, config, fabric)
        job = Job(network, maker, key_frames, rows, config.optim, config.engine)
        fit(job, run, fabric, resume=resume)
        if run.writes:
            card = ModelCard(stage="pretraining", student=config.student, grid=config.grid, view=config.view)
            write_model(run.path, network, card, only="student.")
            _draw(job, run, fabric, grid)
    metrics = last_row(run.metrics_file)
    return RunOutcome(f"{table(metrics)}\n{run.path / 'pictures'}", path=run.path, metrics=metrics)


def _require_depth(config: PretrainConfig) -> None:
    """Refuse to supervise the depth of a student that has none."""
    if config.loss.depth and config.student.kind != "lss":
        raise SettingsError(
            f"loss.depth is for the student lss, but this student is {config.student.kind}.",
            hint="Set loss.depth to 0, or student.kind to lss.",
        )


def open_cache(config: PretrainConfig, index: Index, rows: NDArray[np.int64]) -> TeacherCache | None:
    """The teacher cache, if there is one and features are distilled."""
    if config.teacher_cache is None or not config.loss.features:
        return None
    cache = TeacherCache(config.teacher_cache)
    cache.require(
        rows,
        teacher=config.teacher,
        cameras=config.view.cameras or index.channels,
        fingerprint=index.fingerprint,
        allowed=config.engine.max_broken,
    )
    return cache


def key_frames_of(
    config: PretrainConfig, index: Index, cache: TeacherCache | None, *, learn: bool
) -> KeyFrames:
    """Key frames with all that pretraining needs, changed at random if they are to learn from."""
    return KeyFrames(
        index,
        config.view,
        grid=build_grid(config.grid),
        augment=config.augment if learn else None,
        seed=config.engine.seed,
        effect=training_effect(config.augment, index.channels, config.engine.seed) if learn else None,
        teacher_size=config.teacher.image_size if config.loss.features else None,
        teacher_cache=cache,
        points=True,
    )


def _centered(
    maker: TargetMaker, key_frames: KeyFrames, rows: NDArray[np.int64], config: PretrainConfig, fabric: Fabric
) -> TargetMaker:
    """The target maker with the mean feature to take off, if that is wanted; logs what comes for nothing."""
    engine = config.engine
    chosen = spread(rows, COMMON_KEY_FRAMES)
    batches = in_order(chosen, micro_batch_size(config.optim, fabric.world_size))
    pin = fabric.device.type == "cuda"

    def targets() -> Iterator[FeatureTarget]:
        for loaded in load_batches(key_frames, batches, engine, pin=pin):
            if loaded.batch is not None:
                with autocast(fabric.device, engine.precision):
                    target = maker(loaded.batch.to(fabric.device, non_blocking=True))
                if target.features is not None:
                    yield target.features

    common = common_feature(targets())
    logger.info("teacher: one constant vector already has a mean cosine of %.3f", common.constant_cosine)
    return replace(maker, center=common.mean) if config.loss.center_features else maker


def build_network(
    config: PretrainConfig,
    grid: VoxelGrid,
    cache: TeacherCache | None,
    own: nn.Module | None,
) -> tuple[PretrainingNetwork, Teacher | None]:
    """Student, head and the teacher, unless it is cached; the same random weights for the same seed."""
    teacher = build_teacher(config.teacher) if config.loss.features and cache is None else None
    torch.manual_seed(config.engine.seed)
    student = build_student(config.student, grid, own)
    width = teacher.channels if teacher else cache.card.channels if cache else 0
    with_queries = config.loss.queries > 0
    head = PretrainingHead(student.channels, grid.shape[2], width, config.head, queries=with_queries)
    return PretrainingNetwork(student, head, config.loss), teacher


@torch.inference_mode()
def _draw(job: Job[PretrainingTarget], run: Run, fabric: Fabric, grid: VoxelGrid) -> None:
    """Curves, and what was learned about the first key frame."""
    draw_curves(run.pictures / "curves.png", read_rows(run.metrics_file), title=run.path.name)
    network = job.network
    loaded = collate_key_frames([job.key_frames[Draw(int(job.rows[0]), 0)]])
    if loaded.batch is None or not isinstance(network, PretrainingNetwork):
        return
    batch = loaded.batch.to(fabric.device)
    target = job.make_target(batch)
    network.eval()
    voxels = network.head(network.student(batch.images, batch.cameras))
    probability = network.occupancy_probability(voxels)
    features = target.features
    predicted = None if features is None else network.head.features_at(voxels, features.cells).cpu()
    draw_occupancy(
        run.pictures / "occupancy.png",
        None if probability is None else probability[0].cpu(),
        target.occupied[0].cpu(),
        grid,
        cells=None if features is None else features.cells[:, 1:].cpu(),
        teacher_features=None if features is None else features.features.cpu(),
        predicted_features=predicted,
        title=batch.tokens[0],
    )

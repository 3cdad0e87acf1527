"""`occfeat finetune`: learn to segment classes in BEV from few labels, then evaluate."""

from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from occfeat.atomic import write_text_atomic
from occfeat.commands.outcome import RunOutcome, table
from occfeat.data.check.check import quick_check
from occfeat.data.corruptions.augment import training_effect
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.maps.maps import require_maps
from occfeat.data.subsets import label_subset, lines_of
from occfeat.errors import SettingsError, WeightsError
from occfeat.geometry.grid import build_grid
from occfeat.models.students.build import build_student
from occfeat.release.shipped import load_student_weights, require_described, write_model
from occfeat.report.pictures.plots import draw_curves
from occfeat.report.pictures.predictions import draw_predictions
from occfeat.runs.card import ModelCard, read_card, run_folder
from occfeat.runs.loggers import require_loggers
from occfeat.runs.metrics_log import last_row, read_rows
from occfeat.runs.run import Run, read_settings, require_free
from occfeat.segmentation.evaluation import evaluate_segmenter
from occfeat.segmentation.head import SegmentationHead
from occfeat.segmentation.task import FinetuningNetwork, Segmenter, labels_of
from occfeat.settings.commands import FinetuneConfig
from occfeat.training.device import all_alive, build_fabric
from occfeat.training.loop import Job, fit, micro_batch_size

MAY_DIFFER = ("backbone_weights", "freeze_stem", "freeze_backbone", "name")
"""Settings of a student that say nothing about its architecture."""


def finetune(config: FinetuneConfig, student: nn.Module | None = None) -> RunOutcome:
    """Fine-tune a student, from a pretraining run or not, and evaluate it.

    Args:
        config: The settings.
        student: The user's module, for settings that name one.

    Raises:
        OccFeatError: Settings, data, weights or the output folder cannot be used.
        Interrupted: After Ctrl-C or SIGTERM, with everything saved.
    """
    return _finetune(config, student, resume=False)


def resume(path: Path, student: nn.Module | None = None) -> RunOutcome:
    """Go on with an interrupted fine-tuning run, exactly as if it had not been interrupted."""
    config = read_settings(path, FinetuneConfig).model_copy(update={"out": path})
    return _finetune(config, student, resume=True)


def _finetune(config: FinetuneConfig, own: nn.Module | None, *, resume: bool) -> RunOutcome:
    index = Index.open(config.source)
    rows = label_subset(
        index,
        index.rows(config.split),
        config.label_fraction,
        draw=config.label_draw,
        seed=config.label_seed,
    )
    val_rows = _val_rows(config, index)
    fabric = build_fabric(config.engine)
    micro_batch_size(config.optim, fabric.world_size)  # refuses what cannot be split, before a run begins
    if fabric.is_global_zero and not resume:
        require_free(config.out, "finetune")
    require_loggers(config.engine.loggers)
    for checked in (rows, val_rows):
        if checked is not None:
            allowed = config.engine.max_broken
            quick_check(index, checked, view=config.view, needs_lidar=False, allowed=allowed)
            require_maps(index, checked, config.classes)
    network = _build(config, own)
    job = Job(network, labels_of, _key_frames(config, index, learn=True), rows, config.optim, config.engine)
    with (
        all_alive(fabric),
        Run.start(config.out, "finetune", config, fabric, index.fingerprint, resume=resume) as run,
    ):
        if run.writes:
            write_text_atomic(run.path / "label_tokens.txt", lines_of(index.token(row) for row in rows))
        fit(job, run, fabric, resume=resume)
        if run.writes:
            write_model(run.path, network.segmenter, _card(config))
            draw_curves(run.pictures / "curves.png", read_rows(run.metrics_file), title=run.path.name)
            key_frames = _key_frames(config, index, learn=False)
            shown = rows if val_rows is None else val_rows
            draw_predictions(run.pictures, network.segmenter, key_frames, shown[: config.pictures])
        if val_rows is None:
            metrics = last_row(run.metrics_file)
        else:
            metrics = _evaluate(config, run, index, network.segmenter, val_rows, fabric)
    return RunOutcome(f"{table(metrics)}\n{run.path / 'pictures'}", path=run.path, metrics=metrics)


def _val_rows(config: FinetuneConfig, index: Index) -> NDArray[np.int64] | None:
    """Key frames to evaluate on, if any."""
    if config.val_split is None:
        return None
    try:
        return index.rows(config.val_split)
    except SettingsError as error:
        hint = f"{error.hint} Choose one with --val-split NAME, or evaluate on none with --val-split None."
        raise SettingsError(error.message, hint=hint) from error


def _evaluate(
    config: FinetuneConfig,
    run: Run,
    index: Index,
    segmenter: Segmenter,
    val_rows: NDArray[np.int64],
    fabric: Fabric,
) -> dict[str, float]:
    """Metrics of the validation split."""
    evaluation = evaluate_segmenter(
        segmenter,
        config.classes,
        _key_frames(config, index, learn=False),
        val_rows,
        split=str(config.val_split),
        batch_size=micro_batch_size(config.optim, fabric.world_size),
        engine=config.engine,
        fabric=fabric,
    )
    if run.writes:
        evaluation.write(run.path / f"evaluation-{config.val_split}" / "results.json")
    return evaluation.metrics


def _build(config: FinetuneConfig, own: nn.Module | None) -> FinetuningNetwork:
    """The network, its student loaded from the pretraining run if there is one."""
    grid = build_grid(config.grid)
    torch.manual_seed(config.engine.seed)
    if config.start is None:
        student = build_student(config.student, grid, own)
    else:
        start = run_folder(config.start)
        card = read_card(start)
        _require_same_student(config, card)
        require_described(card, start)
        student = build_student(config.student, grid, own, load_backbone=False)
        load_student_weights(student, start)
    head = SegmentationHead(student.channels, len(config.classes), linear=config.freeze)
    return FinetuningNetwork(
        Segmenter(student, head, freeze=config.freeze),
        positive_weight=config.positive_weight,
        ignore_low_visibility=config.ignore_low_visibility,
    )


def _require_same_student(config: FinetuneConfig, card: ModelCard) -> None:
    """Refuse weights of another architecture by name, before any tensor is compared."""
    ours, theirs = config.student.model_dump(), card.student.model_dump()
    if ours["kind"] != theirs["kind"]:
        ours = {"kind": ours["kind"]}  # the rest cannot be compared
    differing = [
        f"student.{name}: the run has {theirs[name]}, these settings {value}"
        for name, value in ours.items()
        if name not in MAY_DIFFER and theirs[name] != value
    ]
    if config.grid != card.grid:
        differing.append(f"grid: the run has {card.grid}, these settings {config.grid}")
    if differing:
        hint = "Leave student and grid out of the settings to take them from the run."
        raise WeightsError(f"{config.start} holds another network:", first=differing, hint=hint)


def _key_frames(config: FinetuneConfig, index: Index, *, learn: bool) -> KeyFrames:
    return KeyFrames(
        index,
        config.view,
        grid=build_grid(config.grid),
        augment=config.augment if learn else None,
        seed=config.engine.seed,
        effect=training_effect(config.augment, index.channels, config.engine.seed) if learn else None,
        classes=config.classes,
    )


def _card(config: FinetuneConfig) -> ModelCard:
    return ModelCard(
        stage="segmentation",
        student=config.student,
        grid=config.grid,
        view=config.view,
        classes=config.classes,
        linear_head=config.freeze,
    )

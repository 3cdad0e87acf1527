"""`occfeat finetune`: learn to segment classes in BEV from few labels, then evaluate."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from occfeat.atomic import write_text_atomic
from occfeat.commands.outcome import RunOutcome
from occfeat.commands.training import Training, begin_training, outcome_of, settings_of_run
from occfeat.data.corruptions.augment import training_effect
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.labels import require_classes
from occfeat.data.sample import Contents
from occfeat.data.subsets import EveryKthScene, RandomKeyFrames, label_subset, lines_of
from occfeat.errors import SettingsError, WeightsError
from occfeat.geometry.grid import build_grid
from occfeat.models.students.build import build_student
from occfeat.release.shipped import load_student_weights, require_described, write_model
from occfeat.report.pictures.predictions import draw_predictions
from occfeat.runs.card import ModelCard, read_card
from occfeat.runs.folder import RESULTS, RunFolder
from occfeat.runs.metrics_log import last_row
from occfeat.runs.run import Run
from occfeat.segmentation.evaluation import evaluate_segmenter
from occfeat.segmentation.head import SegmentationHead
from occfeat.segmentation.task import FinetuningNetwork, Segmenter, labels_of
from occfeat.settings.commands import FinetuneConfig
from occfeat.training.loop import Job

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
    """Resume an interrupted fine-tuning run; results are those of an uninterrupted run."""
    return _finetune(settings_of_run(path, FinetuneConfig), student, resume=True)


def _finetune(config: FinetuneConfig, own: nn.Module | None, *, resume: bool) -> RunOutcome:
    """Train, write the network, draw what it predicts, and evaluate it."""
    index = Index.open(config.source)
    rows = label_subset(
        index,
        index.rows(config.split),
        config.label_fraction,
        EveryKthScene(config.label_seed)
        if config.label_draw == "scene"
        else RandomKeyFrames(config.label_seed),
    )
    val_rows = _val_rows(config, index)
    training = begin_training(config, index, resume=resume)
    for checked in (rows, val_rows):
        if checked is not None:
            training.require_files(checked, needs_lidar=False)
            require_classes(index.source, index.places(checked), config.classes)
    network = _build(config, own, has_visibility=index.source.taxonomy.has_visibility)
    job = Job(network, labels_of, _key_frames(config, index, learn=True), rows, config.optim, config.engine)
    with training.open_run() as run:
        if run.writes:
            write_text_atomic(run.folder.label_tokens, lines_of(index.token(row) for row in rows))
        training.fit(job, run)
        if run.writes:
            write_model(run.folder.path, network.segmenter, _card(config))
            key_frames = _key_frames(config, index, learn=False)
            shown = rows if val_rows is None else val_rows
            draw_predictions(run.folder.pictures, network.segmenter, key_frames, shown[: config.pictures])
        if val_rows is None:
            metrics = last_row(run.folder.metrics)
        else:
            metrics = _evaluate(training, run, network.segmenter, val_rows)
    return outcome_of(run, metrics)


def _val_rows(config: FinetuneConfig, index: Index) -> NDArray[np.int64] | None:
    """Return the key frames to evaluate on, if any.

    Raises:
        SettingsError: The split does not exist.
    """
    if config.val_split is None:
        return None
    try:
        return index.rows(config.val_split)
    except SettingsError as error:
        hint = f"{error.hint} Choose one with --val-split NAME, or evaluate on none with --val-split None."
        raise SettingsError(error.message, hint=hint) from error


def _evaluate(
    training: Training[FinetuneConfig], run: Run, segmenter: Segmenter, val_rows: NDArray[np.int64]
) -> dict[str, float]:
    """Evaluate on the validation split; give its metrics."""
    config = training.config
    evaluation = evaluate_segmenter(
        segmenter,
        config.classes,
        _key_frames(config, training.index, learn=False),
        val_rows,
        split=str(config.val_split),
        batch_size=training.micro_batch,
        engine=config.engine,
        fabric=training.fabric,
    )
    if run.writes:
        evaluation.write(run.folder.evaluation(str(config.val_split)) / RESULTS)
    return evaluation.metrics


def _build(config: FinetuneConfig, own: nn.Module | None, *, has_visibility: bool) -> FinetuningNetwork:
    """Build the network, its student loaded from the pretraining run if there is one."""
    grid = build_grid(config.grid)
    torch.manual_seed(config.engine.seed)
    if config.start is None:
        student = build_student(config.student, grid, own)
    else:
        start = RunFolder.of(config.start).path
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
        has_visibility=has_visibility,
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
        raise WeightsError(f"{config.start} contains another network:", first=differing, hint=hint)


def _key_frames(config: FinetuneConfig, index: Index, *, learn: bool) -> KeyFrames:
    """Return key frames with labels, changed at random if they are to learn from."""
    return KeyFrames(
        index,
        config.view,
        Contents(classes=config.classes),
        grid=build_grid(config.grid),
        augment=config.augment if learn else None,
        seed=config.engine.seed,
        effect=training_effect(config.augment, index.channels, config.engine.seed) if learn else None,
    )


def _card(config: FinetuneConfig) -> ModelCard:
    """Describe how to build the network again."""
    return ModelCard(
        stage="segmentation",
        student=config.student,
        grid=config.grid,
        view=config.view,
        classes=config.classes,
        linear_head=config.freeze,
    )

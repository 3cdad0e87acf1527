"""`occfeat finetune`: learn to segment classes in BEV from few labels, then evaluate."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from occfeat.commands.outcome import RunOutcome
from occfeat.commands.sets import (
    draw_predictions_of_sets,
    mix_of,
    require_boxes,
    require_categories,
    require_labels,
    warn_of_shared,
)
from occfeat.commands.training.caches import StoredImages, open_image_caches
from occfeat.commands.training.training import Training, begin_training, outcome_of, settings_of_run
from occfeat.data.corruptions.augment import training_effect
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.sets import DataSet, DataSets
from occfeat.data.index.subsets import EveryKthScene, RandomKeyFrames, label_subset, lines_of, spread
from occfeat.data.sample.contents import Contents
from occfeat.errors import SettingsError, WeightsError
from occfeat.geometry.grid import build_grid
from occfeat.machine.atomic import write_text_atomic
from occfeat.models.students.build import build_student
from occfeat.release.shipped import load_student_weights, require_described, write_model
from occfeat.runs.card import ModelCard, read_card
from occfeat.runs.folder import RESULTS, RunFolder
from occfeat.runs.metrics_log import last_row
from occfeat.runs.run import Run
from occfeat.segmentation.evaluation import evaluate_segmenter
from occfeat.segmentation.head import SegmentationHead
from occfeat.segmentation.task import FinetuningNetwork, Segmenter, labels_of
from occfeat.settings.commands import FinetuneConfig
from occfeat.settings.several import name_of_splits
from occfeat.training.loading.several import SeveralKeyFrames, key_frames_of_sets
from occfeat.training.loop import Job
from occfeat.training.optim.adamw import require_layers

logger = logging.getLogger(__name__)

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


def resume(path: Path, student: nn.Module | None = None, data: Sequence[Path] = ()) -> RunOutcome:
    """Resume an interrupted fine-tuning run; results are those of an uninterrupted run.

    Args:
        path: The folder of the run.
        student: The user's module, if the run trains one.
        data: Where the data sets are now. Empty: where they were.
    """
    return _finetune(settings_of_run(path, FinetuneConfig, data), student, resume=True)


def _finetune(config: FinetuneConfig, own: nn.Module | None, *, resume: bool) -> RunOutcome:
    """Train, write the network, draw what it predicts, and evaluate it."""
    sets = DataSets.open(config.sources)
    rows = _labelled_rows(config, sets)
    val_rows = _val_rows(config, sets)
    training = begin_training(config, sets, resume=resume)
    _warn_of_default_rate(config)
    for checked in (rows, val_rows):
        if checked is not None:
            training.require_files(checked, needs_lidar=False)
            require_labels(sets, checked, config.classes)
    if val_rows is not None:
        warn_of_shared(sets, rows, val_rows)
    require_categories(sets, config.categories)
    require_boxes(sets, sets.rows(config.each(config.split)), config.classes)
    key_frames = _key_frames(config, sets, open_image_caches(config, sets, rows))
    has_visibility = sets.has_visibility(rows)[""]
    network = _build(config, own, has_visibility=has_visibility, restored=training.goes_on_from_checkpoint)
    require_layers(network.student, config.optim)
    with training.open_run() as run:
        if run.writes:
            write_text_atomic(run.folder.label_tokens, lines_of(sets.token(row) for row in rows))
        mix = mix_of(sets, rows, config.set_exponent)
        training.fit(Job(network, labels_of, key_frames, mix, config.optim, config.engine), run)
        if run.writes:
            write_model(run.folder.path, network.segmenter, _card(training))
            shown = spread(rows if val_rows is None else val_rows, config.pictures)
            plain = _key_frames(config, sets, None)
            draw_predictions_of_sets(run.folder.pictures, network.segmenter, sets, plain, shown)
        if val_rows is None:
            metrics = last_row(run.folder.metrics)
        else:
            metrics = _evaluate(training, run, network.segmenter, val_rows)
    return outcome_of(run, metrics)


def _warn_of_default_rate(config: FinetuneConfig) -> None:
    """Warn if a pretrained network learns at the default rate: a run says nothing about its rate."""
    chosen = "optim" in config.model_fields_set and "learning_rate" in config.optim.model_fields_set
    if config.start is not None and not chosen:
        what = (
            "No recipe and no optim.learning_rate were given: what %s pretrained learns at the default rate, "
            "%g for %d epochs. Name the recipe that it was pretrained with to learn as that does."
        )
        logger.warning(what, config.start, config.optim.learning_rate, config.optim.epochs)


def _labelled_rows(config: FinetuneConfig, sets: DataSets) -> NDArray[np.int64]:
    """Draw the labelled key frames of each data set.

    Raises:
        SettingsError: A split does not exist, or a fraction of it leaves no key frame.
    """
    every_scene = config.label_draw == "scene"
    draw = EveryKthScene(config.label_seed) if every_scene else RandomKeyFrames(config.label_seed)
    drawn = []
    for one, of_set in sets.parts(sets.rows(config.each(config.split))):
        with one.named_in_errors():
            drawn.append(one.first + label_subset(one.index, of_set, config.label_fraction, draw))
    return np.concatenate(drawn)


def _val_rows(config: FinetuneConfig, sets: DataSets) -> NDArray[np.int64] | None:
    """Return the key frames to evaluate on, if any.

    Raises:
        SettingsError: A split does not exist.
    """
    splits = config.each(config.val_split)
    if not any(splits):
        return None
    try:
        return sets.rows(splits)
    except SettingsError as error:
        hint = f"{error.hint} Choose one with --val-split NAME, or evaluate on none with --val-split None."
        raise SettingsError(error.message, hint=hint) from error


def _evaluate(
    training: Training[FinetuneConfig], run: Run, segmenter: Segmenter, val_rows: NDArray[np.int64]
) -> dict[str, float]:
    """Evaluate on the validation split; give its metrics."""
    config, split = training.config, name_of_splits(training.config.val_split)
    evaluation = evaluate_segmenter(
        segmenter,
        config.classes,
        _key_frames(config, training.sets, None),
        val_rows,
        has_visibility=training.sets.has_visibility(val_rows),
        split=split,
        batch_size=training.micro_batch,
        engine=config.engine,
        fabric=training.fabric,
    )
    if run.writes:
        evaluation.write(run.folder.evaluation(split) / RESULTS)
    return evaluation.metrics


def _build(
    config: FinetuneConfig, own: nn.Module | None, *, has_visibility: bool, restored: bool
) -> FinetuningNetwork:
    """Build the network, its student loaded from the pretraining run if there is one.

    Args:
        config: The settings.
        own: The user's module, for settings that name one.
        has_visibility: Whether the labels say how visible objects are.
        restored: A checkpoint holds all weights: the pretraining run or the file of the backbone may be gone.
    """
    grid = build_grid(config.grid)
    torch.manual_seed(config.engine.seed)
    if config.start is None or restored:
        student = build_student(config.student, grid, own, load_backbone=not restored)
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


def _key_frames(
    config: FinetuneConfig, sets: DataSets, stored: StoredImages | None
) -> KeyFrames | SeveralKeyFrames:
    """Return key frames with labels.

    Args:
        config: The settings.
        sets: The data sets.
        stored: The image cache of each, of key frames to learn from, which are changed at random. None: they
            are read as they are.
    """
    learn = stored is not None

    def make(one: DataSet) -> KeyFrames:
        """Return the key frames of one data set."""
        channels, seed = one.index.channels, config.engine.seed
        with one.named_in_errors():
            return KeyFrames(
                one.index,
                config.view,
                Contents(classes=config.classes),
                grid=build_grid(config.grid),
                augment=config.augment if learn else None,
                seed=seed,
                effect=training_effect(config.augment, channels, seed) if learn else None,
                stored=None if stored is None else stored[sets.each.index(one)],
            )

    return key_frames_of_sets(sets, make)


def _card(training: Training[FinetuneConfig]) -> ModelCard:
    """Describe how to build the network again."""
    config = training.config
    return ModelCard(
        stage="segmentation",
        student=config.student,
        grid=config.grid,
        view=config.view,
        classes=config.classes,
        linear_head=config.freeze,
        data_sets=training.data_sets,
        cameras=training.cameras,
        labels=config.labels,
    )

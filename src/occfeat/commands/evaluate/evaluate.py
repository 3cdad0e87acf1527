"""`occfeat evaluate`: IoU of a fine-tuned network, pooled over a split, under every protocol."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from occfeat.commands.evaluate.corrupted import CorruptedPlan, begin, draw_examples, evaluate_corrupted
from occfeat.commands.outcome import ResultsOutcome, table
from occfeat.commands.sets import draw_predictions_of_sets, require_files, require_labels, require_motion
from occfeat.data.dataset import ImageEffect, KeyFrames
from occfeat.data.index.sets import DataSet, DataSets
from occfeat.data.index.subsets import spread
from occfeat.data.sample.contents import Contents
from occfeat.geometry.grid import build_grid
from occfeat.release.shipped import ShippedModel, load_model
from occfeat.runs.card import ModelCard, read_card
from occfeat.runs.folder import RESULTS, ROBUSTNESS, RunFolder
from occfeat.runs.output import require_empty, require_writable
from occfeat.segmentation.evaluation import Evaluation, evaluate_segmenter
from occfeat.segmentation.robustness.results import is_unfinished, tables
from occfeat.segmentation.task import Segmenter
from occfeat.settings.commands import EvaluateConfig
from occfeat.settings.several import name_of_splits
from occfeat.training.device import all_alive, build_fabric
from occfeat.training.loading.several import SeveralKeyFrames, key_frames_of_sets


def evaluate(config: EvaluateConfig, student: nn.Module | None = None) -> ResultsOutcome:
    """Evaluate a fine-tuning run and write `results.json` and pictures.

    An evaluation under corruptions that was stopped goes on when it is asked for again.

    Args:
        config: The settings.
        student: The user's module, for a run that trained one.

    Raises:
        OccFeatError: The run, the data or the output folder cannot be used.
    """
    folder = RunFolder.of(config.run)
    run, card = folder.path, read_card(folder.path)
    usual = folder.robustness if config.corruptions else folder.evaluation
    out = config.out or usual(name_of_splits(config.split))
    require_writable(out)
    if not (config.corruptions and is_unfinished(out)):
        require_empty(out, hint="It may hold results of this split already; another --out repeats them.")
    fabric = build_fabric(config.engine)
    with all_alive(fabric):
        return _evaluate(config, card, load_model(run, fabric.device, student), out, fabric)


def _evaluate(
    config: EvaluateConfig, card: ModelCard, model: ShippedModel, out: Path, fabric: Fabric
) -> ResultsOutcome:
    """Evaluate a loaded network, with corruptions if they are asked for."""
    if not config.labels.categories:
        config = config.model_copy(update={"labels": card.labels})
    sets = DataSets.open(config.sources)
    rows = sets.rows(config.each(config.split))
    require_files(sets, rows, view=card.view, needs_lidar=False, engine=config.engine)
    require_labels(sets, rows, card.classes)
    if config.motion:
        require_motion(sets, rows)
    plan = CorruptedPlan.make(config, sets.each[0].index, card, out) if config.corruptions else None
    split = _Split(config, card, sets, rows, model.segmenter, fabric)
    evaluation, writes = split.evaluate(), fabric.is_global_zero
    results = begin(plan, evaluation, out, writes=writes) if plan else None
    if writes:
        evaluation.write(out / RESULTS)
        shown = spread(rows, config.pictures)
        draw_predictions_of_sets(out, model.segmenter, sets, split.key_frames(), shown)
    counted = (
        f"{evaluation.key_frames} key frames of {evaluation.split}, {evaluation.broken} broken, "
        f"{evaluation.incomplete} without some camera, threshold {evaluation.threshold}"
    )
    text = f"{counted}\n{table(evaluation.metrics)}\n"
    if plan is None or results is None:
        return _outcome(fabric, text, out / RESULTS, evaluation.metrics)
    if writes:
        draw_examples(out, plan, split.one_set, int(rows[0]))
    results = evaluate_corrupted(plan, results, split.evaluate, out if writes else None)
    metrics = evaluation.metrics | results.flat()
    return _outcome(fabric, f"{text}\n{tables(results)}\n", out / ROBUSTNESS, metrics)


@dataclass(frozen=True)
class _Split:
    """What is evaluated, with whatever is done to its images."""

    config: EvaluateConfig
    card: ModelCard
    sets: DataSets
    rows: NDArray[np.int64]
    segmenter: Segmenter
    fabric: Fabric

    def key_frames(self, effect: ImageEffect | None = None) -> KeyFrames | SeveralKeyFrames:
        """Return the key frames with labels, their images changed by an effect."""
        return key_frames_of_sets(self.sets, lambda one: self._of_set(one, effect))

    def one_set(self, effect: ImageEffect | None = None) -> KeyFrames:
        """Return the key frames of the first data set, their images changed by an effect."""
        return self._of_set(self.sets.each[0], effect)

    def _of_set(self, one: DataSet, effect: ImageEffect | None) -> KeyFrames:
        """Return the key frames of one data set."""
        card = self.card
        contents = Contents(classes=card.classes, motion=self.config.motion)
        with one.named_in_errors():
            return KeyFrames(one.index, card.view, contents, grid=build_grid(card.grid), effect=effect)

    def evaluate(self, effect: ImageEffect | None = None) -> Evaluation:
        """Evaluate the network on the split, its images changed by an effect."""
        return evaluate_segmenter(
            self.segmenter,
            self.card.classes,
            self.key_frames(effect),
            self.rows,
            has_visibility=self.sets.has_visibility(self.rows),
            motion=self.config.motion,
            split=name_of_splits(self.config.split),
            batch_size=self.config.batch_size,
            engine=self.config.engine,
            fabric=self.fabric,
        )


def _outcome(fabric: Fabric, text: str, file: Path, metrics: dict[str, float]) -> ResultsOutcome:
    """Return what the first process says, and the others do not."""
    shown = f"{text}{file}" if fabric.is_global_zero else ""
    return ResultsOutcome(shown, path=file.parent, metrics=metrics)

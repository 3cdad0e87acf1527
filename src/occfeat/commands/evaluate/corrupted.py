"""The part of `occfeat evaluate` that corrupts images: IoU per corruption and severity, and what it costs."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from occfeat.data.check.files import check_presence, image_files
from occfeat.data.check.findings import Findings
from occfeat.data.corruptions.corruptions import SEVERITIES, Corruption, chosen
from occfeat.data.corruptions.released import open_released
from occfeat.data.dataset import Draw, ImageEffect, KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.sample import Sample
from occfeat.machine.atomic import write_text_atomic
from occfeat.report.pictures.robustness import SPOKES, Radar, draw_corruptions, draw_radar
from occfeat.runs.card import ModelCard
from occfeat.runs.folder import ROBUSTNESS, ROBUSTNESS_TABLES
from occfeat.segmentation.evaluation import Evaluation
from occfeat.segmentation.metrics import known_metrics, metric_names
from occfeat.segmentation.robustness.results import (
    RobustnessResults,
    go_on,
    read_baseline,
    read_begun,
    require_comparable,
    tables,
)
from occfeat.segmentation.robustness.scores import Metric, Metrics
from occfeat.settings.commands import EvaluateConfig
from occfeat.settings.sections import CorruptionName, Severity

logger = logging.getLogger(__name__)

Effects = dict[CorruptionName, dict[Severity, ImageEffect]]


@dataclass(frozen=True)
class CorruptedPlan:
    """What is evaluated and compared; what can be wrong with it is found out before a key frame is read.

    Only whether a stopped evaluation was of this network shows afterwards, by the metrics of clean images.
    """

    config: EvaluateConfig
    index: Index
    effects: Effects
    """What is done to the images, by corruption and severity."""
    baseline: RobustnessResults | None
    begun: RobustnessResults | None
    """Results of an interrupted evaluation."""

    @classmethod
    def make(cls, config: EvaluateConfig, index: Index, card: ModelCard, out: Path) -> "CorruptedPlan":
        """Plan the corruptions of the settings.

        Args:
            config: The settings.
            index: The set.
            card: Of the network.
            out: Folder of the results.

        Raises:
            DatasetError: Folders or images of the released set are missing.
            RunError: The baseline holds no results, or what was begun is damaged.
            SettingsError: The baseline cannot be compared with.
        """
        baseline = None if config.baseline is None else read_baseline(config.baseline, config.split[0])
        plan = cls(config, index, _effects(config, index, card), baseline, read_begun(out))
        if baseline is not None:
            has_visibility = index.taxonomy.has_visibility
            names = metric_names(card.classes, has_visibility=has_visibility, motion=config.motion)
            plan.start(baseline.key_frames, dict.fromkeys(names))
        return plan

    def start(self, key_frames: int, clean: Metrics) -> RobustnessResults:
        """Return results without any corruption yet.

        Raises:
            SettingsError: The baseline cannot be compared with.
        """
        config = self.config
        results = RobustnessResults(
            split=config.split[0],
            key_frames=key_frames,
            data_fingerprint=self.index.fingerprint,
            images="generated" if config.corrupted_data is None else "released",
            seed=config.engine.seed,
            baseline=None if config.baseline is None else str(config.baseline),
            clean=clean,
            corrupted={},
            scores={},
        )
        if self.baseline is not None:
            begun = () if self.begun is None else self.begun.corrupted
            require_comparable(results, self.baseline, chosen((*self.effects, *begun)))
        return results


def _effects(config: EvaluateConfig, index: Index, card: ModelCard) -> Effects:
    """Return what is done to the images; look up every image of the released set that will be read."""
    names, root = chosen(config.corruptions), config.corrupted_data
    if root is None:
        seed = config.engine.seed
        return {
            name: {severity: Corruption(name, severity, index.channels, seed) for severity in SEVERITIES}
            for name in names
        }
    rows, allowed = index.rows(config.split[0]), config.engine.max_broken
    clean = image_files(index, rows, card.view.cameras or index.default_channels)
    images = check_presence(index.source, clean, Findings())
    return {
        name: {severity: open_released(root, name, severity, images, allowed) for severity in SEVERITIES}
        for name in names
    }


def begin(plan: CorruptedPlan, clean: Evaluation, out: Path, *, writes: bool) -> RobustnessResults:
    """Return results of the clean images, and of corruptions that a stopped evaluation had finished.

    Args:
        plan: Which ones.
        clean: Metrics of the clean images.
        out: Folder of the results.
        writes: This process writes them.

    Raises:
        RunError: The folder holds unfinished results of something else.
    """
    results = plan.start(clean.key_frames, known_metrics(clean.metrics))
    if plan.begun is not None:
        results = go_on(results, plan.begun, out)
    if results.corrupted:
        logger.info("%s is already evaluated under %s.", plan.config.run, ", ".join(results.corrupted))
        results = results.scored(plan.baseline)
    if writes:
        _write(out, results)
    return results


def evaluate_corrupted(
    plan: CorruptedPlan,
    results: RobustnessResults,
    evaluate_under: Callable[[ImageEffect], Evaluation],
    out: Path | None,
) -> RobustnessResults:
    """Evaluate under each corruption without results; `robustness.json` is written anew after each.

    Args:
        plan: Which ones.
        results: What there is already.
        evaluate_under: Evaluates the same key frames with something done to their images.
        out: Folder of the results. None: another process writes them.
    """
    for name, severities in plan.effects.items():
        if name in results.corrupted:
            continue
        metrics = {}
        for severity, effect in severities.items():
            logger.info("%s, %s", name, severity)
            evaluation = evaluate_under(effect)
            if evaluation.key_frames != results.key_frames:
                counted = "%d key frames counted, %d of clean images."
                logger.warning(counted, evaluation.key_frames, results.key_frames)
            metrics[severity] = known_metrics(evaluation.metrics)
        results = results.model_copy(update={"corrupted": {**results.corrupted, name: metrics}})
        results = results.scored(plan.baseline)
        if out is not None:
            _write(out, results)
    if out is not None:
        _draw_radars(out, results, plan.baseline)
        write_text_atomic(out / ROBUSTNESS_TABLES, tables(results))
    return results


def _write(out: Path, results: RobustnessResults) -> None:
    """Write the results as JSON."""
    write_text_atomic(out / ROBUSTNESS, results.model_dump_json(indent=2) + "\n")


def draw_examples(
    out: Path, plan: CorruptedPlan, key_frames: Callable[[ImageEffect | None], KeyFrames], row: int
) -> None:
    """Draw what the first camera of a key frame sees under each corruption, if it can be read."""

    def read(effect: ImageEffect | None) -> Sample | None:
        """Read the key frame; None if that fails."""
        sample = key_frames(effect).read(Draw(row, 0))
        return sample if isinstance(sample, Sample) else None

    clean = read(None)
    shown: dict[str, list[Tensor]] = {
        name: [sample.images[0] for effect in severities.values() if (sample := read(effect)) is not None]
        for name, severities in plan.effects.items()
    }
    whole = {name: images for name, images in shown.items() if len(images) == len(SEVERITIES)}
    if clean is not None and whole:
        title = f"{clean.token}, {key_frames(None).channels[0]}"
        draw_corruptions(out / "corruptions.png", clean.images[0], whole, SEVERITIES, title=title)


def _draw_radars(out: Path, results: RobustnessResults, baseline: RobustnessResults | None) -> None:
    """Draw one radar plot for each metric."""
    names = tuple(results.corrupted)
    if len(names) < SPOKES:
        return
    for metric in results.clean:
        networks = [_radar("this run", results, names, metric)]
        if baseline is not None:
            networks.append(_radar("baseline", baseline, names, metric))
        file = out / f"radar_{metric.replace('/', '_')}.png"
        draw_radar(file, networks, names, title=f"{metric}, {results.split}")


def _radar(name: str, results: RobustnessResults, names: tuple[CorruptionName, ...], metric: str) -> Radar:
    """Return the values of one metric as a radar plot takes them."""
    corrupted = [
        [_number(results.corrupted[one][severity][metric]) for severity in SEVERITIES] for one in names
    ]
    return Radar(name, _number(results.clean.get(metric)), corrupted)


def _number(metric: Metric) -> float:
    """Return a metric as a number; NaN if it is not known."""
    return float("nan") if metric is None else metric

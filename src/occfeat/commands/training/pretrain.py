"""`occfeat pretrain`: learn BEV features from LiDAR occupancy and teacher features, without labels."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from occfeat.commands.outcome import RunOutcome
from occfeat.commands.sets import mix_of
from occfeat.commands.training.caches import StoredImages, open_image_caches, open_teacher_caches
from occfeat.commands.training.training import Training, begin_training, outcome_of, settings_of_run
from occfeat.data.dataset import Draw, KeyFrames
from occfeat.data.index.sets import DataSet, DataSets
from occfeat.data.index.subsets import spread
from occfeat.data.sweeps.window import warn_of_lonely
from occfeat.geometry.grid import build_grid
from occfeat.machine.atomic import write_text_atomic
from occfeat.pretraining.build import Rigs, build_network, objectives_of
from occfeat.pretraining.key_frames import key_frames_of
from occfeat.pretraining.network import PretrainingNetwork, TargetMaker, Targets
from occfeat.pretraining.objectives.build import add_own
from occfeat.pretraining.objectives.contract import AnyObjective, Need, needs_of
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.release.shipped import write_model
from occfeat.report.pictures.learned import draw_panels
from occfeat.report.pictures.plots import draw_occupancy
from occfeat.runs.card import ModelCard
from occfeat.runs.folder import LEARNED, OCCUPANCY
from occfeat.runs.metrics_log import last_row
from occfeat.runs.run import Run
from occfeat.settings.commands import PretrainConfig
from occfeat.teacher.cache import TeacherCache
from occfeat.training.device import autocast
from occfeat.training.loading.loaders import KeyFrameReader, collate_readable, in_order, load_batches
from occfeat.training.loading.several import SeveralKeyFrames, key_frames_of_sets
from occfeat.training.loop import Job
from occfeat.training.optim.adamw import require_layers


def pretrain(
    config: PretrainConfig, student: nn.Module | None = None, objectives: Sequence[AnyObjective] = ()
) -> RunOutcome:
    """Pretrain a student and write its weights.

    Args:
        config: The settings.
        student: The user's module, for settings that name one.
        objectives: The user's objectives, learned in addition to those of the settings.

    Raises:
        OccFeatError: Settings, data, weights or the output folder cannot be used.
        Interrupted: After Ctrl-C or SIGTERM, with everything saved.
    """
    if objectives:
        loss = config.loss.model_copy(update={"own": tuple(one.name for one in objectives)})
        config = config.model_copy(update={"loss": loss})
    return _pretrain(config, student, objectives, resume=False)


def resume(
    path: Path,
    student: nn.Module | None = None,
    objectives: Sequence[AnyObjective] = (),
    data: Sequence[Path] = (),
) -> RunOutcome:
    """Resume an interrupted pretraining run; results are those of an uninterrupted run.

    Args:
        path: The folder of the run.
        student: The user's module, if the run trains one.
        objectives: The user's objectives, if the run learns any.
        data: Where the data sets are now. Empty: where they were.
    """
    return _pretrain(settings_of_run(path, PretrainConfig, data), student, objectives, resume=True)


def _pretrain(
    config: PretrainConfig, own: nn.Module | None, own_objectives: Sequence[AnyObjective], *, resume: bool
) -> RunOutcome:
    """Train, then write the student and draw what was learned."""
    objectives = add_own(objectives_of(config), own_objectives, config.loss.own)
    needs = needs_of(objectives)
    sets = DataSets.open(config.sources)
    rows = sets.rows(config.each(config.split))
    training = begin_training(config, sets, resume=resume)
    training.require_files(rows, needs_lidar="points" in needs)
    if "window" in needs:
        for one, of_set in sets.parts(rows):
            warn_of_lonely(one.index, of_set, config.loss.window_s)
    caches = open_teacher_caches(config, sets, rows, needs)
    stored = open_image_caches(config, sets, rows)
    learned_from = _key_frames(config, sets, caches, needs, stored)
    cameras = max(len(config.view.cameras or one.index.default_channels) for one in sets.each)
    rigs = Rigs(cameras, sets.names or ("",))
    load_backbone = not training.goes_on_from_checkpoint
    network, teacher = build_network(config, objectives, caches[0], rigs, own, load_backbone=load_backbone)
    require_layers(network.student, config.optim)
    with training.open_run() as run:
        device = training.fabric.device
        teacher = teacher.to(device) if teacher else None
        maker = TargetMaker(objectives, build_grid(config.grid), teacher, network.usual_maps)
        if not training.goes_on_from_checkpoint:
            plain = _key_frames(config, sets, caches, needs, None)
            found = _prepare(network, maker, plain, rows, training)
            if run.writes and found:
                write_text_atomic(run.folder.prepared, json.dumps(found, indent=2) + "\n")
        mix = mix_of(sets, rows, config.set_exponent)
        job = Job(network, maker, learned_from, mix, config.optim, config.engine)
        training.fit(job, run)
        if run.writes:
            card = ModelCard(
                stage="pretraining",
                student=config.student,
                grid=config.grid,
                view=config.view,
                data_sets=training.data_sets,
            )
            write_model(run.folder.path, network, card, only="student.")
            _draw(network, maker, job, run, training)
    return outcome_of(run, last_row(run.folder.metrics))


def _key_frames(
    config: PretrainConfig,
    sets: DataSets,
    caches: tuple[TeacherCache | None, ...],
    needs: frozenset[Need],
    stored: StoredImages | None,
) -> KeyFrames | SeveralKeyFrames:
    """Return the key frames of all data sets; see `key_frames_of`.

    Args:
        config: The settings.
        sets: The data sets.
        caches: The teacher cache of each.
        needs: What the objectives need.
        stored: The image cache of each, of key frames to learn from. None: they are read as they are.
    """

    def make(one: DataSet) -> KeyFrames:
        """Return the key frames of one data set."""
        with one.named_in_errors():
            place = sets.each.index(one)
            if stored is None:
                return key_frames_of(config, one.index, caches[place], needs, learn=False)
            return key_frames_of(config, one.index, caches[place], needs, learn=True, stored=stored[place])

    return key_frames_of_sets(sets, make)


def _prepare(
    network: PretrainingNetwork,
    maker: TargetMaker,
    key_frames: KeyFrameReader,
    rows: NDArray[np.int64],
    training: Training[PretrainConfig],
) -> dict[str, Any]:
    """Let objectives look at some targets before the first step; give what they found, by their names."""
    found = {}
    for one in network.objectives:
        if one.survey:
            survey = _Survey(maker, key_frames, spread(rows, one.survey), training)
            with torch.no_grad(), autocast(training.fabric.device, training.config.engine.precision):
                statistics = one.prepare(network.outputs[one.name], survey)
            found[one.name] = {"key_frames": survey.read, **statistics}
    return found


@dataclass
class _Survey:
    """Evidence of some key frames, read in every iteration; those that cannot be read are left out."""

    maker: TargetMaker
    key_frames: KeyFrameReader
    rows: NDArray[np.int64]
    training: Training[PretrainConfig]
    read: int = 0
    """Number of key frames that the last iteration has read."""

    def __iter__(self) -> Iterator[Evidence]:
        """Yield the evidence batch by batch."""
        self.read = 0
        engine, device = self.training.config.engine, self.training.fabric.device
        order = in_order(self.rows, self.training.micro_batch)
        batches = iter(load_batches(self.key_frames, order, engine, pin=device.type == "cuda"))
        while True:
            with torch.autocast(device.type, enabled=False):  # calibration needs full precision
                loaded = next(batches, None)
            if loaded is None:
                return
            if loaded.batch is not None:
                self.read += len(loaded.batch)
                yield self.maker.evidence(loaded.batch.to(device, non_blocking=True))


@torch.inference_mode()
def _draw(
    network: PretrainingNetwork,
    maker: TargetMaker,
    job: Job[Targets],
    run: Run,
    training: Training[PretrainConfig],
) -> None:
    """Draw what was learned about the first key frame: occupancy and features, and what else there is."""
    loaded = collate_readable([job.key_frames.read(Draw(job.mix.first, 0))])
    if loaded.batch is None or loaded.batch.points is None:
        return
    batch = loaded.batch.to(training.fabric.device)
    evidence = maker.evidence(batch)
    network.eval()
    views = network.see(batch.images, batch.cameras)
    probability = network.occupancy_probability(views)
    features = network.compare_features(views, evidence)
    if panels := network.panels(views, maker.targets(evidence)):
        draw_panels(run.folder.pictures / LEARNED, panels, maker.grid.bev, title=batch.tokens[0])
    draw_occupancy(
        run.folder.pictures / OCCUPANCY,
        None if probability is None else probability[0].cpu(),
        evidence.occupied[0].cpu(),
        maker.grid,
        cells=None if features is None else features.cells[:, 1:].cpu(),
        teacher_features=None if features is None else features.taught.cpu(),
        predicted_features=None if features is None else features.predicted.cpu(),
        title=batch.tokens[0],
    )

"""Build what a pretraining run learns with, from its settings: objectives, network and teacher."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from occfeat.geometry.grid import build_grid
from occfeat.models.students.build import build_student
from occfeat.pretraining.network import PretrainingNetwork
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.pretraining.objectives.contract import AnyObjective, TeacherShape, needs_of
from occfeat.settings.commands import PretrainConfig
from occfeat.teacher.build import build_teacher
from occfeat.teacher.cache import TeacherCache
from occfeat.teacher.network import Teacher


def objectives_of(config: PretrainConfig) -> tuple[AnyObjective, ...]:
    """Build the objectives that the settings of a run ask for, without the user's own.

    Raises:
        SettingsError: The depth is to be learned by a student that has none.
    """
    return build_objectives(config.loss, head=config.head, queries=config.queries, student=config.student)


@dataclass(frozen=True)
class Rigs:
    """Cameras of the data sets of a run."""

    cameras: int
    """The largest number of cameras of a key frame."""
    data_sets: tuple[str, ...] = ("",)
    """Names of the data sets; that of a single one is empty."""


def build_network(
    config: PretrainConfig,
    objectives: Sequence[AnyObjective],
    cache: TeacherCache | None,
    rigs: Rigs,
    own: nn.Module | None,
    *,
    load_backbone: bool = True,
) -> tuple[PretrainingNetwork, Teacher | None]:
    """Build student, head, and the teacher unless it is cached; the same random weights for the same seed.

    Args:
        config: The settings.
        objectives: What is learned.
        cache: The teacher cache of a data set, if there is one.
        rigs: Cameras of the data sets.
        own: The user's module, for settings that name one.
        load_backbone: False leaves the student's backbone random, for a checkpoint that holds all weights.
    """
    taught = "teacher" in needs_of(objectives)
    teacher = build_teacher(config.teacher, config.second_teacher) if taught and cache is None else None
    grid = build_grid(config.grid)
    torch.manual_seed(config.engine.seed)
    student = build_student(config.student, grid, own, load_backbone=load_backbone)
    sees = TeacherShape()
    if taught and cache is not None:
        sees = TeacherShape(cache.card.parts_of_features, rigs.cameras, cache.card.patches, rigs.data_sets)
    elif teacher is not None:
        patches = teacher.patches(config.teacher.image_size)
        sees = TeacherShape(teacher.parts, rigs.cameras, patches, rigs.data_sets)
    network = PretrainingNetwork(
        student,
        objectives,
        heights=grid.shape[2],
        head=config.head,
        teacher=sees,
        ratio_every=config.loss.ratio_every,
    )
    return network, teacher

"""Loading of pretraining runs with their heads."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from occfeat.errors import RunError
from occfeat.geometry.grid import build_grid
from occfeat.models.students.build import build_student
from occfeat.models.weights.loading import load_checked
from occfeat.pretraining.network import PretrainingNetwork
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.pretraining.objectives.contract import TeacherShape
from occfeat.runs.card import read_card
from occfeat.runs.checkpoint import load_checkpoint
from occfeat.runs.folder import RunFolder
from occfeat.runs.saved_settings import read_settings
from occfeat.settings.commands import PretrainConfig


def load_pretraining(run: Path) -> tuple[PretrainingNetwork, PretrainConfig]:
    """Load student and pretraining head of a finished run, and its settings.

    Raises:
        RunError: It is not a finished pretraining run.
    """
    if read_card(run).stage != "pretraining":
        raise RunError(f"{run} is not a pretraining run.", hint="Give a run of `occfeat pretrain`.")
    settings = read_settings(run, PretrainConfig)
    return load_network(run, settings), settings


def load_network(run: Path, settings: PretrainConfig) -> PretrainingNetwork:
    """Load student and pretraining head in evaluation mode; only the checkpoint contains the head.

    Custom objectives are skipped, because settings cannot build them.

    Raises:
        OccFeatError: The run has no checkpoint, or it does not fit the settings.
    """
    saved = load_checkpoint(RunFolder(run).checkpoint).shipped
    grid = build_grid(settings.grid)
    student = build_student(settings.student, grid, load_backbone=False)
    objectives = build_objectives(
        settings.loss, head=settings.head, queries=settings.queries, student=settings.student
    )
    network = PretrainingNetwork(
        student,
        objectives,
        heights=grid.shape[2],
        head=settings.head,
        teacher=_teacher_shape(saved, run),
        ratio_every=settings.loss.ratio_every,
    )
    tensors = _without_own(saved, network, settings.loss.own) if settings.loss.own else saved
    load_checked(network, tensors, f"network of {run}")
    return network.eval()


def _teacher_shape(tensors: dict[str, Tensor], run: Path) -> TeacherShape:
    """Return the sizes of what the teacher of a run sees, as far as its network depends on them."""
    channels = len(tensors.get("outputs.features.linear.weight", ()))
    parts = (channels,) if channels else ()
    if (widths := tensors.get("outputs.features.widths")) is not None:
        parts = tuple(widths.tolist())
    position = tensors.get("outputs.features.position")
    if position is None or position.dim() not in (4, 5):
        return TeacherShape(parts)
    cameras, _, height, width = position.shape[-4:]
    data_sets = tuple(read_card(run).data_sets) if position.dim() == 5 else ("",)
    return TeacherShape(parts, cameras, (height, width), data_sets)


def _without_own(
    tensors: dict[str, Tensor], network: PretrainingNetwork, own: Iterable[str]
) -> dict[str, Tensor]:
    """Drop the outputs of custom objectives, and the trunk if only they read it."""
    left_out = [f"outputs.{name}." for name in own] + (["trunk."] if network.trunk is None else [])
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(tuple(left_out))}

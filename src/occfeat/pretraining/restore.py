"""Pretraining runs, loaded again with their heads."""

from pathlib import Path

from occfeat.errors import RunError
from occfeat.geometry.grid import build_grid
from occfeat.models.students.build import build_student
from occfeat.models.weights.loading import load_checked
from occfeat.pretraining.head import PretrainingHead
from occfeat.pretraining.task import PretrainingNetwork
from occfeat.runs.card import read_card
from occfeat.runs.checkpoint import load_checkpoint
from occfeat.runs.run import read_settings
from occfeat.settings.commands import PretrainConfig


def load_pretraining(run: Path) -> tuple[PretrainingNetwork, PretrainConfig]:
    """Student and pretraining head of a finished run, and its settings.

    Raises:
        RunError: It is none.
    """
    if read_card(run).stage != "pretraining":
        raise RunError(f"{run} is not a pretraining run.", hint="Give a run of `occfeat pretrain`.")
    settings = read_settings(run, PretrainConfig)
    return load_network(run, settings), settings


def load_network(run: Path, settings: PretrainConfig) -> PretrainingNetwork:
    """Student and pretraining head, in evaluation; a run keeps its head in its checkpoint alone.

    Raises:
        OccFeatError: The run has no checkpoint, or it does not fit the settings.
    """
    tensors = load_checkpoint(run / "checkpoints" / "last.pt").network
    width = len(tensors.get("head.features.weight", ()))
    grid, with_queries = build_grid(settings.grid), settings.loss.queries > 0
    student = build_student(settings.student, grid, load_backbone=False)
    head = PretrainingHead(student.channels, grid.shape[2], width, settings.head, queries=with_queries)
    network = PretrainingNetwork(student, head, settings.loss)
    load_checked(network, tensors, f"network of {run}")
    return network.eval()

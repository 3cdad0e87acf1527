"""Pretraining runs, loaded again with their heads."""

from pathlib import Path

from occfeat.card import read_card
from occfeat.commands.config import PretrainConfig
from occfeat.engine.checkpoint import load_checkpoint
from occfeat.engine.run import read_settings
from occfeat.engine.shipped import build_grid
from occfeat.errors import RunError
from occfeat.models.student import build_student
from occfeat.models.weights import load_checked
from occfeat.pretraining.head import PretrainingHead
from occfeat.pretraining.task import PretrainingNetwork


def load_pretraining(run: Path) -> tuple[PretrainingNetwork, PretrainConfig]:
    """Student and pretraining head of a finished run, whose head is in its checkpoint alone.

    Raises:
        RunError: There is none, or it has no feature output.
    """
    if read_card(run).stage != "pretraining":
        raise RunError(f"{run} is not a pretraining run.", hint="Give a run of `occfeat pretrain`.")
    config = read_settings(run, PretrainConfig)
    tensors = load_checkpoint(run / "checkpoints" / "last.pt").network
    width = tensors.get("head.features.weight")
    if width is None:
        raise RunError(f"{run} distilled no features.", hint="Give one with loss.features above 0.")
    grid = build_grid(config.grid)
    student = build_student(config.student, grid, load_backbone=False)
    head = PretrainingHead(
        student.channels, grid.shape[2], len(width), config.head, queries=config.loss.queries > 0
    )
    network = PretrainingNetwork(student, head, config.loss)
    load_checked(network, tensors, f"network of {run}")
    return network.eval(), config

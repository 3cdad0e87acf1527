"""What a run ships: `weights.safetensors`, and `model.json` that says how to build the network for them."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from occfeat.card import CARD, ModelCard, read_card
from occfeat.config import GridConfig
from occfeat.engine.checkpoint import write_text_whole, write_whole
from occfeat.errors import RunError, WeightsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.student import build_student
from occfeat.models.weights import load_checked, read_weights_file, require_fit
from occfeat.segmentation.head import SegmentationHead
from occfeat.segmentation.model import BevModel
from occfeat.segmentation.task import Segmenter

WEIGHTS = "weights.safetensors"
"""Name of the weights in a run folder."""


def build_grid(config: GridConfig) -> VoxelGrid:
    """The voxels that settings describe.

    Raises:
        SettingsError: They are impossible.
    """
    return VoxelGrid(config.lower_m, config.upper_m, config.cell_m)


def write_model(folder: Path, network: nn.Module, card: ModelCard, *, only: str = "") -> None:
    """Write weights and card into a folder, each whole or not at all.

    Args:
        folder: A run folder.
        network: The network; its tensors are named `student.…` and `head.…`.
        card: How to build it again.
        only: Prefix of the tensors to write, such as `student.`.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if name.startswith(only)
    }
    write_whole(folder / WEIGHTS, lambda temporary: save_file(tensors, temporary))
    text = json.dumps(card.model_dump(mode="json"), indent=2) + "\n"
    write_text_whole(folder / CARD, text)


def load_student_weights(student: nn.Module, folder: Path) -> None:
    """Load the student of a pretraining or fine-tuning run; logs a line such as `loaded 214/214 tensors`.

    Raises:
        WeightsError: Names or shapes differ.
    """
    load_checked(student, _student_tensors(read_weights_file(folder / WEIGHTS)), f"student of {folder}")


def require_described(card: ModelCard, folder: Path) -> dict[str, Tensor]:
    """The weights of a run, of which the student is the one that its card describes.

    Before a student is built it is compared without memory: a damaged card may describe one of any size.

    Raises:
        RunError: No student can be built of the card.
        WeightsError: The weights cannot be read, or are those of another student.
    """
    tensors = read_weights_file(folder / WEIGHTS)
    if card.student.kind == "own":
        return tensors
    try:
        with torch.device("meta"):
            described = build_student(card.student, build_grid(card.grid), load_backbone=False)
    except (RuntimeError, TypeError, ValueError, ArithmeticError) as error:
        message = f"{folder / CARD} describes no student that can be built: {error}"
        raise RunError(message, hint="Restore it from a copy.") from error
    require_fit(described, _student_tensors(tensors), f"student of {folder}")
    return tensors


def _student_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "student."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def load_model(
    folder: Path | str, device: torch.device | str = "cpu", student: nn.Module | None = None
) -> BevModel:
    """Load a fine-tuned network from its run folder, ready to predict.

    Args:
        folder: The run folder.
        device: Where the network will be.
        student: The module that was fine-tuned, if it was one of your own; its weights are replaced.

    Raises:
        RunError: The folder holds no finished model.
        SettingsError: The student was a module of your own, and `student` is not given; or the reverse.
        WeightsError: It is a pretraining run, or the weights do not fit.
    """
    folder = Path(folder)
    card = read_card(folder)
    if card.stage != "segmentation":
        hint = f"Fine-tune it first: occfeat finetune --start {folder} ..."
        raise WeightsError(f"{folder} is a pretraining run; it cannot segment yet.", hint=hint)
    tensors = require_described(card, folder)
    grid = build_grid(card.grid)
    built = build_student(card.student, grid, student, load_backbone=False)
    head = SegmentationHead(built.channels, len(card.classes), linear=card.linear_head)
    segmenter = Segmenter(built, head)
    load_checked(segmenter, tensors, f"model of {folder}")
    return BevModel(segmenter, card.classes, card.view.image_size, grid.bev).to(device)

"""`model.json`: how to build the network that the weights of a run belong to. Imports no torch."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from occfeat.config import GridConfig, Strict, ViewConfig
from occfeat.errors import RunError
from occfeat.student_config import StudentConfig

CARD = "model.json"
"""Name of the card in a run folder."""
WEIGHTS = "weights.safetensors"
"""Name of the weights in a run folder."""


class ModelCard(Strict):
    """How to build the network that weights belong to."""

    format: Literal[1] = 1
    """Version of this file."""
    stage: Literal["pretraining", "segmentation"]
    """Pretraining ships the student alone; segmentation ships student and head."""
    student: StudentConfig
    """The student."""
    grid: GridConfig
    """The voxels it was trained on."""
    view: ViewConfig
    """The images it was trained on."""
    classes: tuple[str, ...] = ()
    """What the head segments."""
    linear_head: bool = False
    """The head is a single linear layer."""


def run_folder(path: Path) -> Path:
    """The run folder of a path that names the folder or a file in it, such as its weights, there or gone."""
    return path.parent if path.is_file() or path.name == WEIGHTS else path


def read_card(folder: Path) -> ModelCard:
    """The card in a run folder.

    Raises:
        RunError: There is none, so the run has not finished, or it is damaged.
    """
    file = folder / CARD
    if not file.is_file():
        hint = "Check the path; a run writes it when it has finished."
        raise RunError(f"{folder} holds no finished model: {CARD} is missing.", hint=hint)
    try:
        return ModelCard.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise RunError(
            f"{file} is damaged or of another version: {error}", hint="Restore it from a copy."
        ) from error

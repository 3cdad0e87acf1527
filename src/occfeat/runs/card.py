"""What a run folder says of itself: `model.json`, how to build its network, and how it was started.

This module imports no torch.
"""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from occfeat.errors import RunError
from occfeat.settings.sections import GridConfig, ViewConfig
from occfeat.settings.strict import Strict
from occfeat.settings.students import StudentConfig

CARD = "model.json"
"""Name of the card in a run folder."""
WEIGHTS = "weights.safetensors"
"""Name of the weights in a run folder."""
ENVIRONMENT = "environment.json"
"""Name of the file that says how a run was started."""
PREPARED = "prepared.json"
"""Name of the file with what objectives of pretraining found out before the first step, by their names."""


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
        RunError: There is none, as the run was stopped or the folder is not that of a run; or it is damaged.
    """
    file = folder / CARD
    if not file.is_file():
        message, hint = _why_missing(folder)
        raise RunError(message, hint=hint)
    try:
        return ModelCard.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise RunError(
            f"{file} is damaged or of another version: {error}", hint="Restore it from a copy."
        ) from error


def read_environment(path: Path) -> dict[str, Any]:
    """What is written down about where and how a run was started."""
    file = path / ENVIRONMENT
    try:
        environment = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is not a run folder: {file.name} cannot be read.", hint="Check the path."
        ) from error
    if not isinstance(environment, dict):
        raise RunError(f"{file} does not hold a JSON object.", hint="Check the path.")
    return environment


def command_of(folder: Path) -> str | None:
    """The command that a folder is a run of, if it is one that can be resumed."""
    if not (folder / "settings.yaml").is_file():
        return None
    try:
        command = read_environment(folder).get("command")
    except RunError:
        return None
    return command if command in ("pretrain", "finetune") else None


def _why_missing(folder: Path) -> tuple[str, str]:
    """What to say of a folder without card, and a hint."""
    if command := command_of(folder):
        hint = f"If it was stopped, go on with it: occfeat {command} --resume {folder}"
        return f"The run {folder} has not finished: it was stopped, or is still running.", hint
    message = f"{folder} holds no finished model: {CARD} is missing."
    if command_of(folder.parent):
        return message, f"Give the run folder, {folder.parent}."
    return message, "Check the path; a run writes it when it has finished."

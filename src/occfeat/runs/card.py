"""The model card of a run folder, which describes the network of its weights. Imports no torch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_serializer

from occfeat.errors import RunError
from occfeat.runs.folder import RunFolder
from occfeat.settings.removed import without_removed
from occfeat.settings.sections import GridConfig, LabelsConfig, ViewConfig
from occfeat.settings.strict import Strict
from occfeat.settings.students import StudentConfig


class ModelCard(Strict):
    """Description of the network of the weights."""

    format: Literal[1] = 1
    """Version of this file."""
    stage: Literal["pretraining", "segmentation"]
    """Pretraining ships the student alone, segmentation the student and its head."""
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
    data_sets: dict[str, str] = Field(default={})
    """Fingerprint of each data set it was trained on, by name; only written if there were several."""
    cameras: tuple[str, ...] = ()
    """Cameras it was trained on; not written if there were several data sets."""
    labels: LabelsConfig = LabelsConfig()
    """What boxes were labels of; only written if categories were mapped."""

    @model_serializer(mode="wrap")
    def _without_nothing(self, serialize: Callable[["ModelCard"], Any]) -> dict[str, Any]:
        """Return the content of the file."""
        content: dict[str, Any] = serialize(self)
        left_out = {
            "data_sets": not self.data_sets,
            "cameras": not self.cameras,
            "labels": not self.labels.categories,
        }
        return {name: value for name, value in content.items() if not left_out.get(name)}


def read_card(path: Path) -> ModelCard:
    """Return the card in a run folder; settings that this version does not have any more are left out.

    Raises:
        RunError: The run has not finished, the folder is not a run folder, or the card is damaged.
    """
    folder = RunFolder(path)
    file = folder.card
    if not file.is_file():
        message, hint = _why_missing(folder)
        raise RunError(message, hint=hint)
    try:
        content = json.loads(file.read_bytes())
        return ModelCard.model_validate_json(json.dumps(without_removed(content)[0]))
    except (ValueError, RecursionError) as error:
        message = f"{file} is damaged or of another version: {error}"
        raise RunError(message, hint="Restore it from a copy.") from error


def _why_missing(folder: RunFolder) -> tuple[str, str]:
    """Return the message and the hint for a folder without a card."""
    path = folder.path
    if command := folder.resumable_command():
        hint = f"If it was interrupted, resume it: occfeat {command} --resume {path}"
        return f"The run {path} has not finished: it was interrupted, or is still running.", hint
    message = f"{path} does not contain a finished model: {folder.card.name} is missing."
    if RunFolder(path.parent).resumable_command():
        return message, f"Give the run folder, {path.parent}."
    return message, "Check the path; a run writes this file when it has finished."

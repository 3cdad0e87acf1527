"""Checkpoints of tensors and plain values, in atomic writes.

A run that is resumed from a checkpoint gives exactly the results of an uninterrupted run. The random state of
a GPU is not included, because no student of this package draws random numbers there.
"""

import pickle
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from occfeat.errors import RunError
from occfeat.machine.atomic import write_atomic
from occfeat.models.weights.loading import read_torch_file

Count = Annotated[int, Field(ge=0)]
CHECKPOINT_VERSION = 7
"""Raised whenever the content of a checkpoint changes."""
READABLE_VERSIONS = (4, 5, 6, CHECKPOINT_VERSION)
"""Versions that can be read. Averages came with version 5, incomplete key frames with 6, settings with 7."""

DAMAGED = "Start a new run in another folder, or restore the file from a copy."
"""Hint about a checkpoint that cannot be used."""


@dataclass(frozen=True)
class Checkpoint:
    """State of a training run after `step` optimiser steps."""

    __pydantic_config__: ClassVar = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    step: Count
    """Optimiser steps that are done."""
    network: dict[str, Any]
    """State of the network."""
    optimizer: dict[str, Any]
    """State of the optimiser."""
    random_state: torch.Tensor
    """State of torch's random numbers."""
    pending: dict[str, tuple[float, float]]
    """Metrics of the steps since the last row, as (numerator, denominator)."""
    metrics_bytes: Count
    """Size of the file of metrics; what was written later is cut off on resuming."""
    broken: list[list[str]]
    """Tokens of the broken key frames that each process has skipped."""
    incomplete: list[list[str]] = field(default_factory=list)
    """Tokens of the key frames that each process has used without an image."""
    average: dict[str, Any] = field(default_factory=dict)
    """Averages of what changes in the network, by its names; empty if the run takes none."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings that the steps followed, by their names on the command line; empty if unknown."""
    version: int = CHECKPOINT_VERSION

    @property
    def shipped(self) -> dict[str, Any]:
        """State of the network that a run ships once it is finished."""
        return {**self.network, **self.average}


_FORMAT = TypeAdapter(Checkpoint)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at `path`; the old one stays until the new one is on disk.

    Raises:
        RunError: The file cannot be written.
    """
    state = {one.name: getattr(checkpoint, one.name) for one in fields(checkpoint)}
    write_atomic(path, lambda temporary: _save(state, temporary))


def _save(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; a full disk is an `OSError`."""
    try:
        torch.save(state, path)
    except RuntimeError as error:  # how torch says that the disk is full
        raise OSError(str(error)) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without unpickling code.

    Raises:
        RunError: The file is missing, damaged or of another version.
    """
    if not path.is_file():
        raise RunError(f"There is no checkpoint {path}.", hint="Start the run again in another folder.")
    try:
        state = read_torch_file(path)
    except pickle.UnpicklingError as error:
        what = "it holds more than tensors and plain values, which could run any code and is not loaded"
        raise RunError(f"{path} cannot be read as a checkpoint: {what}.", hint=DAMAGED) from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read as a checkpoint: {error}", hint=DAMAGED) from error
    if isinstance(state, dict) and state.get("version") not in READABLE_VERSIONS:
        raise RunError(
            f"{path} is a checkpoint of version {state.get('version')}, not {CHECKPOINT_VERSION}.",
            hint="Use the version of occfeat that wrote it, or start a new run.",
        )
    try:
        return _FORMAT.validate_python(state)
    except ValidationError as error:
        raise RunError(f"{path} cannot be read as a checkpoint: {error}", hint=DAMAGED) from error

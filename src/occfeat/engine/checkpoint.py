"""Checkpoints: tensors and plain values only, written whole or not at all.

`checkpoints/last.pt` holds everything a killed run needs to go on exactly as if it had not been killed.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from occfeat.errors import RunError

CHECKPOINT_VERSION = 1
"""Raised whenever the content of a checkpoint changes."""


@dataclass(frozen=True)
class Checkpoint:
    """State of a training run after `step` optimiser steps."""

    step: int
    """Optimiser steps done."""
    network: dict[str, Any]
    """State of the network that learns."""
    optimizer: dict[str, Any]
    """State of the optimiser."""
    random_state: torch.Tensor
    """State of torch's random numbers."""
    pending: dict[str, tuple[float, float]]
    """Figures of the steps since the last line of metrics, as (numerator, denominator)."""
    metrics_bytes: int
    """Size of `metrics.jsonl`; what was written later is cut off on resuming."""
    broken: int
    """Broken key frames skipped so far."""
    version: int = CHECKPOINT_VERSION


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint at `path`; the old one stays until the new one is safely on disk."""
    state = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    write_whole(path, lambda temporary: torch.save(state, temporary))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without ever unpickling code.

    Raises:
        RunError: It is missing, damaged or of another version.
    """
    hint = "Start a new run in another folder, or restore the file from a copy."
    if not path.is_file():
        raise RunError(f"There is no checkpoint {path} to go on from.", hint="Start the run anew.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.get("version") != CHECKPOINT_VERSION:
            raise RunError(
                f"{path} is a checkpoint of version {state.get('version')}, not {CHECKPOINT_VERSION}.",
                hint="Go on with the version of occfeat that wrote it, or start anew.",
            )
        return Checkpoint(**state)
    except RunError:
        raise
    except Exception as error:  # torch reports damage with many kinds of exceptions
        raise RunError(f"{path} cannot be read as a checkpoint: {error}", hint=hint) from error


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, force it to disk, and only then give it its name.

    Raises:
        RunError: It cannot be written, for lack of space or rights; an older file stays as it was.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # safetensors makes files that only their owner can read
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        with suppress(OSError):  # its folder may be a file
            temporary.unlink(missing_ok=True)
        raise RunError(
            f"{path} could not be written: {error}",
            hint="Free some disk space or check the rights of the folder, then use --resume.",
        ) from error


def write_text_whole(path: Path, text: str) -> None:
    """Write a text file in the same way; see `write_whole`."""
    write_whole(path, lambda temporary: temporary.write_text(text))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

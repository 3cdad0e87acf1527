"""Read weights from files and load them into a network strictly, saying how many tensors were loaded."""

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from occfeat.errors import WeightsError

logger = logging.getLogger(__name__)

WRAPPERS = ("state_dict", "model_state_dict", "model", "teacher")
"""Keys under which training programs file the tensors of their network."""


def load_checked(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> int:
    """Load tensors into a network of exactly these names and shapes, or change nothing.

    Args:
        module: The network.
        tensors: Its tensors by name, on any device.
        what: The network in the user's words, such as `student`.

    Returns:
        The number of tensors loaded.

    Raises:
        WeightsError: Tensors are missing, unexpected or of another shape; the first of them are named.
    """
    wanted = module.state_dict()
    problems = mismatches({name: tensor.shape for name, tensor in wanted.items()}, tensors)
    if problems:
        raise WeightsError(
            f"The weights do not fit the {what}: {len(problems)} tensors differ, of {len(wanted)}.",
            first=problems[:6],
            hint="Check that these weights were made for this architecture and these settings.",
        )
    module.load_state_dict(dict(tensors), strict=True)
    logger.info("%s: loaded %d/%d tensors", what, len(tensors), len(wanted))
    return len(wanted)


def mismatches(wanted: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> list[str]:
    """One line for every tensor that is missing, unexpected or of another shape."""
    missing = [f"missing: {name} {tuple(shape)}" for name, shape in wanted.items() if name not in tensors]
    unexpected = [f"unexpected: {name} {tuple(t.shape)}" for name, t in tensors.items() if name not in wanted]
    misshapen = [
        f"wrong shape: {name} is {tuple(tensors[name].shape)}, wanted {tuple(shape)}"
        for name, shape in wanted.items()
        if name in tensors and tensors[name].shape != shape
    ]
    return missing + unexpected + misshapen


def read_weights_file(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a `.safetensors` file or of a torch file, without running code from it.

    A torch file may hold the tensors directly or one level down, under `state_dict`, `model_state_dict`,
    `model` or `teacher`, with anything plain beside them.

    Raises:
        WeightsError: The file is absent or damaged, holds other objects than tensors, or no tensors at all.
    """
    if not path.is_file():
        raise WeightsError(
            f"There is no weights file {path}.", hint="Give the path of a .safetensors, .pth or .pt file."
        )
    try:
        return load_file(path) if path.suffix == ".safetensors" else _unwrap(_read_torch(path), path)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds Python objects beside its tensors; they are not loaded, for"
            " loading them could run any code.",
            hint="Save the tensors alone: torch.save(model.state_dict(), path), or use safetensors.",
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} cannot be read as weights: {error}", hint="Download or copy the file again."
        ) from error


def _read_torch(path: Path) -> object:
    return torch.load(path, map_location="cpu", weights_only=True)


def _unwrap(stored: object, path: Path) -> dict[str, Tensor]:
    tensors = stored
    if isinstance(stored, dict):
        tensors = next((stored[key] for key in WRAPPERS if key in stored), stored)
    if not isinstance(tensors, dict) or not tensors or not all(map(torch.is_tensor, tensors.values())):
        raise WeightsError(
            f"{path} is not a table of tensors by name.",
            hint=f"It may hold them directly or under one of {', '.join(WRAPPERS)}.",
        )
    return {str(name): tensor for name, tensor in tensors.items()}

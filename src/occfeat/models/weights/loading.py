"""Read weights from files and load them strictly into a network."""

import logging
import mmap
import pickle
import tarfile
import zipfile
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
        what: Name of the network for messages, such as `student`.

    Returns:
        The number of tensors loaded.

    Raises:
        WeightsError: Tensors are missing, unexpected or of another shape; the first of them are named.
    """
    require_fit(module, tensors, what)
    module.load_state_dict(dict(tensors), strict=True)
    logger.info("%s: loaded %d/%d tensors", what, len(tensors), len(tensors))
    return len(tensors)


def require_fit(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuse tensors that a network, which may be without memory (`meta`), could not load.

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


def mismatches(wanted: Mapping[str, torch.Size], tensors: Mapping[str, Tensor]) -> list[str]:
    """Return one line for every tensor that is missing, unexpected or of another shape."""
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
            f"The weights file {path} does not exist.",
            hint="Give the path of a .safetensors, .pth or .pt file.",
        )
    try:
        return load_file(path) if path.suffix == ".safetensors" else _unwrap(read_torch_file(path), path)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds Python objects beside its tensors; they are not loaded, for"
            " loading them could run any code.",
            hint="Save the tensors alone: torch.save(model.state_dict(), path), or use safetensors.",
        ) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(
            f"{path} cannot be read as weights: {error}", hint="Download or copy the file again."
        ) from error


def read_torch_file(path: Path) -> object:
    """Read tensors and plain values of a torch file, without running code from it.

    Every byte is compared with the checksums in the file, which torch itself does not do.

    Raises:
        UnpicklingError: It holds other objects than tensors and plain values.
        ValueError: It is damaged, or would take more memory than its size.
        OSError: It cannot be read.
    """
    _require_whole(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, OSError):
        raise
    except Exception as error:  # torch reports damage with many kinds of exceptions
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _require_whole(path: Path) -> None:
    """Refuse a torch file with a wrong checksum, and the two ways to fill the memory with a small one."""
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"bytearray") >= 0:  # torch makes one of any size that a file asks for
            raise ValueError("it holds a bytearray, which may be of any size")
    try:
        if not zipfile.is_zipfile(path):  # the format before 2020, which has no checksums
            if tarfile.is_tarfile(path):
                raise ValueError("it is of the oldest format, which torch unpacks into another folder")
            return
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("its members are compressed")
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"the checksum of {damaged} is wrong")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(str(error)) from error


def _unwrap(stored: object, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a torch file, which may lie under one of `WRAPPERS`."""
    tensors = stored
    if isinstance(stored, dict):
        tensors = next((stored[key] for key in WRAPPERS if key in stored), stored)
    if not isinstance(tensors, dict) or not tensors or not all(map(torch.is_tensor, tensors.values())):
        raise WeightsError(
            f"{path} is not a table of tensors by name.",
            hint=f"It may hold them directly or under one of {', '.join(WRAPPERS)}.",
        )
    return {str(name): tensor for name, tensor in tensors.items()}

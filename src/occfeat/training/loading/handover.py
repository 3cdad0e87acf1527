"""Hands batches from loading processes to the training process, by shared memory or else by copies.

torch pickles a batch in a background thread of the loading process. If that fails, the batch is lost and
training waits for ever. It fails when shared memory is full, as in containers with 64 MB, or when `TMPDIR`
is too long for the path of a socket. Here the batch is pickled in the process's own thread, whose errors
arrive. If shared memory fails, the tensors are copied through a pipe instead.
"""

import io
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parcel:
    """A pickled value on its way between two processes of a run."""

    content: bytes
    """The pickled value; its tensors are in shared memory, unless `trouble` says why not."""
    trouble: str = ""
    """Why shared memory could not be used; empty if it is used."""

    def unpack(self) -> Any:
        """Return the value; only once, because its tensors are then no longer shared."""
        return ForkingPickler.loads(self.content)

    def pin_memory(self) -> "Pinned":
        """Return the value in page-locked memory; called by torch's DataLoader."""
        return Pinned(self.unpack().pin_memory(), self.trouble)


@dataclass(frozen=True)
class Pinned:
    """A value that has arrived, in page-locked memory."""

    value: Any
    trouble: str = ""
    """As in `Parcel`."""

    def unpack(self) -> Any:
        """Return the value."""
        return self.value


def pack(value: object) -> Parcel:
    """Pickle a value of tensors and plain values for another process.

    Raises:
        Exception: It cannot be pickled at all. The loading process reports such an error.
    """
    try:
        return Parcel(bytes(ForkingPickler.dumps(value)))
    except (OSError, RuntimeError) as error:  # RuntimeError: torch found no shared memory
        return Parcel(_dump_copies(value), str(error).partition("\n")[0] or type(error).__name__)


def _dump_copies(value: object) -> bytes:
    """Pickle a value with copies of its tensors."""
    buffer = io.BytesIO()
    pickler = ForkingPickler(buffer, -1)
    pickler.dispatch_table = {**pickler.dispatch_table, Tensor: _copied}
    pickler.dump(value)
    return buffer.getvalue()


def _copied(tensor: Tensor) -> tuple[Any, ...]:
    """Return how to make a tensor again from a copy of its content."""
    return torch.from_numpy, (tensor.contiguous().numpy(),)


def explain_trouble(trouble: str) -> str:
    """Return what to do about shared memory that could not be used."""
    return (
        f"Batches are copied through pipes, which is slower, because shared memory failed: {trouble}. "
        "In a container give it more (`docker run --shm-size=8g`, or `--ipc=host`). Otherwise use fewer "
        "`--engine.workers`, or a shorter `TMPDIR`."
    )

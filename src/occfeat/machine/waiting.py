"""What keeps the processor from waiting for the device.

On a GPU operators run later than they are called, and the processor prepares the next ones meanwhile. It has
to wait wherever it needs a result to go on, and for each copy from ordinary memory.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor


def true_entries(mask: Bool[Tensor, "*shape"], count: int) -> Int64[Tensor, "K D"]:
    """Return the indices of the true entries in order, as `nonzero` does.

    Args:
        mask: A mask of `D` axes.
        count: Number of its true entries, `K`, so that no code waits for the device to count them.
    """
    if mask.device.type == "cuda":
        return torch.nonzero_static(mask, size=count)
    return mask.nonzero()  # half the time on a CPU


def entries_up_to(mask: Bool[Tensor, "*shape"], most: int) -> Int64[Tensor, "K D"]:
    """Return the indices of the true entries in order, on a GPU followed by rows of -1 up to `most` rows.

    Args:
        mask: A mask of `D` axes.
        most: At least the number of its true entries, known without counting them on the device.
    """
    if mask.device.type == "cuda":
        return torch.nonzero_static(mask, size=min(most, mask.numel()), fill_value=-1)
    return mask.nonzero()


def numbers_like(values: Sequence[float | int], like: Tensor) -> Shaped[Tensor, " n"]:
    """Return constants in the type and on the device of a tensor; copied there once. Do not change them."""
    # While a network is traced, as for an export, tensors have no values: such ones must not be kept.
    traced = type(torch.empty(0)) is not Tensor
    make = _new_constant if traced else _kept_constant
    return make(tuple(values), like.dtype, like.device)


def _new_constant(
    values: tuple[float | int, ...], dtype: torch.dtype, device: torch.device
) -> Shaped[Tensor, " n"]:
    """Return constants that may take part in training, wherever they are first asked for."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


_kept_constant = lru_cache(maxsize=256)(_new_constant)


def upload(tensor: Shaped[Tensor, "*shape"], device: torch.device) -> Shaped[Tensor, "*shape"]:
    """Return a tensor of the CPU on a device, without waiting for the copy."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)

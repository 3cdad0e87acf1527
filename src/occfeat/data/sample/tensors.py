"""The base of values that hold tensors."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TypeVar

import torch
from jaxtyping import Shaped
from torch import Tensor

# Not typing.Self, which the run-time shape checks of the tests do not support.
T = TypeVar("T", bound="Tensors")


class Tensors:
    """Base class of frozen dataclasses of tensors, which can be moved together."""

    def to(self: T, device: torch.device | str, non_blocking: bool = False) -> T:
        """Return the same value on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self: T) -> T:
        """Return the same value in pinned memory, for fast copies to a GPU."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self: T, change: Callable[[Tensor], Tensor]) -> T:
        """Return the same value with a function applied to every tensor, including nested ones."""
        changed: dict[str, Tensor | Tensors] = {}
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = change(value)
            elif isinstance(value, Tensors):
                changed[field.name] = value._each(change)
        return replace(self, **changed)  # type: ignore[type-var]


def with_zeros(tensor: Shaped[Tensor, "n *shape"], count: int) -> Shaped[Tensor, "m *shape"]:
    """Return a tensor with zeros behind its entries, `count` in all."""
    return torch.cat((tensor, tensor.new_zeros(count - len(tensor), *tensor.shape[1:])))

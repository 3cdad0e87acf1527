"""Averaged weights: an exponential moving average over the last part of a run, which is what ships.

Running statistics of batch norm are averaged like the weights, as in timm. To measure them with the averaged
weights, as torch's `update_bn` does, would take another pass over the data.
"""

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of what a network learns and of its buffers; frozen weights are not copied.

    A step counts 1 / `horizon`, and 1 - 1 / `horizon` times as much with each later step. As long as fewer
    steps are taken, all of them count alike. So initial weights never count, however short a run is.

    Args:
        network: The network that learns, on its device. Its tensors must be changed in place.
        horizon: Number of steps over which is averaged.
    """

    def __init__(self, network: nn.Module, horizon: int) -> None:
        self.horizon = horizon
        self._current = _changing_tensors(network)
        self.tensors = {name: tensor.detach().clone() for name, tensor in self._current.items()}
        """The averages, by the names of the network's state."""
        real = [name for name, tensor in self.tensors.items() if tensor.is_floating_point()]
        self._pairs = [self.tensors[name] for name in real], [self._current[name] for name in real]
        self._counts = [name for name in self.tensors if name not in real]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 1; whole numbers are copied."""
        torch._foreach_lerp_(*self._pairs, 1 / min(step, self.horizon))
        for name in self._counts:
            self.tensors[name].copy_(self._current[name])

    @torch.no_grad()
    def restore(self, saved: dict[str, Tensor]) -> None:
        """Take over the averages of a checkpoint.

        Raises:
            ValueError: They are those of another network.
        """
        shapes = [{name: tensor.shape for name, tensor in each.items()} for each in (self.tensors, saved)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"expected averages of {len(self.tensors)} tensors, got others")
        for name, tensor in saved.items():
            self.tensors[name].copy_(tensor)

    @torch.no_grad()
    def write(self) -> None:
        """Put the averages into the network."""
        for name, tensor in self.tensors.items():
            self._current[name].copy_(tensor)


def _changing_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return the parameters that learn and the buffers of a network's state, by their names."""
    return {
        name: tensor
        for name, tensor in network.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor) and (tensor.requires_grad or not isinstance(tensor, nn.Parameter))
    }

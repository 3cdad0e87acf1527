"""The ratio of two gradients at the BEV features, and weights that hold it (this project's option).

Losses pull at the student through its BEV features. How strongly each pulls depends on the grid, the sensor
and the options of the losses, so a weight means something else for each of them. The ratio of the gradients
means the same everywhere.

Axes: `B` key frames, `C` BEV channels, `X Y` BEV cells.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

FASTEST = 2.0
"""Largest factor by which one measurement changes a weight."""


def measured_at(step: int, every: int) -> bool:
    """Return whether gradients are measured in a step, counted from 0: in every `every`-th."""
    return (step + 1) % every == 0


def pull(loss: Float[Tensor, ""], bev: Float[Tensor, "B C X Y"]) -> Float[Tensor, ""]:
    """Return the norm of the gradient of a loss at the BEV features, summed over the key frames.

    The graph is kept. Sums of this norm over the micro-batches of a step do not depend on how it is split.
    """
    with torch.autocast(bev.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(loss, bev, retain_graph=True, allow_unused=True)
    if gradient is None:
        return loss.new_zeros((), dtype=torch.float32)
    return torch.linalg.vector_norm(gradient.float().flatten(1), dim=1).sum()


class Balance(nn.Module):
    """A weight that holds the pull of a loss at a ratio to that of occupancy.

    The first measurement sets the weight, which is 0 before. Every further one moves it half of the way, in
    logarithms, and at most by the factor `FASTEST`. Everything is in buffers, so checkpoints contain it, and
    it is equal in all processes.

    Args:
        ratio: The ratio to hold.
    """

    in_use: Tensor
    """The weight."""
    pulls: Tensor
    """Pulls of the loss without its weight, and of occupancy, in the step that measures."""

    def __init__(self, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.register_buffer("in_use", torch.zeros(()))
        self.register_buffer("pulls", torch.zeros(2))

    @property
    def weight(self) -> Float[Tensor, ""]:
        """The weight in use, as a copy, because the buffer changes in place."""
        return self.in_use.clone()

    def observe(self, own: Float[Tensor, ""], occupancy: Float[Tensor, ""]) -> None:
        """Add the pulls in one micro-batch; all processes must call it at once.

        Args:
            own: Pull of the loss without its weight.
            occupancy: Pull of the weighted occupancy loss.
        """
        pulls = torch.stack((own, occupancy))
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(pulls)
        self.pulls += pulls

    def adjust(self) -> None:
        """Change the weight after a step that measured; pulls of 0 or not finite change nothing."""
        own, occupancy = self.pulls
        wanted = self.ratio * occupancy / own
        factor = (wanted / self.in_use).sqrt().clamp(1 / FASTEST, FASTEST)
        moved = torch.where(self.in_use > 0, self.in_use * factor, wanted)
        usable = wanted.isfinite() & (wanted > 0)
        self.in_use.copy_(torch.where(usable, moved, self.in_use))
        self.pulls.zero_()

"""The interface between the training loop and a network: the loss and metrics of a step."""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Ratio(NamedTuple):
    """A metric that is pooled over steps by adding up numerators and denominators.

    An IoU is (intersection, union), a mean cosine is (sum of cosines, number of them). Pooled this way, a
    metric does not depend on how key frames are split into batches. See `mean_of` for those that do.
    """

    numerator: Float[Tensor, ""]
    denominator: Float[Tensor, ""]

    def value(self) -> float:
        """Return the metric itself; NaN if there was nothing to count."""
        numerator, denominator = float(self.numerator), float(self.denominator)
        return numerator / denominator if denominator else float("nan")


class Step(NamedTuple):
    """The result of one forward pass of a network in training."""

    loss: Float[Tensor, ""]
    """The scalar that is minimised."""
    metrics: dict[str, Ratio]
    """Metrics to log, detached, by name; `loss` need not be among them."""


@runtime_checkable
class CountsSteps(Protocol):
    """A network that is told which step begins."""

    def begin_step(self, step: int) -> None:
        """Prepare for an optimiser step; the first one is 0."""


def mean_of(value: Float[Tensor, ""]) -> Ratio:
    """Return a metric averaged over micro-batches, each with weight one whatever its size, as losses are."""
    value = value.detach().float()
    return Ratio(value, torch.ones_like(value))


def ratio_of(numerator: Float[Tensor, ""] | Int[Tensor, ""], denominator: Tensor | int) -> Ratio:
    """Return a metric from two counts or sums; the second may be known without the device."""
    over = numerator.detach().float()
    if isinstance(denominator, int):
        return Ratio(over, torch.full_like(over, denominator))
    return Ratio(over, denominator.detach().float())

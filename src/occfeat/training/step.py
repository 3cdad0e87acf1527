"""What the training loop asks of a network that learns, and what it gets back from every step."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Ratio(NamedTuple):
    """A metric that is pooled over steps by adding up numerators and denominators.

    An IoU is (intersection, union), a mean cosine (sum of cosines, number of them). Pooled this way a metric
    does not depend on how key frames were cut into batches; see `mean_of` for those that do.
    """

    numerator: Float[Tensor, ""]
    denominator: Float[Tensor, ""]

    def value(self) -> float:
        """The metric itself; NaN if there was nothing to count."""
        numerator, denominator = float(self.numerator), float(self.denominator)
        return numerator / denominator if denominator else float("nan")


class Step(NamedTuple):
    """What one forward pass of a learning network gives."""

    loss: Float[Tensor, ""]
    """The scalar that is minimised."""
    metrics: dict[str, Ratio]
    """Metrics to log, detached, by name; `loss` need not be among them."""


def mean_of(value: Float[Tensor, ""]) -> Ratio:
    """A metric that is averaged over micro-batches, each counting once whatever it holds, as losses are."""
    value = value.detach().float()
    return Ratio(value, torch.ones_like(value))


def ratio_of(numerator: Tensor, denominator: Tensor) -> Ratio:
    """A metric from two counts or sums."""
    return Ratio(numerator.detach().float(), denominator.detach().float())

"""The threshold and the counts of every IoU.

A cell counts as predicted if its probability is **above** 0.5, that is, if its logit is above 0.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occfeat.training.step import Ratio, ratio_of

THRESHOLD = 0.5
"""Probability above which a cell counts as predicted, for occupancy and for every class."""


def is_positive(logits: Float[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """Return the cells whose logit stands for a probability above `THRESHOLD`."""
    return logits.detach() > 0


def is_likely(probability: Float[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """Return the cells whose probability is above `THRESHOLD`."""
    return probability > THRESHOLD


@dataclass(frozen=True)
class Overlap:
    """How many cells are predicted, true and both: counts that add up over key frames."""

    both: Int64[Tensor, "*K"]
    predicted: Int64[Tensor, "*K"]
    true: Int64[Tensor, "*K"]

    def __add__(self, other: "Overlap") -> "Overlap":
        return Overlap(self.both + other.both, self.predicted + other.predicted, self.true + other.true)

    @property
    def union(self) -> Int64[Tensor, "*K"]:
        """Cells that are predicted or true."""
        return self.predicted + self.true - self.both

    @property
    def iou(self) -> Ratio:
        """Intersection over union; NaN where nothing is predicted or true."""
        return ratio_of(self.both, self.union)

    @property
    def precision(self) -> Ratio:
        """Share of the predicted cells that are true; NaN where nothing is predicted."""
        return ratio_of(self.both, self.predicted)

    @property
    def recall(self) -> Ratio:
        """Share of the true cells that are predicted; NaN where nothing is true."""
        return ratio_of(self.both, self.true)


def overlap(predicted: Bool[Tensor, "*shape"], true: Bool[Tensor, "*shape"]) -> Overlap:
    """Count the cells that are predicted, true and both."""
    return Overlap((predicted & true).sum(), predicted.sum(), true.sum())

"""The segmentation loss, always in float32."""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from occfeat.machine.waiting import numbers_like


def segmentation_loss(
    logits: Float[Tensor, "B K X Y"],
    target: Bool[Tensor, "B K X Y"],
    counted: Bool[Tensor, "B K X Y"],
    positive_weight: float,
) -> Float[Tensor, ""]:
    """Return the binary cross-entropy averaged over the counted cells; positives weigh `positive_weight`.

    0 if no cell counts. Source: Simple-BEV's loss, weight 2.13.
    """
    logits = logits.float()
    (weight,) = numbers_like((positive_weight,), logits)
    loss = F.binary_cross_entropy_with_logits(
        logits, target.to(logits.dtype), pos_weight=weight, reduction="none"
    )
    return (loss * counted).sum() / counted.sum().clamp(min=1)

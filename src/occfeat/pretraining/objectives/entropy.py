"""The cross-entropy of what is there or not, over the cells that count.

Axes: `*cells` key frames, and cells or voxels.
"""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def mean_entropy(
    logits: Float[Tensor, "*cells"],
    there: Bool[Tensor, "*cells"],
    counted: Bool[Tensor, "*cells"] | None = None,
) -> Float[Tensor, ""]:
    """Return the binary cross-entropy in float32, averaged over all cells or over those that count.

    0 if there are no cells, or none counts.
    """
    logits = logits.float()
    if counted is None and not logits.numel():
        return logits.sum()
    if counted is None:
        return F.binary_cross_entropy_with_logits(logits, there.to(logits.dtype))
    total = F.binary_cross_entropy_with_logits(
        logits, there.to(logits.dtype), weight=counted.to(logits.dtype), reduction="sum"
    )
    return total / counted.sum().clamp(min=1)

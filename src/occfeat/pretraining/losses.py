"""The two losses of the paper, always in float32 (paper section 3).

Axes: `B` key frames, `X Y Z` voxels, `K` voxels with a teacher feature, `F` teacher channels.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def occupancy_loss(
    logits: Float[Tensor, "B X Y Z"],
    occupied: Bool[Tensor, "B X Y Z"],
    known: Bool[Tensor, "B X Y Z"] | None = None,
) -> Float[Tensor, ""]:
    """Binary cross-entropy, averaged over all voxels, or over the known ones; 0 if none is known."""
    logits = logits.float()
    if known is None:
        return F.binary_cross_entropy_with_logits(logits, occupied.to(logits.dtype))
    total = F.binary_cross_entropy_with_logits(
        logits, occupied.to(logits.dtype), weight=known.to(logits.dtype), reduction="sum"
    )
    return total / known.sum().clamp(min=1)


def cosine(predicted: Float[Tensor, "K F"], target: Float[Tensor, "K F"]) -> Float[Tensor, " K"]:
    """Cosine similarity of each predicted feature and its target, -1 to 1; 0 where one of them is zero.

    Made of row-wise products that write nothing of the size of the features; `F.cosine_similarity`, which it
    equals, writes several such arrays.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        predicted, target = predicted.float(), target.float()
        product = torch.linalg.vecdot(predicted, target)
        lengths = torch.linalg.vector_norm(predicted, dim=-1) * torch.linalg.vector_norm(target, dim=-1)
        return product / lengths.clamp_min(1e-8)


def feature_loss(similarity: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """Negative cosine similarity, averaged over the voxels that have a target; 0 if there is none."""
    return -similarity.sum() / max(1, len(similarity))

"""Deformable attention in plain PyTorch: every query samples a few predicted positions.

Axes: `M` maps, `G` heads, `D` channels per head, `C` = G * D channels, `h w` cells of a map, `Q` queries, `P`
positions per query and head.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn


def deformable_attention(
    values: Float[Tensor, "M G D h w"],
    positions: Float[Tensor, "M G Q P 2"],
    weights: Float[Tensor, "M G Q P"],
) -> Float[Tensor, "M Q C"]:
    """Return weighted sums of values read bilinearly at each query's positions (Deformable DETR, equation 2).

    Everything is computed in the type of `values`; call it with float32 under autocast too.

    Args:
        values: One map per head.
        positions: (x, y) as shares of width and height: (0, 0) is the outer corner of the first cell, and its
            centre lies half a cell inside. Outside of the map values are 0.
        weights: Attention to each position.
    """
    maps, heads = values.shape[:2]
    read = F.grid_sample(
        values.flatten(0, 1), (2 * positions - 1).flatten(0, 1), padding_mode="zeros", align_corners=False
    )  # (M G, D, Q, P)
    summed = (read * weights.flatten(0, 1)[:, None]).sum(-1)
    return summed.view(maps, -1, summed.shape[-1]).transpose(1, 2).reshape(maps, -1, heads * values.shape[2])


class PositionChooser(nn.Module):
    """Predicts sampling offsets in cells and attention logits from each query.

    Initially, each head samples in a different direction, one cell further with each position, with equal
    attention (Deformable DETR, appendix A.4).

    Args:
        channels: Channels of the queries.
        heads: Attention heads.
        positions: Positions per head.
    """

    def __init__(self, channels: int, heads: int, positions: int) -> None:
        super().__init__()
        self.shape = (heads, positions)
        self.offsets = nn.Linear(channels, heads * positions * 2)
        self.attention = nn.Linear(channels, heads * positions)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.attention.weight)
        nn.init.zeros_(self.attention.bias)
        angle = torch.arange(heads) * (2 * math.pi / heads)
        direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        ring = direction[:, None] * (1 + torch.arange(positions))[:, None]
        with torch.no_grad():
            self.offsets.bias.copy_(ring.flatten())

    def forward(
        self, queries: Float[Tensor, "M Q C"]
    ) -> tuple[Float32[Tensor, "M G Q P 2"], Float32[Tensor, "M G Q P"]]:
        """Return offsets (x, y) in cells, and logits of the attention."""
        offsets = self.offsets(queries).float().unflatten(-1, (*self.shape, 2)).transpose(1, 2)
        logits = self.attention(queries).float().unflatten(-1, self.shape).transpose(1, 2)
        return offsets, logits


def split_heads(maps: Float[Tensor, "M C h w"], heads: int) -> Float32[Tensor, "M G D h w"]:
    """Return the channels of each head, in float32: positions need more digits than bfloat16 has."""
    return maps.float().reshape(len(maps), heads, -1, *maps.shape[2:])

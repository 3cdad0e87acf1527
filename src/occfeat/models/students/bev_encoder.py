"""The BEV network: a ResNet-18 without its last stage, and a decoder back to the full grid.

Axes: `B` key frames, `C` channels, `X Y` BEV cells (x forward, y left).
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occfeat.models.recompute import Recomputable

STAGES = (64, 128, 256)
"""Channels at 1/2, 1/4 and 1/8 of the grid (ResNet-18's first three stages, as in Simple-BEV)."""
CHANNELS_PER_GROUP = 16
"""Size of a group that is normalised together."""


class BevEncoder(nn.Module):
    """Spreads information over the BEV grid and keeps its size.

    Simple-BEV normalises over the batch. Here groups of channels of one key frame are normalised (this
    project's choice): batches are small on large grids, and a key frame then gives the same result alone, in
    a batch, in training and in use.

    Args:
        channels: Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half, quarter, eighth = STAGES
        self.stem = nn.Sequential(
            nn.Conv2d(channels, half, 7, stride=2, padding=3, bias=False), _norm(half), nn.ReLU()
        )
        self.stage_half = nn.Sequential(ResidualBlock(half, half), ResidualBlock(half, half))
        self.stage_quarter = nn.Sequential(ResidualBlock(half, quarter, 2), ResidualBlock(quarter, quarter))
        self.stage_eighth = nn.Sequential(ResidualBlock(quarter, eighth, 2), ResidualBlock(eighth, eighth))
        self.up_quarter = UpBlock(eighth, quarter, quarter)
        self.up_half = UpBlock(quarter, half, half)
        self.up_full = UpBlock(half, channels, channels)

    def forward(self, bev: Float[Tensor, "B C X Y"]) -> Float[Tensor, "B C X Y"]:
        """Return BEV features of the same grid, each of which has seen its surroundings."""
        half = self.stage_half(self.stem(bev))
        quarter = self.stage_quarter(half)
        eighth = self.stage_eighth(quarter)
        return self.up_full(self.up_half(self.up_quarter(eighth, quarter), half), bev)


class ResidualBlock(Recomputable):
    """Two 3x3 convolutions beside a shortcut; starts as the shortcut alone."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        last_norm = _norm(outputs)
        nn.init.zeros_(last_norm.weight)
        self.convolutions = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            _norm(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            last_norm,
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(outputs))

    def forward(self, bev: Float[Tensor, "B C X Y"]) -> Float[Tensor, "B C2 X2 Y2"]:
        """Return features of a grid `stride` times as coarse."""
        return F.relu(self.convolutions(bev) + self.shortcut(bev))


class UpBlock(Recomputable):
    """Upsamples coarse features to a finer grid and adds the features of that grid."""

    def __init__(self, coarse: int, fine: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(coarse, outputs, 1, bias=False), _norm(outputs))
        self.skip = nn.Identity() if fine == outputs else nn.Conv2d(fine, outputs, 1)

    def forward(
        self, coarse: Float[Tensor, "B C2 X2 Y2"], fine: Float[Tensor, "B C X Y"]
    ) -> Float[Tensor, "B C3 X Y"]:
        """Return features of the finer grid."""
        resized = F.interpolate(
            self.project(coarse), size=fine.shape[-2:], mode="bilinear", align_corners=False
        )
        return resized + self.skip(fine)


def _norm(channels: int) -> nn.GroupNorm:
    """Return a normalisation in groups of `CHANNELS_PER_GROUP`, if that divides the channels, or of all."""
    groups = channels // CHANNELS_PER_GROUP if channels % CHANNELS_PER_GROUP == 0 else 1
    return nn.GroupNorm(groups, channels)

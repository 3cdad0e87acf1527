"""The pretraining head: BEV features back to voxels, then occupancy and teacher features (paper section 3).

Axes: `B` key frames, `C` BEV channels, `D` channels per voxel, `E` those that features are read from, `X Y Z`
voxels, `K` chosen voxels, `F` teacher channels, `Q` queries.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from occfeat.models.recompute import Recomputable
from occfeat.pretraining.queries import Queries, QueryDecoder
from occfeat.settings.sections import HeadConfig


class Voxels(NamedTuple):
    """What the head knows of every voxel."""

    shared: Float[Tensor, "B D X Y Z"]
    """Occupancy is read from these."""
    own: Float[Tensor, "B E X Y Z"]
    """Teacher features are read from these: the shared ones, or those of a branch, not yet activated."""


class PretrainingHead(nn.Module):
    """Unsplatting, 3-D convolution blocks and two linear outputs per voxel; thrown away afterwards.

    Args:
        bev_channels: Channels of the student's BEV features.
        heights: Number of voxels along z.
        feature_channels: Width of the teacher; 0 builds no feature output.
        config: Channels per voxel, number of blocks, branch for the features.
        queries: Build the output for query points (Img-ALSO).
    """

    def __init__(
        self,
        bev_channels: int,
        heights: int,
        feature_channels: int,
        config: HeadConfig,
        queries: bool = False,
    ) -> None:
        super().__init__()
        self.heights = heights
        self.unsplat = nn.Conv2d(bev_channels, config.channels * heights, kernel_size=1)
        self.blocks = nn.Sequential(*(VoxelBlock(config.channels) for _ in range(config.blocks)))
        self.occupancy = nn.Conv3d(config.channels, 1, kernel_size=1)
        own = config.feature_channels if feature_channels else None
        self.branch = None if own is None else nn.Conv2d(bev_channels, own * heights, kernel_size=1)
        self.activation = nn.Identity() if own is None else nn.GELU()
        self.features = nn.Linear(own or config.channels, feature_channels) if feature_channels else None
        self.queries = QueryDecoder(config.channels) if queries else None

    def forward(self, bev: Float[Tensor, "B C X Y"]) -> Voxels:
        """Features of all voxels, from which both outputs are read."""
        shared = self.blocks(self._unsplat(self.unsplat(bev))).permute(0, 1, 3, 4, 2)
        if self.branch is None:
            return Voxels(shared, shared)
        return Voxels(shared, self._unsplat(self.branch(bev)).permute(0, 1, 3, 4, 2))

    def _unsplat(self, columns: Float[Tensor, "B DZ X Y"]) -> Float[Tensor, "B D Z X Y"]:
        batch, _, x, y = columns.shape
        return columns.view(batch, -1, self.heights, x, y)  # no copy

    def occupancy_logits(self, voxels: Voxels) -> Float[Tensor, "B X Y Z"]:
        """Logit of each voxel being occupied."""
        # A matrix product over channels leaves the memory order of the volume as it is.
        logits = self.occupancy(voxels.shared.permute(0, 1, 4, 2, 3))
        return logits[:, 0].permute(0, 2, 3, 1)

    def features_at(self, voxels: Voxels, cells: Int64[Tensor, "K 4"]) -> Float[Tensor, "K F"]:
        """Predicted teacher features of the chosen voxels, each (key frame, x, y, z).

        The output depends on its own voxel alone, so the few chosen voxels are gathered first and only they
        are projected to the teacher's width: the numbers of projecting all, for a fraction of the memory.
        """
        if self.features is None:
            raise ValueError("this head was built without a feature output")
        key_frame, x, y, z = cells.unbind(1)
        return self.features(self.activation(voxels.own[key_frame, :, x, y, z]))

    def query_logits(self, voxels: Voxels, queries: Queries) -> Float[Tensor, " Q"]:
        """Logit of each query point being occupied."""
        if self.queries is None:
            raise ValueError("this head was built without an output for queries")
        return self.queries(voxels.shared, queries)


class VoxelBlock(Recomputable, nn.Sequential):
    """A 3-D convolution; group norm, not batch norm: the same in training and evaluation, whatever the batch.

    Args:
        channels: Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            ChannelsLastConv3d(channels, channels, kernel_size=3, padding=1, bias=False),
            nn.GroupNorm(1, channels),
            nn.GELU(),
        )


class ChannelsLastConv3d(nn.Conv3d):
    """A convolution that computes with the channels last; volumes come and go with them first.

    On some processors its backward pass is then faster, on others it makes no difference
    (`benchmarks/head.py`); what follows it is faster with the channels first.
    """

    def forward(self, volume: Float[Tensor, "B D Z X Y"]) -> Float[Tensor, "B D Z X Y"]:
        """Convolve."""
        return super().forward(volume.contiguous(memory_format=torch.channels_last_3d)).contiguous()

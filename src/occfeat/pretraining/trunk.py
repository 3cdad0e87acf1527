"""The trunk of the pretraining head: BEV features back to voxels (paper section 3).

Axes: `B` key frames, `C` BEV channels, `D` channels per voxel, `X Y Z` voxels.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from occfeat.models.lean import ConvolutionNormGelu
from occfeat.models.recompute import Recomputable
from occfeat.settings.sections import HeadConfig


class Trunk(nn.Module):
    """Unsplatting and 3-D convolution blocks; discarded after pretraining, like the outputs.

    Args:
        bev_channels: Channels of the student's BEV features.
        heights: Number of voxels along z.
        config: Channels per voxel and number of blocks.
    """

    def __init__(self, bev_channels: int, heights: int, config: HeadConfig) -> None:
        super().__init__()
        self.heights = heights
        self.unsplat = nn.Conv2d(bev_channels, config.channels * heights, kernel_size=1)
        self.blocks = nn.Sequential(*(VoxelBlock(config.channels) for _ in range(config.blocks)))

    def forward(self, bev: Float[Tensor, "B C X Y"]) -> Float[Tensor, "B D X Y Z"]:
        """Return features of all voxels."""
        return self.blocks(unsplat(self.unsplat(bev), self.heights)).permute(0, 1, 3, 4, 2)


def unsplat(columns: Float[Tensor, "B DZ X Y"], heights: int) -> Float[Tensor, "B D Z X Y"]:
    """Split the channels of each BEV cell into those of the voxels above it, as a view."""
    batch, _, x, y = columns.shape
    return columns.view(batch, -1, heights, x, y)


class VoxelBlock(Recomputable, ConvolutionNormGelu):
    """A 3-D convolution with group norm, which is independent of the batch and the mode, unlike batch norm.

    Args:
        channels: Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            VoxelConvolution(channels, channels, kernel_size=3, padding=1, bias=False),
            nn.GroupNorm(1, channels),
        )


class VoxelConvolution(nn.Conv3d):
    """A 3-D convolution in the memory layout that suits the processor; inputs and outputs are channels-first.

    With AVX-512 its backward pass is faster channels-last, copies included. With AVX2 both layouts take the
    same time, and channels-first needs neither copies nor their memory (`benchmarks/models/head.py`).
    """

    def forward(self, volume: Float[Tensor, "B D Z X Y"]) -> Float[Tensor, "B D Z X Y"]:
        """Convolve a volume."""
        if volume.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() != "AVX512":
            return super().forward(volume)
        return super().forward(volume.contiguous(memory_format=torch.channels_last_3d)).contiguous()

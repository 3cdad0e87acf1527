"""Less memory for more time: activations that the backward pass computes anew instead of keeping them."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from occfeat.models import bevformer
from occfeat.models.bev_encoder import ResidualBlock, UpBlock
from occfeat.pretraining.head import VoxelBlock

RECOMPUTED = (ResidualBlock, UpBlock, bevformer.Layer, VoxelBlock)
"""What grows with the grid. None of them counts statistics or draws random numbers: twice gives the same."""


def recompute_activations(network: nn.Module) -> None:
    """From now on keep only what goes into the blocks that grow with the grid; results stay the same."""
    for module in network.modules():
        if isinstance(module, RECOMPUTED):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)  # type: ignore[method-assign]

"""Plain vision transformers as image encoders, such as DINOv2, tuned by low-rank updates or not at all.

Images are padded at the right and at the bottom to whole patches; patch features are then read bilinearly at
the centres of the cells of stride 8.

Axes: `M` images, `H W` image in pixels, `D` channels of the transformer, `h w` feature cells of stride 8.
"""

from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.utils import parametrize

from occfeat.models.encoders.encoder import STRIDE_PX, ImageEncoder, NeckMaker, default_neck, feature_size
from occfeat.models.lifting.sampling import sample_at_pixels
from occfeat.models.weights.hub import refuse_unknown


def is_transformer(name: str) -> bool:
    """Return whether a timm name is that of a plain vision transformer.

    Raises:
        SettingsError: timm has no network of this name.
    """
    refuse_unknown(name)
    with torch.device("meta"):
        return isinstance(timm.create_model(name), VisionTransformer)


class VitEncoder(ImageEncoder):
    """Image features from the last block of a vision transformer, behind its final LayerNorm.

    Args:
        backbone: timm name of a plain vision transformer.
        channels: Channels of the features.
        freeze_backbone: Whether to freeze the transformer.
        blocks: Blocks to keep, the first ones; None keeps all.
        make_neck: Makes the neck.
    """

    def __init__(
        self,
        backbone: str,
        channels: int,
        *,
        freeze_backbone: bool = False,
        blocks: int | None = None,
        make_neck: NeckMaker = default_neck,
    ) -> None:
        transformer: Any = timm.create_model(backbone, num_classes=0, dynamic_img_size=True)
        transformer.blocks = transformer.blocks[:blocks]
        transformer.attn_pool = None  # of whole images, which some networks have: nothing would read it
        super().__init__(backbone, transformer, transformer.embed_dim, channels, make_neck)
        self.patch_px: int = transformer.patch_embed.patch_size[0]
        if freeze_backbone:
            self.freeze((transformer,))

    def read(self, normal: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M D h w"]:
        """Return patch features at the centres of the cells."""
        height, width = normal.shape[-2:]
        padded = F.pad(normal, (0, -width % self.patch_px, 0, -height % self.patch_px))
        last = len(self.backbone.blocks) - 1
        (patches,) = self.backbone.forward_intermediates(
            padded, indices=[last], norm=True, output_fmt="NCHW", intermediates_only=True
        )
        # Networks that average their patches have their final LayerNorm here, and none as `norm`.
        patches = self.backbone.fc_norm(patches.movedim(1, -1)).movedim(-1, 1)
        rows, columns = feature_size((height, width))
        y, x = ((torch.arange(count, device=normal.device) + 0.5) * STRIDE_PX for count in (rows, columns))
        centers = torch.stack((x.expand(rows, -1), y[:, None].expand(-1, columns)), dim=-1).flatten(0, 1)
        covered = (padded.shape[-2], padded.shape[-1])
        read = sample_at_pixels(patches, centers.expand(len(normal), -1, -1), covered)
        return read.view(*read.shape[:2], rows, columns)

    def add_low_rank(self, rank: int) -> None:
        """Freeze the transformer and train low-rank updates of its attention (LoRA, arXiv 2106.09685).

        Call it after loading the weights of the transformer, because it renames them.
        """
        self.freeze((self.backbone,))
        for block in self.backbone.blocks:
            for layer in (block.attn.qkv, block.attn.proj):
                parametrize.register_parametrization(layer, "weight", LowRankUpdate(layer, rank))


class LowRankUpdate(nn.Module):
    """Adds a matrix of low rank to the weight of a linear layer; nothing at first.

    Args:
        layer: The layer.
        rank: Rank of the matrix.
    """

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, layer.in_features))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: Float[Tensor, "O I"]) -> Float[Tensor, "O I"]:
        """Return the updated weight."""
        return weight + self.up @ self.down

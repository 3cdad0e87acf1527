"""A vision transformer as teacher.

Axes: `M` images, `H W` image in pixels, `D` channels, `h w` patches.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from occfeat.errors import SettingsError
from occfeat.teacher.network import IMAGENET, Colors, Teacher, require_blocks


class TransformerTeacher(Teacher):
    """Patch features of blocks of a timm vision transformer, without class and register tokens.

    Args:
        transformer: timm network for any image size. Its blocks after the last of `blocks` are dropped.
        blocks: Indices of the blocks whose outputs are concatenated, from 0.
        normalize: Apply the network's final LayerNorm to each of them.
        colors: Colours of its training images.

    Raises:
        SettingsError: A block or the LayerNorm does not exist, or the patches are not square.
    """

    def __init__(
        self, transformer: Any, blocks: Sequence[int], normalize: bool, colors: Colors = IMAGENET
    ) -> None:
        _check(transformer, blocks, normalize)
        patch_px = transformer.patch_embed.patch_size[0]
        super().__init__((transformer.embed_dim * len(blocks),), patch_px, colors)
        self.blocks = sorted(blocks)
        transformer.blocks = transformer.blocks[: self.blocks[-1] + 1]
        self.transformer: Any = transformer
        self.normalize = normalize
        self.freeze()

    def encode(self, normal: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M D h w"]:
        """Return the features of normalised images."""
        features = self.transformer.forward_intermediates(
            normal, indices=self.blocks, norm=self.normalize, output_fmt="NCHW", intermediates_only=True
        )
        return features[0] if len(features) == 1 else torch.cat(features, dim=1)


def _check(transformer: Any, blocks: Sequence[int], normalize: bool) -> None:
    """Refuse a network, blocks or a normalisation without patch features."""
    if not hasattr(transformer, "blocks") or not hasattr(transformer, "forward_intermediates"):
        name = type(transformer).__name__
        hint = "Use one such as vit_small_patch14_dinov2.lvd142m or resnet50."
        raise SettingsError(f"{name} is not a plain vision transformer.", hint=hint)
    require_blocks(blocks, len(transformer.blocks), "block")
    if normalize and isinstance(transformer.norm, nn.Identity):
        raise SettingsError("The teacher has no final LayerNorm.", hint="Set teacher.normalize to false.")
    height_px, width_px = transformer.patch_embed.patch_size
    if height_px != width_px:
        what = f"Expected a teacher of square patches, got {height_px} x {width_px} pixels."
        raise SettingsError(what, hint="Use one such as vit_small_patch14_dinov2.lvd142m.")

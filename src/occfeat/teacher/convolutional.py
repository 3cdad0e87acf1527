"""A convolutional network as teacher: any timm network with `features_only`.

Axes: `M` images, `H W` image in pixels, `D` channels, `h w` cells of the finest stage that is used.
"""

from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from occfeat.errors import SettingsError
from occfeat.teacher.network import IMAGENET, Colors, Teacher, require_blocks

DEFAULT_STRIDE_PX = 16
"""Stride of the stage that is used by default, about that of a transformer's patches."""


class ConvolutionalTeacher(Teacher):
    """Features of stages of a timm network, concatenated at the size of the finest one.

    Args:
        name: timm name of the network, which gets random weights.
        stages: Indices of the stages, from 0. None: the deepest one with a stride of 16 pixels or less.
        normalize: Normalise the features of each stage over its channels, as a LayerNorm without weights
            does. A network with convolutions has no LayerNorm that could be used.
        colors: Colours of its training images.

    Raises:
        SettingsError: The network has no such stages for images of any size.
    """

    def __init__(
        self, name: str, stages: Sequence[int] | None, normalize: bool, colors: Colors = IMAGENET
    ) -> None:
        used = _find_stages(name, stages)
        network: Any = timm.create_model(name, features_only=True, out_indices=used)
        strides_px = network.feature_info.reduction()
        super().__init__((sum(network.feature_info.channels()),), min(strides_px), colors)
        self.multiple_px = max(strides_px)
        self.network = network
        self.normalize = normalize
        self.freeze()

    def encode(self, normal: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M D h w"]:
        """Return the features of normalised images."""
        maps = self.network(normal)
        if self.normalize:
            maps = [F.layer_norm(one.movedim(1, -1), one.shape[1:2]).movedim(-1, 1) for one in maps]
        size = maps[0].shape[-2:]  # the finest
        return torch.cat([F.interpolate(one.float(), size, mode="bilinear") for one in maps], dim=1)


def _find_stages(name: str, stages: Sequence[int] | None) -> tuple[int, ...]:
    """Return the stages to use, in order; tried without memory on images of two sizes.

    Raises:
        SettingsError: The network has no stages, not these, or not for images of any size.
    """
    try:
        with torch.device("meta"):
            network: Any = timm.create_model(name, features_only=True).eval()
            strides_px = list(network.feature_info.reduction())
            right = all(
                [tuple(one.shape[-2:]) for one in network(torch.zeros(1, 3, *size))]
                == [(size[0] // stride, size[1] // stride) for stride in strides_px]
                for size in ((64, 128), (192, 64))
            )
    except Exception as error:  # any error of a network without stages, or for one size alone
        raise _unsuitable(name) from error
    if not right:
        raise _unsuitable(name)
    if stages is None:
        fine = [number for number, stride in enumerate(strides_px) if stride <= DEFAULT_STRIDE_PX]
        return (fine[-1],) if fine else (0,)
    require_blocks(stages, len(strides_px), "stage")
    return tuple(sorted(stages))


def _unsuitable(name: str) -> SettingsError:
    """Return the error for a network that gives no maps of known strides."""
    return SettingsError(
        f"The teacher {name} is neither a plain vision transformer nor has it stages for images of any size.",
        hint="Use one such as vit_small_patch14_dinov2.lvd142m or resnet50.",
    )

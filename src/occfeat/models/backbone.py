"""The student's image encoder: a timm backbone and a neck that joins two of its scales at stride 8.

Axes: `M` images, `H W` image in pixels, `C` channels, `h w` feature cells.

Cell (i, j) of the features stands for the square of `STRIDE_PX` pixels whose upper left corner is at
(j * STRIDE_PX, i * STRIDE_PX). Images whose size is no multiple of 16 are padded at the right and at the
bottom, which leaves the cells where they are; the last ones then reach over the border of the image.
"""

import math
from collections.abc import Callable
from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from occfeat.errors import SettingsError
from occfeat.models.hub import color_statistics, refuse_unknown

STRIDE_PX = 8
"""Pixels of the image along each side of a feature cell."""
DEEP_STRIDE_PX = 16
"""Pixels along each side of a cell of the deepest stage that is used (Simple-BEV's choice)."""


class ImageEncoder(nn.Module):
    """Image features at stride 8 from the stride 8 and stride 16 stages of a timm network.

    As in Simple-BEV the deeper map is doubled in size, joined to the finer one and mixed by a neck.

    Args:
        backbone: timm name of a network with `features_only` and stages at strides 8 and 16.
        channels: Channels of the features.
        freeze_stem: Keep the layers up to stride 8 as they are, in training too.
        make_neck: Makes what mixes the joined maps, given their channels and those of the features.

    Raises:
        SettingsError: timm has no such network, or not as a pyramid of these strides.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str,
        channels: int,
        *,
        freeze_stem: bool = False,
        make_neck: Callable[[int, int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.backbone: Any = _create_backbone(backbone)
        self._frozen = _stem(self.backbone) if freeze_stem else ()
        for layer in self._frozen:
            layer.requires_grad_(False)
        fine, deep = self.backbone.feature_info.channels()
        self.neck = (make_neck or _neck)(fine + deep, channels)
        self.register_buffer("mean", torch.empty(3))  # saved with the weights they belong to
        self.register_buffer("std", torch.empty(3))
        self.set_normalization(*color_statistics(backbone))
        self.to(memory_format=torch.channels_last)  # faster on processors; only the rounding differs

    def set_normalization(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """State what the backbone's weights expect: (pixel / 255 - mean) / std per colour."""
        self.mean.copy_(torch.tensor(mean))
        self.std.copy_(torch.tensor(std))

    def train(self, mode: bool = True) -> "ImageEncoder":
        """Switch to training or evaluation; frozen layers stay in evaluation."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self

    def forward(self, images: UInt8[Tensor, "M 3 H W"]) -> Float[Tensor, "M C h w"]:
        """Features of RGB images; `h` and `w` are those of `feature_size`."""
        return self.encode_colors(images.to(self.mean.dtype) / 255)

    def encode_colors(self, colors: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M C h w"]:
        """Features of RGB images whose values are 0 to 1."""
        height, width = feature_size((colors.shape[-2], colors.shape[-1]))
        normal = (colors - self.mean[:, None, None]) / self.std[:, None, None]
        fine, deep = self.backbone(_pad(normal))
        doubled = F.interpolate(deep, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.neck(torch.cat((fine, doubled), dim=1))[..., :height, :width]


def _neck(inputs: int, channels: int) -> nn.Sequential:
    """Two convolutions, normalised within each image, which treats it alike in training and in use."""
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 3, padding=1, bias=False),
        nn.InstanceNorm2d(channels, affine=True),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.InstanceNorm2d(channels, affine=True),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1),
    )


def feature_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in cells of the features of an image of (height, width) pixels."""
    return math.ceil(image_size[0] / STRIDE_PX), math.ceil(image_size[1] / STRIDE_PX)


def _pad(images: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M 3 H2 W2"]:
    """Append rows and columns of the mean colour, up to multiples of the deepest stride."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % DEEP_STRIDE_PX, 0, -height % DEEP_STRIDE_PX))


def _create_backbone(name: str) -> Any:
    refuse_unknown(name)
    try:
        with torch.device("meta"):
            whole: Any = timm.create_model(name, features_only=True)
        reductions = whole.feature_info.reduction()
        stages = (reductions.index(STRIDE_PX), reductions.index(DEEP_STRIDE_PX))
        backbone: Any = timm.create_model(name, features_only=True, out_indices=stages)
    except (ValueError, RuntimeError, AttributeError) as error:
        raise _unsuitable(name) from error
    if getattr(backbone, "output_fmt", "NCHW") != "NCHW":  # windowed transformers of fixed image size
        raise _unsuitable(name)
    _cut_unused_blocks(backbone)
    return backbone


def _unsuitable(name: str) -> SettingsError:
    return SettingsError(
        f"Backbone {name} has no stages at strides {STRIDE_PX} and {DEEP_STRIDE_PX} for images of any size.",
        hint="Take a convolutional network, such as efficientnet_b0 or resnet50.",
    )


def _stem(backbone: Any) -> tuple[nn.Module, ...]:
    """The layers up to stride 8, in their order."""
    last = backbone.feature_info.module_name()[0].replace(".", "_")
    layers = []
    for name, child in backbone.named_children():
        parts = child.named_children() if name == "blocks" else [("", child)]
        for part, layer in parts:
            layers.append(layer)
            if "_".join(filter(None, (name, part))) == last:
                return tuple(layers)
    raise SettingsError(
        "This backbone does not say which of its layers lie up to stride 8.",
        hint="Set student.freeze_stem to false.",
    )


def _cut_unused_blocks(backbone: Any) -> None:
    """Drop blocks behind the deepest stage, which timm keeps in networks of the EfficientNet family."""
    parts = backbone.feature_info.module_name()[-1].split(".")
    if len(parts) == 2 and parts[0] == "blocks" and isinstance(backbone.blocks, nn.Sequential):
        backbone.blocks = backbone.blocks[: int(parts[1]) + 1]

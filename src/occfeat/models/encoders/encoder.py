"""The student's image encoder: a timm network, and a neck that turns its output into features at stride 8.

Axes: `M` images, `H W` image in pixels, `C` channels, `D` channels of the network, `h w` feature cells.

Cell (i, j) of the features stands for the square of `STRIDE_PX` pixels whose upper left corner is at
(j * STRIDE_PX, i * STRIDE_PX).
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float, UInt8
from timm.models import group_parameters
from torch import Tensor, nn

from occfeat.errors import SettingsError
from occfeat.models.weights.hub import color_statistics

STRIDE_PX = 8
"""Pixels of the image along each side of a feature cell."""

NeckMaker = Callable[[int, int], nn.Module]
"""Makes a neck, given its input and its output channels."""


def default_neck(width: int, channels: int) -> nn.Module:
    """Return two convolutions, normalised within each image, which treats it alike in training and in use."""
    return nn.Sequential(
        nn.Conv2d(width, channels, 3, padding=1, bias=False),
        nn.InstanceNorm2d(channels, affine=True),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.InstanceNorm2d(channels, affine=True),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 1),
    )


class ImageEncoder(nn.Module):
    """Base class of image encoders: colour normalisation, frozen layers and the neck.

    Args:
        name: timm name of the network, which determines the colour normalisation.
        backbone: The network.
        width: Channels of the output of `read`.
        channels: Channels of the features.
        make_neck: Makes the neck.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, name: str, backbone: Any, width: int, channels: int, make_neck: NeckMaker = default_neck
    ) -> None:
        super().__init__()
        self.channels = channels
        self.backbone: Any = backbone
        self._frozen: tuple[nn.Module, ...] = ()
        self.neck = make_neck(width, channels)
        self.register_buffer("mean", torch.empty(3))  # saved with the weights they belong to
        self.register_buffer("std", torch.empty(3))
        self.set_normalization(*color_statistics(name))
        self.to(memory_format=torch.channels_last)  # faster on processors; only the rounding differs

    def set_normalization(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """State what the backbone's weights expect: (pixel / 255 - mean) / std per colour."""
        self.mean.copy_(torch.tensor(mean))
        self.std.copy_(torch.tensor(std))

    def freeze(self, layers: Iterable[nn.Module]) -> None:
        """Freeze layers, including their batch statistics."""
        self._frozen = tuple(layers)
        for layer in self._frozen:
            layer.requires_grad_(False)

    def train(self, mode: bool = True) -> "ImageEncoder":
        """Set training or evaluation mode; frozen layers stay in evaluation mode."""
        super().train(mode)
        for layer in self._frozen:
            layer.eval()
        return self

    def forward(self, images: UInt8[Tensor, "M 3 H W"]) -> Float[Tensor, "M C h w"]:
        """Return the features of RGB images; `h` and `w` are those of `feature_size`."""
        return self.encode_colors(images.to(self.mean.dtype) / 255)

    def encode_colors(self, colors: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M C h w"]:
        """Return the features of RGB images whose values are 0 to 1."""
        height, width = feature_size((colors.shape[-2], colors.shape[-1]))
        normal = (colors - self.mean[:, None, None]) / self.std[:, None, None]
        return self.neck(self.read(normal))[..., :height, :width]

    def layers(self) -> list[list[nn.Parameter]]:
        """Return the parameters of the backbone by layer, from the image to the neck.

        Raises:
            SettingsError: timm does not know the layers of this network.
        """
        layers: dict[int, list[nn.Parameter]] = {}
        numbers = self.layer_numbers()
        for name, parameter in self.backbone.named_parameters():
            if name not in numbers:
                raise SettingsError(
                    f"timm does not know which layer of {type(self.backbone).__name__} {name} belongs to.",
                    hint="Set optim.layer_decay to 1.",
                )
            layers.setdefault(numbers[name], []).append(parameter)
        return [layers[number] for number in sorted(layers)]

    def layer_numbers(self) -> dict[str, int]:
        """Return the number of the layer of each parameter of the backbone, as timm groups them."""
        return group_layers(self.backbone)

    def read(self, normal: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M D h2 w2"]:
        """Return features at stride 8, with at least as many cells as `feature_size`."""
        raise NotImplementedError


def group_layers(network: Any) -> dict[str, int]:
    """Return the layer of each parameter of a network of timm, counted from the image; empty for others."""
    if not hasattr(network, "group_matcher"):
        return {}
    return dict(group_parameters(network, network.group_matcher(coarse=False), reverse=True))


def feature_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) in cells of the features of an image of (height, width) pixels."""
    return math.ceil(image_size[0] / STRIDE_PX), math.ceil(image_size[1] / STRIDE_PX)

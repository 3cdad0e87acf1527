"""Convolutional networks as image encoders: two stages of a timm network, joined at stride 8.

Images whose size is not a multiple of 16 are padded at the right and at the bottom. That leaves the cells
where they are; the last ones then reach over the border of the image.

Axes: `M` images, `H W` image in pixels, `D` channels of the network, `h2 w2` feature cells of the padded
image.
"""

from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from occfeat.errors import SettingsError
from occfeat.models.encoders.encoder import STRIDE_PX, ImageEncoder, NeckMaker, default_neck, group_layers
from occfeat.models.lean import make_lean
from occfeat.models.weights.hub import refuse_unknown
from occfeat.models.weights.parts import shared_name

DEEP_STRIDE_PX = 16
"""Pixels along each side of a cell of the deepest stage that is used (Simple-BEV's choice)."""
TRIAL_SIZE_PX = (48, 80)
"""Height and width that a backbone must take: multiples of 16, as images are padded to, but not of 32."""


class PyramidEncoder(ImageEncoder):
    """Image features from the stride 8 and stride 16 stages of a timm network.

    As in Simple-BEV the deeper map is doubled in size and joined to the finer one.

    Args:
        backbone: timm name of a network with `features_only` and stages at strides 8 and 16.
        channels: Channels of the features.
        freeze_stem: Whether to freeze the layers up to stride 8.
        freeze_backbone: Whether to freeze all layers of the network.
        make_neck: Makes the neck, which mixes the joined maps.

    Raises:
        SettingsError: timm has no such network, or not as a pyramid of these strides.
    """

    def __init__(
        self,
        backbone: str,
        channels: int,
        *,
        freeze_stem: bool = False,
        freeze_backbone: bool = False,
        make_neck: NeckMaker = default_neck,
    ) -> None:
        network = _create_backbone(backbone)
        super().__init__(backbone, network, sum(network.feature_info.channels()), channels, make_neck)
        self._name = backbone
        if freeze_backbone:
            self.freeze((network,))
        elif freeze_stem:
            self.freeze(_stem(network))

    def read(self, normal: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M D h2 w2"]:
        """Return both stages at stride 8."""
        fine, deep = self.backbone(_pad(normal))
        doubled = F.interpolate(deep, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat((fine, doubled), dim=1)

    def layer_numbers(self) -> dict[str, int]:
        """Return the number of the layer of each parameter of the backbone in the whole network."""
        with torch.device("meta"):
            numbers = group_layers(timm.create_model(self._name))
        kept = {shared_name(name): name for name, _ in self.backbone.named_parameters()}
        flat = {shared_name(name): number for name, number in numbers.items()}
        return {name: flat[shared] for shared, name in kept.items() if shared in flat}


def _pad(images: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M 3 H2 W2"]:
    """Append rows and columns of the mean colour, up to multiples of the deepest stride."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % DEEP_STRIDE_PX, 0, -height % DEEP_STRIDE_PX))


def _create_backbone(name: str) -> Any:
    """Create the part of a timm network that is used, with random weights."""
    refuse_unknown(name)
    stages = _find_stages(name)
    backbone: Any = timm.create_model(name, features_only=True, out_indices=stages)
    _cut_unused_blocks(backbone)
    make_lean(backbone)
    return backbone


def _find_stages(name: str) -> tuple[int, int]:
    """Return the indices of the stages at both strides, tried without memory on `TRIAL_SIZE_PX`."""
    try:
        with torch.device("meta"):
            whole: Any = timm.create_model(name, features_only=True)
            reductions = whole.feature_info.reduction()
            stages = (reductions.index(STRIDE_PX), reductions.index(DEEP_STRIDE_PX))
            network: Any = timm.create_model(name, features_only=True, out_indices=stages).eval()
            found = [tuple(one.shape[-2:]) for one in network(torch.zeros(1, 3, *TRIAL_SIZE_PX))]
    except Exception as error:  # any error of a network that does not support the size
        raise _unsuitable(name) from error
    if found != [tuple(side // stride for side in TRIAL_SIZE_PX) for stride in (STRIDE_PX, DEEP_STRIDE_PX)]:
        raise _unsuitable(name)
    return stages


def _unsuitable(name: str) -> SettingsError:
    """Return the error of a network without the stages that are needed."""
    return SettingsError(
        f"Backbone {name} has no stages at strides {STRIDE_PX} and {DEEP_STRIDE_PX} for images of any size.",
        hint="Use a convolutional network, such as resnet50, or a plain vision transformer.",
    )


def _stem(backbone: Any) -> tuple[nn.Module, ...]:
    """Return the layers up to stride 8, in their order."""
    last = backbone.feature_info.module_name()[0].replace(".", "_")
    layers = []
    for name, child in backbone.named_children():
        parts = child.named_children() if name == "blocks" else [("", child)]
        for part, layer in parts:
            layers.append(layer)
            if "_".join(filter(None, (name, part))) == last:
                return tuple(layers)
    raise SettingsError(
        "The layers of this backbone up to stride 8 are unknown.",
        hint="Set student.freeze_stem to false.",
    )


def _cut_unused_blocks(backbone: Any) -> None:
    """Drop blocks behind the deepest stage, which timm keeps in networks of the EfficientNet family."""
    parts = backbone.feature_info.module_name()[-1].split(".")
    blocks = getattr(backbone, "blocks", None)
    if len(parts) == 2 and parts[0] == "blocks" and isinstance(blocks, nn.Sequential):
        backbone.blocks = blocks[: int(parts[1]) + 1]

"""The network of Simple-BEV's authors (arXiv 2206.07959), layer by layer, for the weights they published.

For everything else `simplebev` is the better choice. What differs: the lifting (`lifting.published`), a wider
neck, normalisation by batch statistics in the BEV network, and the order of the axes. The published network
knows voxels of a camera's frame (x right, y down, z forward). Here they are those of the grid in the ego
frame, mirrored into that order before the BEV network and back behind it.

Axes: `B` key frames, `N` cameras, `H W` image in pixels, `C` channels, `h w` feature cells, `X Y` BEV cells
(x forward, y left), `R` the same cells from left to right.
"""

from typing import Any

import timm
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.encoders.encoder import STRIDE_PX, ImageEncoder, feature_size
from occfeat.models.encoders.present import encode_present
from occfeat.models.lifting.plans import PlanCache
from occfeat.models.lifting.published import build_sampling_plan, lift_published
from occfeat.models.students.student import Student
from occfeat.settings.students import PublishedSimpleBevConfig


class PublishedSimpleBev(Student):
    """A camera-only BEV network that computes what Simple-BEV's published code computes.

    Args:
        encoder: Image encoder at stride 8 with `published_neck`.
        grid: Voxels the image features are lifted to.
        config: Its settings.
    """

    def __init__(self, encoder: ImageEncoder, grid: VoxelGrid, config: PublishedSimpleBevConfig) -> None:
        super().__init__()
        self.channels = config.bev_channels
        self.grid = grid
        self.aligned = config.sampling == "aligned"
        self.plans = PlanCache(build_sampling_plan)
        self.encoder = encoder
        self.compress = nn.Sequential(
            nn.Conv2d(encoder.channels * grid.shape[2], self.channels, 3, padding=1, bias=False),
            nn.InstanceNorm2d(self.channels),
            nn.GELU(),
        )
        self.bev_network = BevNetwork(self.channels)

    def forward(self, images: UInt8[Tensor, "B N 3 H W"], cameras: Cameras) -> Float[Tensor, "B C X Y"]:
        """Return BEV features of key frames whose calibration belongs to these very images."""
        return self.encode_bev(encode_present(self.encoder, images, cameras.on_host().present), cameras)

    def encode_bev(self, features: Float[Tensor, "B N C h w"], cameras: Cameras) -> Float[Tensor, "B C2 X Y"]:
        """Return BEV features of image features."""
        size = feature_size(cameras.image_size)
        plans = self.plans.plans(cameras, size, STRIDE_PX, self.grid, self.aligned)
        volume = lift_published(features, plans)
        down_and_right = volume.flip(2, 4).flatten(1, 2)  # heights from the top, cells from left to right
        return self.bev_network(self.compress(down_and_right)).flip(3)


class BevNetwork(nn.Module):
    """Three stages of a ResNet-18 without its pooling, and three steps back to the full grid.

    Args:
        channels: Channels in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        resnet: Any = timm.create_model("resnet18", in_chans=channels)
        self.stem = nn.Sequential(resnet.conv1, resnet.bn1, nn.ReLU())
        self.stage_half = resnet.layer1
        self.stage_quarter = resnet.layer2
        self.stage_eighth = resnet.layer3
        self.up_quarter = UpStep(256, 128)
        self.up_half = UpStep(128, 64)
        self.up_full = UpStep(64, channels)

    def forward(self, bev: Float[Tensor, "B C X R"]) -> Float[Tensor, "B C X R"]:
        """Return BEV features of the same grid."""
        half = self.stage_half(self.stem(bev))
        quarter = self.stage_quarter(half)
        eighth = self.stage_eighth(quarter)
        return self.up_full(self.up_half(self.up_quarter(eighth, quarter), half), bev)


class UpStep(nn.Module):
    """Upsamples coarse features to a finer grid and adds the features of that grid."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(coarse, fine, 1, bias=False), nn.InstanceNorm2d(fine))

    def forward(
        self, coarse: Float[Tensor, "B C2 X2 R2"], fine: Float[Tensor, "B C X R"]
    ) -> Float[Tensor, "B C X R"]:
        """Return features of the finer grid."""
        resized = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        projected: Tensor = self.project(resized)
        return projected + fine


def published_neck(inputs: int, channels: int) -> nn.Module:
    """Return two convolutions four times as wide as the features, then a linear layer."""
    wide = 4 * channels
    return nn.Sequential(
        nn.Conv2d(inputs, wide, 3, padding=1, bias=False),
        nn.InstanceNorm2d(wide),
        nn.ReLU(),
        nn.Conv2d(wide, wide, 3, padding=1, bias=False),
        nn.InstanceNorm2d(wide),
        nn.ReLU(),
        nn.Conv2d(wide, channels, 1),
    )

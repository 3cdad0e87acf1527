"""LSS (arXiv 2008.05711): a distribution over depth per pixel spreads image features in BEV.

Axes: `B` key frames, `N` cameras, `H W` image in pixels, `C` channels, `D` depth bins, `h w` feature cells,
`X Y` BEV cells (x forward, y left).
"""

from typing import NamedTuple

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.encoders.encoder import STRIDE_PX, ImageEncoder, feature_size
from occfeat.models.encoders.present import encode_present
from occfeat.models.lean import ConvolutionNormGelu
from occfeat.models.lifting.plans import PlanCache
from occfeat.models.lifting.splatting import DepthBins, build_plan, splat
from occfeat.models.students.bev_encoder import BevEncoder
from occfeat.models.students.student import Student
from occfeat.settings.students import LssConfig


class Lifted(NamedTuple):
    """Image features in BEV, and the depth they were lifted by."""

    features: Float[Tensor, "B C X Y"]
    depth_logits: Float[Tensor, "B N D h w"]
    """Softmax over D gives the probability of each depth bin."""


class Lss(Student):
    """A camera-only BEV network that guesses depths.

    This project's choices: image features of stride 8, and the normalisation and BEV network of the other
    students behind the sum.

    Args:
        encoder: Image encoder at stride 8.
        grid: Its columns add up what is splatted between its lowest and highest z.
        config: Widths and depth bins.
    """

    def __init__(self, encoder: ImageEncoder, grid: VoxelGrid, config: LssConfig) -> None:
        super().__init__()
        channels = config.bev_channels
        self.channels = channels
        self.grid = grid
        self.bins = DepthBins(*config.depth_m, config.depth_bins)
        self.plans = PlanCache(build_plan)
        self.encoder = encoder
        self.depth = nn.Conv2d(encoder.channels, config.depth_bins, 1)
        self.compress = ConvolutionNormGelu(
            nn.Conv2d(encoder.channels, channels, 3, padding=1, bias=False),
            nn.InstanceNorm2d(channels, affine=True),
        )
        self.bev_encoder = BevEncoder(channels)

    def forward(self, images: UInt8[Tensor, "B N 3 H W"], cameras: Cameras) -> Float[Tensor, "B C X Y"]:
        """Return BEV features of key frames whose calibration belongs to these very images."""
        return self.encode(self.lift_images(images, cameras).features)

    def encode(self, lifted: Float[Tensor, "B C1 X Y"]) -> Float[Tensor, "B C X Y"]:
        """Return BEV features from lifted image features."""
        return self.bev_encoder(self.compress(lifted))

    def lift_images(self, images: UInt8[Tensor, "B N 3 H W"], cameras: Cameras) -> Lifted:
        """Return image features spread in BEV; 0 in cells that no pixel's ray reaches."""
        features = encode_present(self.encoder, images, cameras.on_host().present)
        logits = self.depth(features.flatten(0, 1)).float().unflatten(0, images.shape[:2])
        plans = self.plans.plans(cameras, feature_size(cameras.image_size), STRIDE_PX, self.grid, self.bins)
        return Lifted(splat(features, logits.softmax(2), plans, self.grid.bev.shape), logits)

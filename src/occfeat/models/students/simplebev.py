"""SimpleBEV (arXiv 2206.07959): image features averaged at voxel centres, then a BEV network.

Axes: `B` key frames, `N` cameras, `H W` image in pixels, `C` channels, `X Y` BEV cells (x forward, y left).
"""

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.encoders.encoder import STRIDE_PX, ImageEncoder, feature_size
from occfeat.models.encoders.present import encode_present
from occfeat.models.lean import ConvolutionNormGelu
from occfeat.models.lifting.plans import PlanCache
from occfeat.models.lifting.sparse import build_plan, lift
from occfeat.models.students.bev_encoder import BevEncoder
from occfeat.models.students.student import Student


class SimpleBev(Student):
    """A camera-only BEV network.

    Normalisation: the backbone keeps its own (running batch statistics for most networks); everything behind
    it is normalised within one image or key frame, so that small batches do no harm.

    Args:
        encoder: Image encoder at stride 8.
        grid: Voxels the image features are lifted to.
        channels: Channels of the BEV features.
    """

    def __init__(self, encoder: ImageEncoder, grid: VoxelGrid, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.grid = grid
        self.plans = PlanCache(build_plan)
        self.encoder = encoder
        heights = grid.shape[2]
        self.compress = ConvolutionNormGelu(
            nn.Conv2d(encoder.channels * heights, channels, 3, padding=1, bias=False),
            nn.InstanceNorm2d(channels, affine=True),
        )
        self.bev_encoder = BevEncoder(channels)

    def forward(self, images: UInt8[Tensor, "B N 3 H W"], cameras: Cameras) -> Float[Tensor, "B C X Y"]:
        """Return BEV features of key frames whose calibration belongs to these very images."""
        return self.bev_encoder(self.compress(self.lift_images(images, cameras).flatten(1, 2)))

    def lift_images(self, images: UInt8[Tensor, "B N 3 H W"], cameras: Cameras) -> Float[Tensor, "B C Z X Y"]:
        """Return image features at voxel centres; 0 where no camera sees the voxel."""
        features = encode_present(self.encoder, images, cameras.on_host().present)
        size = feature_size(cameras.image_size)
        return lift(features, self.plans.plans(cameras, size, STRIDE_PX, self.grid))

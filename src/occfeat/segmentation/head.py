"""The segmentation head: BEV features to one logit per cell and class."""

from jaxtyping import Float
from torch import Tensor, nn


class SegmentationHead(nn.Module):
    """A 3 x 3 convolution block and a 1 x 1 output, as in Simple-BEV, or only the 1 x 1 output.

    Args:
        bev_channels: Channels of the student's BEV features.
        classes: Number of classes.
        linear: Whether to omit the convolution block: a linear probe.
    """

    def __init__(self, bev_channels: int, classes: int, *, linear: bool = False) -> None:
        super().__init__()
        self.block = nn.Identity() if linear else _block(bev_channels)
        self.output = nn.Conv2d(bev_channels, classes, kernel_size=1)

    def forward(self, bev: Float[Tensor, "B C X Y"]) -> Float[Tensor, "B K X Y"]:
        """Return the logit of each class in each cell."""
        logits: Tensor = self.output(self.block(bev))
        return logits


def _block(channels: int) -> nn.Sequential:
    """Return a 3 x 3 convolution, normalised within each key frame."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
        nn.InstanceNorm2d(channels),
        nn.ReLU(inplace=True),
    )

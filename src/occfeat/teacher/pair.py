"""Two teachers at once.

Axes: `M` images, `H W` image in pixels, `D` channels of both teachers, `h w` patches of the first one.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torch import Tensor

from occfeat.teacher.network import Teacher


class TeacherPair(Teacher):
    """Features of two teachers, side by side at the patches of the first one.

    The second one sees the images of the first one at another size.

    Args:
        first: The teacher whose patches are kept.
        second: The other teacher.
        second_size: Height and width in pixels of its images.
    """

    def __init__(self, first: Teacher, second: Teacher, second_size: tuple[int, int]) -> None:
        super().__init__((*first.parts, *second.parts), first.patch_px)
        self.multiple_px = first.multiple_px
        self.first, self.second, self.second_size = first, second, second_size
        self.freeze()

    @torch.no_grad()
    def forward(self, images: UInt8[Tensor, "M 3 H W"]) -> Float32[Tensor, "M D h w"]:
        """Return the features of RGB images.

        Raises:
            SettingsError: The image size is not a multiple of the patch.
        """
        first = self.first(images)
        scaled = F.interpolate(images.float(), self.second_size, mode="bilinear", antialias=True)
        second = self.second(scaled.round().clamp(0, 255).to(torch.uint8))
        size = first.shape[-2:]
        return torch.cat((first, F.interpolate(second, size, mode="bilinear", antialias=True)), dim=1)

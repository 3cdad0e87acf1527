"""The teacher: a frozen image model whose features the student learns to predict.

Axes: `M` images, `H W` image in pixels, `D` channels, `h w` patches. Feature (i, j) belongs to the patch
centred at pixel position ((j + 0.5) * patch, (i + 0.5) * patch), so the features cover the image evenly.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from occfeat.errors import SettingsError

Colors = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of the colours of images, for pixels of 0 to 1."""
IMAGENET: Colors = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Teacher(nn.Module):
    """Base class of teachers: dense features of images; never trained.

    Args:
        parts: Channels of each part of a feature. Parts are compared with predictions one by one.
        patch_px: Pixels along each side of a patch.
        colors: Colours of its training images.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, parts: tuple[int, ...], patch_px: int, colors: Colors = IMAGENET) -> None:
        super().__init__()
        self.parts, self.channels = parts, sum(parts)
        self.patch_px = self.multiple_px = patch_px
        mean, std = colors
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def freeze(self) -> None:
        """Freeze all weights; subclasses call it once they are built."""
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in evaluation mode."""
        super().train(False)
        return self

    def patches(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the rows and columns of patches of an image of (height, width) pixels."""
        return image_size[0] // self.patch_px, image_size[1] // self.patch_px

    @torch.no_grad()  # not inference_mode, whose tensors cannot be used in a loss
    def forward(self, images: UInt8[Tensor, "M 3 H W"]) -> Float32[Tensor, "M D h w"]:
        """Return the features of RGB images.

        Raises:
            SettingsError: The image size is not a multiple of the patch.
        """
        check_size((images.shape[-2], images.shape[-1]), self.multiple_px)
        return self.encode((images.to(self.mean.dtype) / 255 - self.mean) / self.std).float()

    def encode(self, normal: Float[Tensor, "M 3 H W"]) -> Float[Tensor, "M D h w"]:
        """Return the features of normalised images."""
        raise NotImplementedError


def require_blocks(blocks: Sequence[int], count: int, what: str) -> None:
    """Refuse blocks or stages that a network does not have.

    Args:
        blocks: Their indices.
        count: How many the network has.
        what: `block` or `stage`.

    Raises:
        SettingsError: One does not exist or is given twice, or there is none.
    """
    wrong = [block for block in blocks if not 0 <= block < count]
    if wrong or not blocks or len(set(blocks)) < len(blocks):
        given = ", ".join(map(str, wrong or blocks)) or "none"
        raise SettingsError(
            f"Expected a {what} of the teacher from 0 to {count - 1}, each once, got {given}.",
            hint="Change teacher.block.",
        )


def check_size(image_size: tuple[int, int], patch_px: int) -> None:
    """Refuse an image whose (height, width) is not a multiple of the patch.

    Raises:
        SettingsError: It is not; the hint gives the nearest size.
    """
    if image_size[0] % patch_px == 0 and image_size[1] % patch_px == 0 and min(image_size) > 0:
        return
    nearest = tuple(max(1, round(side / patch_px)) * patch_px for side in image_size)
    raise SettingsError(
        f"Expected a multiple of the patch of {patch_px} pixels as the teacher's image size, "
        f"got {image_size[0]} x {image_size[1]}.",
        hint=f"The nearest size is {nearest[0]} x {nearest[1]}.",
    )

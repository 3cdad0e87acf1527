"""The teacher: a frozen vision transformer whose patch features the student learns to predict.

Axes: `M` images, `H W` image in pixels, `D` channels, `h w` patches. Feature (i, j) belongs to the patch
centred at pixel position ((j + 0.5) * patch, (i + 0.5) * patch), so the features cover the image evenly.
"""

import logging
from pathlib import Path
from typing import Any

import timm
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from occfeat.errors import SettingsError
from occfeat.models.weights import packaged
from occfeat.models.weights.hub import color_statistics, create_pretrained, refuse_unknown
from occfeat.models.weights.loading import load_checked, read_weights_file
from occfeat.models.weights.meta_format import is_meta_format, timm_from_meta
from occfeat.settings.sections import TeacherConfig

logger = logging.getLogger(__name__)

WITHOUT_NETWORK = (
    "Without internet access, set teacher.weights to the path of a file in timm's or Meta's format, or "
    "teacher.name to packaged."
)


class Teacher(nn.Module):
    """Dense features of one block of a timm vision transformer; never trained.

    Args:
        transformer: timm network for any image size. Its blocks after `block` are dropped.
        block: Index of the block whose output is used, from 0.
        normalize: Apply the network's final LayerNorm.
        mean: Mean colour of its training images, for pixels of 0 to 1.
        std: Standard deviation of their colours.

    Raises:
        SettingsError: The block or the LayerNorm does not exist, or the patches are not square.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        transformer: Any,
        block: int,
        normalize: bool,
        mean: tuple[float, ...] = (0.485, 0.456, 0.406),
        std: tuple[float, ...] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__()
        _check(transformer, block, normalize)
        transformer.blocks = transformer.blocks[: block + 1]
        self.transformer: Any = transformer
        self.block = block
        self.normalize = normalize
        self.channels: int = transformer.embed_dim
        self.patch_px: int = transformer.patch_embed.patch_size[0]
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
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
        """Return features of RGB images, without class and register tokens.

        Raises:
            SettingsError: The image size is not a multiple of the patch.
        """
        check_size((images.shape[-2], images.shape[-1]), self.patch_px)
        normal = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        (features,) = self.transformer.forward_intermediates(
            normal, indices=[self.block], norm=self.normalize, output_fmt="NCHW", intermediates_only=True
        )
        return features.float()


def build_teacher(config: TeacherConfig) -> Teacher:
    """Build the teacher of these settings on the CPU, with its weights.

    Raises:
        SettingsError: The name, block or image size is invalid.
        WeightsError: The weights are not available or do not fit.
    """
    is_packaged = config.name == "packaged"
    if is_packaged and config.weights != "hub":
        raise SettingsError(
            f"Expected no teacher.weights with the packaged teacher, got {config.weights}.",
            hint=f"Set teacher.name to {packaged.TEACHER_NAME} to load a file, or leave teacher.weights out.",
        )
    name = packaged.TEACHER_NAME if is_packaged else config.name
    refuse_unknown(name)
    if is_packaged:
        transformer = _create(name)
        load_checked(transformer, packaged.packaged_teacher_weights(), "packaged teacher")
    elif config.weights == "hub":
        with torch.device("meta"):
            _create(name)  # refuses other networks before the download
        transformer = create_pretrained(name, WITHOUT_NETWORK, num_classes=0, dynamic_img_size=True)
        count = len(transformer.state_dict())
        logger.info("teacher %s: loaded %d/%d tensors from the hub", name, count, count)
    else:
        transformer = _create(name)
        _load_file(transformer, Path(config.weights), f"teacher {name}")
    default = packaged.TEACHER_BLOCK if is_packaged else len(transformer.blocks) - 1
    block = default if config.block is None else config.block
    teacher = Teacher(transformer, block, config.normalize, *color_statistics(name))
    check_size(config.image_size, teacher.patch_px)
    return teacher


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


def _create(name: str) -> Any:
    """Create a transformer with random weights."""
    try:
        return timm.create_model(name, num_classes=0, dynamic_img_size=True)
    except TypeError as error:
        raise _not_a_transformer(name) from error


def _load_file(transformer: nn.Module, path: Path, what: str) -> None:
    """Load a file in timm's or Meta's format, without its classifier."""
    tensors = read_weights_file(path)
    if is_meta_format(tensors):
        tensors = timm_from_meta(tensors, transformer.state_dict())
    without_head = {name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}
    if len(without_head) < len(tensors):
        logger.info("%s: left out the classifier, %d tensors", what, len(tensors) - len(without_head))
    load_checked(transformer, without_head, what)


def _check(transformer: Any, block: int, normalize: bool) -> None:
    """Refuse a network, block or normalisation without patch features."""
    if not hasattr(transformer, "blocks") or not hasattr(transformer, "forward_intermediates"):
        raise _not_a_transformer(type(transformer).__name__)
    blocks = len(transformer.blocks)
    if not 0 <= block < blocks:
        raise SettingsError(
            f"Expected a block of the teacher from 0 to {blocks - 1}, got {block}.",
            hint="Change teacher.block.",
        )
    if normalize and isinstance(transformer.norm, nn.Identity):
        raise SettingsError("The teacher has no final LayerNorm.", hint="Set teacher.normalize to false.")
    height_px, width_px = transformer.patch_embed.patch_size
    if height_px != width_px:
        raise SettingsError(f"The teacher's patches of {height_px} x {width_px} pixels are not square.")


def _not_a_transformer(name: str) -> SettingsError:
    """Return the error for a network that is not a vision transformer."""
    return SettingsError(
        f"{name} is not a plain vision transformer.",
        hint="Use one such as vit_small_patch14_dinov2.lvd142m or vit_small_patch16_dinov3.lvd1689m.",
    )

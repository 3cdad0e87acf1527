"""Read feature maps at sub-pixel positions; and lift by doing just that, the reference of `sparse`.

Axes: `N` images or cameras, `C` channels, `h w` feature cells, `P` points.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int32, Int64
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.lifting.projection import project_voxels


def sample_at_pixels(
    features: Float[Tensor, "N C h w"], pixels: Float[Tensor, "N P 2"], image_size: tuple[int, int]
) -> Float[Tensor, "N C P"]:
    """Read image features at (u, v) pixel positions, bilinearly between the centres of their cells.

    Within half a cell of the border, and beyond it, the outermost features are returned.

    Args:
        features: Features that cover the image evenly.
        pixels: Positions in the image, centre of the first pixel at (0.5, 0.5).
        image_size: (height, width) in pixels of what the features cover.
    """
    height, width = image_size
    scale = pixels.new_tensor((2 / width, 2 / height))
    positions = (pixels * scale - 1)[:, :, None]  # an image of P x 1: exporters know no other grid_sample
    sampled = F.grid_sample(
        features, positions.to(features.dtype), padding_mode="border", align_corners=False
    )
    return sampled[..., 0]


def bilinear_taps(
    cell: Float32[Tensor, "2 P"], image: Int64[Tensor, " P"], feature_size: tuple[int, int]
) -> tuple[Int32[Tensor, "P 4"], Float32[Tensor, "P 4"]]:
    """Return the four feature cells around each position and their weights: what `sample_at_pixels` reads.

    Args:
        cell: Positions (x, y) in cells, the centre of the first cell at (0, 0).
        image: Image of each position.
        feature_size: (height, width) of the features in cells.

    Returns:
        Cells in the order (image, h, w), all counted through, and how much each contributes.
    """
    height, width = feature_size
    x, y = cell[0].clamp(0, width - 1), cell[1].clamp(0, height - 1)
    left, top = x.floor(), y.floor()
    right_share, bottom_share = x - left, y - top
    first = (image * height + top.long()) * width + left.long()
    # At the last row and column the far tap has no weight: any cell that exists will do.
    right, bottom = (left < width - 1).long(), (top < height - 1).long() * width
    cells = torch.stack((first, first + right, first + bottom, first + right + bottom), dim=1).int()
    left_share, top_share = 1 - right_share, 1 - bottom_share
    shares = (left_share * top_share, right_share * top_share, left_share * bottom_share)
    return cells, torch.stack((*shares, right_share * bottom_share), dim=1)


def lift_dense(
    features: Float[Tensor, "B N C h w"], cameras: Cameras, stride_px: int, grid: VoxelGrid
) -> Float[Tensor, "B C Z X Y"]:
    """Compute what `sparse.lift` computes by sampling every voxel in every camera: the plain reference.

    Args:
        features: Image features of all cameras.
        cameras: Calibration of the batch.
        stride_px: Pixels per feature cell; cell 0 begins at pixel position 0.
        grid: Voxels to lift to.
    """
    covered = (features.shape[-2] * stride_px, features.shape[-1] * stride_px)
    volumes = []
    for index, rig_features in enumerate(features):
        u, v, visible = project_voxels(cameras.of_key_frame(index), grid)
        pixels = torch.stack((u, v), dim=-1).flatten(1, 3)
        pixels = torch.where(visible.flatten(1)[..., None], pixels, torch.zeros_like(pixels))
        sampled = sample_at_pixels(rig_features, pixels, covered) * visible.flatten(1)[:, None]
        mean = sampled.sum(0) / visible.flatten(1).sum(0).clamp(min=1)
        volumes.append(mean.view(-1, *visible.shape[1:]))
    return torch.stack(volumes)

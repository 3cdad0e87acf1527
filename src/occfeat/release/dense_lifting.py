"""SimpleBEV's lifting in exportable operators: dense 4-D sampling.

The features of all cameras are stacked vertically in one image. Each voxel is sampled once per layer. There
is one layer per camera or, for a fixed rig, only as many as cameras see the same voxel. Results are those of
`models.lifting.sampling.lift_dense`.

Axes: `N` cameras, `C` channels, `h w` feature cells of a camera, `ZX Y` voxels, `K` layers.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.lifting.projection import project_voxels


def feature_positions(
    cameras: Cameras, feature_size: tuple[int, int], stride_px: int, grid: VoxelGrid
) -> tuple[Float[Tensor, "N ZX Y 2"], Float[Tensor, "N ZX Y"]]:
    """Return the position of each voxel in each camera's features, and the camera's weight.

    Args:
        cameras: Calibration of one key frame, without batch axis. Absent cameras see nothing.
        feature_size: (height, width) of the features in cells.
        stride_px: Pixels per feature cell; cell 0 begins at pixel position 0.
        grid: The voxels.

    Returns:
        Positions (x, y) in the stacked features, from -1 to 1 between the outer borders; and weights, one
        over the number of cameras that see the voxel, 0 for the others.
    """
    u, v, visible = project_voxels(cameras, grid)
    height, width = feature_size
    first_row = height * torch.arange(len(v), device=v.device)[:, None, None, None]
    row = (v / stride_px).clamp(0.5, height - 0.5) + first_row  # not between two cameras
    scaled = (2 / (width * stride_px) * u - 1, 2 / (height * len(v)) * row - 1)
    nowhere = u.new_zeros(())
    positions = [torch.where(visible, axis, nowhere).flatten(1, 2) for axis in scaled]
    shares = visible / visible.sum(0).clamp(min=1)
    return torch.stack(positions, dim=-1), shares.flatten(1, 2)


def only_seen(
    positions: Float[Tensor, "N ZX Y 2"], shares: Float[Tensor, "N ZX Y"]
) -> tuple[Float[Tensor, "K ZX Y 2"], Float[Tensor, "K ZX Y"]]:
    """Return the same positions in as many layers as cameras see the same voxel, often two."""
    layers = max(int((shares > 0).sum(0).max()), 1)
    order = shares.argsort(dim=0, descending=True, stable=True)[:layers]
    return positions.gather(0, order[..., None].expand(-1, -1, -1, 2)), shares.gather(0, order)


def sample_features(
    features: Float[Tensor, "N C h w"], positions: Float[Tensor, "K ZX Y 2"], shares: Float[Tensor, "K ZX Y"]
) -> Float[Tensor, "C ZX Y"]:
    """Return features at the positions of `feature_positions`, summed over the layers."""
    stacked = features.transpose(0, 1).flatten(1, 2)[None]
    total = features.new_zeros(())
    for at, share in zip(positions, shares, strict=True):
        read = F.grid_sample(stacked, at[None], padding_mode="border", align_corners=False)
        total = total + read[0] * share
    return total

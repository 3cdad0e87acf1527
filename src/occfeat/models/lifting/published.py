"""The lifting of Simple-BEV's published code (arXiv 2206.07959), for its weights.

It differs from `lifting` in four ways. A voxel counts as seen from half a cell beyond the left and upper
borders of the image to half a cell before the right and lower ones, at any depth above 0 m. Features are read
up to one cell too far to the right and to the bottom, because positions are scaled by W / (W - 1) (option).
Around the border they fade to 0. And each channel is averaged over the cameras whose sample of it is not 0.

Axes: `B` key frames, `N` cameras, `C` channels, `h w` feature cells, `V` voxels, `P` those a camera sees, all
in the order Z, X, Y. Volumes are `B C Z X Y`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.grid import VoxelGrid
from occfeat.machine.waiting import numbers_like, true_entries, upload
from occfeat.models.lifting.plans import Building
from occfeat.models.lifting.projection import voxel_pixels


@dataclass(frozen=True)
class CameraSamples:
    """The voxels that are visible in one camera, and their positions in it."""

    voxels: Int64[Tensor, " P"]
    """Index of each voxel."""
    positions: Float32[Tensor, "P 2"]
    """(x, y) in the features, from -1 to 1 between the outer borders of the outermost cells."""


@dataclass(frozen=True)
class SamplingPlan:
    """The sampling of one rig's image features into a volume."""

    volume_shape: tuple[int, int, int]
    """Voxels along Z, X and Y."""
    cameras: tuple[CameraSamples, ...]


def build_sampling_plan(
    cameras: Cameras,
    feature_size: tuple[int, int],
    stride_px: int,
    grid: VoxelGrid,
    aligned: bool,
    device: torch.device | None = None,
) -> Building[SamplingPlan]:
    """Build the plan of one rig; it depends on the calibration only.

    Args:
        cameras: Calibration of one key frame, without batch axis. Absent cameras see nothing.
        feature_size: (height, width) of the features in cells.
        stride_px: Pixels per feature cell.
        grid: Voxels to lift to.
        aligned: Whether to sample at the voxel's position, not at that of the published code.
        device: Where features will be. None: where the calibration is.
    """
    positions, seen = published_positions(cameras, feature_size, stride_px, grid, aligned, device)
    counts = yield seen.sum(1)
    voxels = [true_entries(one, count)[:, 0] for one, count in zip(seen, counts, strict=True)]
    samples = (CameraSamples(rows, one[rows]) for rows, one in zip(voxels, positions, strict=True))
    x, y, z = grid.shape
    return SamplingPlan((z, x, y), tuple(samples))


def published_positions(
    cameras: Cameras,
    feature_size: tuple[int, int],
    stride_px: int,
    grid: VoxelGrid,
    aligned: bool,
    device: torch.device | None = None,
) -> tuple[Float32[Tensor, "N V 2"], Bool[Tensor, "N V"]]:
    """Return where each camera sees each voxel, as in `CameraSamples` or 0, and whether it does.

    Arguments as for `build_sampling_plan`.
    """
    u, v, depth_m = voxel_pixels(cameras, grid, device)
    cell = torch.stack((u.flatten(1), v.flatten(1)), dim=-1) / stride_px
    size = numbers_like((feature_size[1], feature_size[0]), cell)
    inside = ((cell > -0.5) & (cell < size - 0.5)).all(-1)
    seen = inside & (depth_m.flatten(1) > 0) & upload(cameras.present, cell.device)[:, None]
    position = 2 * cell / (size if aligned else (size - 1).clamp(min=1)) - 1
    return torch.where(seen[..., None], position, torch.zeros_like(position)), seen


def lift_published(
    features: Float[Tensor, "B N C h w"], plans: Sequence[SamplingPlan]
) -> Float32[Tensor, "B C Z X Y"]:
    """Return features at voxel centres, in float32 even under autocast; 0 where no camera sees the voxel.

    Args:
        features: Image features of all cameras.
        plans: One plan for each key frame of the batch.
    """
    return torch.stack([_lift_rig(rig, plan) for rig, plan in zip(features.float(), plans, strict=True)])


def _lift_rig(features: Float32[Tensor, "N C h w"], plan: SamplingPlan) -> Float32[Tensor, "C Z X Y"]:
    """Lift the features of one rig, one camera after the other."""
    voxels = plan.volume_shape[0] * plan.volume_shape[1] * plan.volume_shape[2]
    total = features.new_zeros(features.shape[1], voxels)
    count = torch.zeros_like(total)
    for of_camera, seen in zip(features, plan.cameras, strict=True):
        sampled = F.grid_sample(of_camera[None], seen.positions[None, :, None], align_corners=False)[
            0, ..., 0
        ]
        total = total.index_add(1, seen.voxels, sampled)
        count.index_add_(1, seen.voxels, (sampled != 0).float())
    return (total / count.clamp(min=1)).view(-1, *plan.volume_shape)

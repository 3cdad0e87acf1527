"""Voxels and features from above, as one number or colour per BEV cell.

Axes: `X Y Z` voxels, `K` occupied voxels, `F` feature channels.
"""

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occfeat.geometry.grid import VoxelGrid


def height_from_above(occupied: Bool[Tensor, "X Y Z"], grid: VoxelGrid) -> Float[np.ndarray, "X Y"]:
    """Return the height in metres of the centre of each column's highest occupied voxel; NaN for none."""
    height_m = grid.centers()[..., 2]
    highest_m = torch.where(occupied, height_m, torch.full_like(height_m, -math.inf)).amax(dim=-1)
    return torch.where(highest_m.isfinite(), highest_m, torch.full_like(highest_m, math.nan)).numpy()


def colors_from_above(
    cells: Int64[Tensor, "K 3"], colors: Float[Tensor, "K 3"], shape: tuple[int, int]
) -> Float[np.ndarray, "X Y 4"]:
    """Return the colour of the highest of the given voxels of each column; transparent for none."""
    picture = np.zeros((*shape, 4))
    x, y, _ = cells[cells[:, 2].argsort(stable=True)].unbind(dim=1)  # the highest is painted last
    picture[x.numpy(), y.numpy(), :3] = colors[cells[:, 2].argsort(stable=True)].numpy()
    picture[x.numpy(), y.numpy(), 3] = 1
    return picture


def common_colors(
    first: Float[Tensor, "K F"], second: Float[Tensor, "K F"]
) -> tuple[Float[Tensor, "K 3"], Float[Tensor, "K 3"]]:
    """Return RGB colours of two sets of features in one basis: equal features have equal colours.

    The basis is the first three principal components of the first set, whose features are normalised because
    they are compared by cosine. Each component spans its 2nd to 98th percentile in the first set.
    """
    first, second = (torch.nn.functional.normalize(features.float(), dim=1) for features in (first, second))
    mean = first.mean(dim=0)
    components = torch.linalg.svd(first - mean, full_matrices=False).Vh[:3]
    # The sign of a component is arbitrary. It is fixed so that two runs give the same picture.
    strongest = components.gather(1, components.abs().argmax(dim=1, keepdim=True))
    components = components * strongest.sign()
    scores = [
        torch.nn.functional.pad((one - mean) @ components.T, (0, 3 - len(components)))
        for one in (first, second)
    ]
    low, high = torch.quantile(scores[0], torch.tensor([0.02, 0.98]), dim=0)
    shown = [((one - low) / (high - low).clamp(min=1e-9)).clamp(0, 1) for one in scores]
    return shown[0], shown[1]

"""What the teacher's features have in common: their mean, and the cosine that comes for nothing.

Features of one image model resemble each other, so a constant prediction already has a considerable cosine.
Targets less their mean leave only what tells voxels apart (this project's option).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from occfeat.errors import TrainingError
from occfeat.pretraining.targets import FeatureTarget


@dataclass(frozen=True)
class CommonFeature:
    """Statistics of feature targets, pooled over all their voxels."""

    mean: Float[Tensor, " F"]
    """Mean target."""
    constant_cosine: float
    """Mean cosine of all targets and the one vector for which it is highest."""


def common_feature(targets: Iterable[FeatureTarget]) -> CommonFeature:
    """Pool the targets of several batches.

    The mean over targets f of cos(u, f) is the product of u / |u| and the mean of f / |f|, so its largest
    value is the length of that mean.

    Raises:
        TrainingError: There is no target at all.
    """
    total = direction = torch.zeros(())
    count, device = 0, total.device
    for target in targets:
        device = target.features.device
        features = target.features.cpu().double()  # not every device has 64 bits
        total = total + features.sum(dim=0)
        direction = direction + F.normalize(features, dim=1).sum(dim=0)
        count += len(features)
    if count == 0:
        hint = "Look at the calibration with `occfeat view --calibration`, and at the bounds of the grid."
        raise TrainingError("No camera sees any voxel that the LiDAR hit: nothing to distil.", hint=hint)
    return CommonFeature((total / count).float().to(device), float((direction / count).norm()))

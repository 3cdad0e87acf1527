"""Ego path: predict where the car drives, as drivable ground without labels (after GASP, arXiv 2503.15672).

Cells that the car covers are positive. Cells with a LiDAR return above the ground are negative, unless the
car covers them at another time. All other cells are unknown and do not count.

Axes: `B` key frames, `C` BEV channels, `X Y` cells.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int64
from torch import Tensor, nn

from occfeat.data.sample.lidar import Points
from occfeat.geometry.grid import VoxelGrid
from occfeat.pretraining.objectives.contract import PATH, HeadShape, Objective, Panel, Term
from occfeat.pretraining.objectives.entropy import mean_entropy
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.training.overlap import is_positive, overlap
from occfeat.training.step import ratio_of

ABOVE_M = (0.5, 2.5)
"""Heights over the ground of returns that block a cell; those above hang over the road."""
AROUND_M = 2.0
"""The ground of a cell is the lowest return within this distance along x and y."""


@dataclass(frozen=True)
class PathTarget:
    """Cells that are driven or blocked; the others are unknown."""

    driven: Bool[Tensor, "B X Y"]
    blocked: Bool[Tensor, "B X Y"]
    """Occupied above the ground, and not driven."""

    @property
    def known(self) -> Bool[Tensor, "B X Y"]:
        """Whether each cell counts."""
        return self.driven | self.blocked


@dataclass(frozen=True)
class DrivenPath(Objective[nn.Conv2d, PathTarget]):
    """Predict which cells the car covers."""

    weight: float
    name = "path"
    needs = PATH
    reads = "bev"

    def build_output(self, shape: HeadShape) -> nn.Conv2d:
        """Build a linear layer from the BEV features of a cell to one logit."""
        return nn.Conv2d(shape.bev_channels, 1, kernel_size=1)

    def target(self, evidence: Evidence) -> PathTarget:
        """Return the cells that the car covers, and those that are blocked."""
        driven = evidence.driven
        return PathTarget(driven, blocked_cells(evidence.points, len(driven), evidence.grid) & ~driven)

    def loss(self, output: nn.Conv2d, read: Tensor, target: PathTarget) -> Term:
        """Return the binary cross-entropy of the known cells as loss, IoU and their share as metrics."""
        logits, known = output(read)[:, 0], target.known
        found = overlap(is_positive(logits) & known, target.driven)
        metrics = {"path_iou": found.iou, "path_share": ratio_of(known.sum(), known.numel())}
        return Term(mean_entropy(logits, target.driven, known), metrics)

    def of_key_frames(self, target: PathTarget, chosen: Int64[Tensor, " b"]) -> PathTarget:
        """Return the cells of some key frames of a batch."""
        return PathTarget(target.driven[chosen], target.blocked[chosen])

    def panels(self, output: nn.Conv2d, read: Tensor, target: PathTarget) -> list[Panel]:
        """Return the path."""
        return [Panel("path of the car", output(read)[:, 0].float().sigmoid(), target.driven, target.known)]


def blocked_cells(points: Points, key_frames: int, grid: VoxelGrid) -> Bool[Tensor, "B X Y"]:
    """Mark the cells with a return above the ground, at a height in which a car would hit it.

    The ground follows the returns, so that slopes are not blocked (this project's choice).

    Args:
        points: LiDAR returns of all key frames.
        key_frames: Number of key frames.
        grid: The voxels; returns outside do not count.
    """
    cell, inside = grid.cell_index(points.points_ego)
    height_m, (x, y, _) = points.points_ego[inside, 2].float(), cell[inside].unbind(1)
    at = (points.key_frame[inside] * grid.shape[0] + x) * grid.shape[1] + y
    lowest = height_m.new_full((key_frames * grid.shape[0] * grid.shape[1],), torch.inf)
    lowest.scatter_reduce_(0, at, height_m, "amin")
    around = [round(AROUND_M / size) for size in grid.cell_m[:2]]
    window = [2 * count + 1 for count in around]
    maps = -lowest.view(key_frames, 1, *grid.bev.shape)
    ground = -F.max_pool2d(maps, kernel_size=window, stride=1, padding=around).flatten()
    above_m = height_m - ground[at]
    blocked = torch.zeros_like(lowest, dtype=torch.bool)
    blocked[at[(above_m > ABOVE_M[0]) & (above_m < ABOVE_M[1])]] = True
    return blocked.view(key_frames, *grid.bev.shape)

"""Features over time: teacher features from the cameras of several key frames (this project's option).

A voxel where nothing moved looks the same from all key frames of a window, so its target is the mean over all
cameras that see it (after LiMA, ICCV 2025). Where rays are in conflict something moved, and the key frame's
own cameras alone count. A camera does not see what its LiDAR returns hide.

Axes: `B` key frames, `N` cameras of all key frames of a window, `X Y Z` voxels, `K` chosen voxels, `F`
teacher channels, `h w` teacher feature map.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occfeat.data.sample.teacher import TeacherViews
from occfeat.data.sweeps.views import HIDING_CELL_PX
from occfeat.geometry.grid import VoxelGrid
from occfeat.pretraining.objectives.contract import VIEWS
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.features import Features, FeatureTarget, mean_features, project_cells


@dataclass(frozen=True)
class FeaturesOverTime(Features):
    """Predict the mean teacher feature of each occupied voxel over the key frames around."""

    needs = VIEWS

    def target(self, evidence: Evidence) -> FeatureTarget:
        """Return the mean teacher features; the key frame's own if a batch has no others, as for analysis."""
        views, window = evidence.batch.teacher, evidence.window
        if not isinstance(views, TeacherViews):
            return super().target(evidence)
        return target_over_time(
            window.occupied, window.in_conflict, evidence.teacher_maps, views, evidence.grid
        )


def target_over_time(
    occupied: Bool[Tensor, "B X Y Z"],
    in_conflict: Bool[Tensor, "B X Y Z"],
    maps: Float[Tensor, "BN F h w"],
    views: TeacherViews,
    grid: VoxelGrid,
) -> FeatureTarget:
    """Compute the mean teacher feature of each occupied voxel over all cameras that see its centre.

    Args:
        occupied: Voxels that are occupied at the time of the key frame.
        in_conflict: Voxels through which something moved.
        maps: Teacher features of all images, ordered by key frame and camera.
        views: Calibration of these images, whose they are, and what is hidden in them.
        grid: The voxels.
    """
    cells = occupied.nonzero()
    pixels, depth_m, seen = project_cells(cells, views.cameras, grid)
    seen &= ~hidden(cells[:, 0], pixels, depth_m, views.depth_m, math.hypot(*grid.cell_m))
    seen &= views.own[cells[:, 0]] | ~in_conflict[tuple(cells.unbind(1))][:, None]
    return mean_features(cells, pixels, seen, maps, views.cameras.image_size)


def hidden(
    key_frame: Int64[Tensor, " K"],
    pixels: Float[Tensor, "K N 2"],
    depth_m: Float[Tensor, "K N"],
    farthest_m: Float[Tensor, "B N rows columns"],
    margin_m: float,
) -> Bool[Tensor, "K N"]:
    """Return whether all returns in the cell of each pixel lie in front of it.

    Args:
        key_frame: Key frame of each voxel.
        pixels: Projection of its centre into each camera.
        depth_m: Depth of its centre in each camera.
        farthest_m: Depth of the farthest return in each cell; infinite without a return.
        margin_m: Smallest distance of what hides from what is hidden.
    """
    column, row = (pixels / HIDING_CELL_PX).long().unbind(-1)
    row, column = (
        number.clamp(0, count - 1) for number, count in zip((row, column), farthest_m.shape[2:], strict=True)
    )
    camera = torch.arange(pixels.shape[1], device=pixels.device)
    return depth_m > farthest_m[key_frame[:, None], camera, row, column] + margin_m

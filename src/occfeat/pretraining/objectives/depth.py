"""LiDAR supervision of LSS's depth: the depth bin of each feature cell (this project's option).

Axes: `B` key frames, `N` cameras, `D` depth bins, `h w` feature cells, `P` points, `S` (point, camera) pairs.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.lidar import Points
from occfeat.geometry.camera import project, visible_in
from occfeat.geometry.frames import invert, transform_points
from occfeat.models.encoders.encoder import STRIDE_PX, feature_size
from occfeat.models.lifting.splatting import DepthBins
from occfeat.pretraining.objectives.contract import HeadShape, Objective, Term
from occfeat.pretraining.objectives.evidence import Evidence

UNKNOWN = -1
"""The target of a feature cell without a point."""


@dataclass(frozen=True)
class Depth(Objective[nn.Identity, Tensor]):
    """Predict the LiDAR's depth in each feature cell of an LSS student."""

    weight: float
    bins: DepthBins
    """Depth bins of the student."""
    name = "depth"
    reads = "depth"

    def build_output(self, shape: HeadShape) -> nn.Identity:
        """Build nothing: the depth logits of the student are the prediction."""
        return nn.Identity()

    def target(self, evidence: Evidence) -> Int64[Tensor, "B N h w"]:
        """Return the depth bin of the nearest return in each feature cell."""
        return depth_target(evidence.points, evidence.batch.cameras, self.bins)

    def of_key_frames(
        self, target: Int64[Tensor, "B N h w"], chosen: Int64[Tensor, " b"]
    ) -> Int64[Tensor, "b N h w"]:
        """Return the depth bins of some key frames of a batch."""
        return target[chosen]

    def loss(self, output: nn.Identity, read: Tensor, target: Tensor) -> Term:
        """Return the cross-entropy of the depth bins."""
        return Term(depth_loss(read, target), {})


def depth_target(points: Points, cameras: Cameras, bins: DepthBins) -> Int64[Tensor, "B N h w"]:
    """Return the depth bin of the nearest LiDAR point in each feature cell, or `UNKNOWN`.

    Points with a depth outside all bins are ignored. Points on the black border of an image that augmentation
    zoomed out or shifted are not.

    Args:
        points: LiDAR returns of all key frames.
        cameras: Calibration of the student's images, in the same ego frame as the points.
        bins: The student's depth bins.
    """
    height, width = feature_size(cameras.image_size)
    key_frames, count = cameras.present.shape
    # The index after the last bin marks an empty cell, so the minimum is the nearest point.
    nearest = torch.full((key_frames * count * height * width,), bins.count, device=points.points_ego.device)
    for key_frame in range(key_frames):
        points_ego = points.of_key_frame(key_frame).points_ego
        cell, depth_bin = _hits(points_ego, cameras.of_key_frame(key_frame), bins)
        cell = cell + key_frame * count * height * width
        nearest.scatter_reduce_(0, cell, depth_bin, "amin")
    known = nearest < bins.count
    target = torch.where(known, nearest, torch.full_like(nearest, UNKNOWN))
    return target.view(key_frames, count, height, width)


def depth_loss(logits: Float[Tensor, "B N D h w"], target: Int64[Tensor, "B N h w"]) -> Float[Tensor, ""]:
    """Return the cross-entropy, averaged over the feature cells that have a target; 0 if there is none."""
    known = target != UNKNOWN
    total = F.cross_entropy(
        logits.float().flatten(0, 1), target.flatten(0, 1), ignore_index=UNKNOWN, reduction="sum"
    )
    return total / known.sum().clamp(min=1)


def _hits(
    points_ego: Float[Tensor, "P 3"], rig: Cameras, bins: DepthBins
) -> tuple[Int64[Tensor, " S"], Int64[Tensor, " S"]]:
    """Return the feature cell, indexed over all cameras, and the depth bin of every visible point."""
    with torch.autocast(points_ego.device.type, enabled=False):  # pixels need full precision
        points_camera = transform_points(
            invert(rig.ego_from_camera), points_ego.expand(len(rig.present), -1, 3)
        )
        pixels, depth_m = project(rig.intrinsics, points_camera, rig.lenses)
    depth_bin, inside = bins.index(depth_m.flatten())
    seen = visible_in(rig.image_size, pixels, depth_m) & rig.present[:, None] & inside.view_as(depth_m)
    camera, point = seen.nonzero(as_tuple=True)
    column, row = (pixels[camera, point] / STRIDE_PX).long().unbind(-1)
    height, width = feature_size(rig.image_size)
    return (camera * height + row) * width + column, depth_bin.view_as(depth_m)[camera, point]

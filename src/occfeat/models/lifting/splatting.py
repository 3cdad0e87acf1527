"""Splatting: features of pixels, spread along their rays, add up in the BEV cells they reach (LSS).

Every feature cell of a camera and every depth bin make a point of the frustum, and every point adds
probability * feature to the BEV cell it lies in (arXiv 2008.05711, section 3). That is a sparse matrix whose
entries are the probabilities: it is applied as such, and the outer product of features and probabilities,
a hundred times as large as the result, is never made. Which point lies in which cell depends on the
calibration only: points are sorted by cell once.

Axes: `B` key frames, `N` cameras, `C` channels, `D` depth bins, `h w` feature cells, `S` points in the grid,
`V` BEV cells (X Y).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.camera import invert_pinhole
from occfeat.geometry.distortion import undistort
from occfeat.geometry.grid import VoxelGrid
from occfeat.machine.waiting import upload
from occfeat.models.lifting.plans import Building


@dataclass(frozen=True)
class DepthBins:
    """Equal bins of depth in metres: along the optical axis, or along the ray for a fisheye."""

    nearest_m: float
    farthest_m: float
    count: int

    def centers_m(self) -> Float[Tensor, " D"]:
        """Return the centre of each bin."""
        size_m = (self.farthest_m - self.nearest_m) / self.count
        return self.nearest_m + size_m * (torch.arange(self.count) + 0.5)

    def index(self, depth_m: Float[Tensor, " P"]) -> tuple[Int64[Tensor, " P"], Bool[Tensor, " P"]]:
        """Return the bin of each depth, and whether it lies in one at all; the index of others is 0."""
        scaled = (depth_m - self.nearest_m) / (self.farthest_m - self.nearest_m) * self.count
        inside = (scaled >= 0) & (scaled < self.count)
        return torch.where(inside, scaled, torch.zeros_like(scaled)).long(), inside


@dataclass(frozen=True)
class SplattingPlan:
    """The points of one rig's frusta that lie in the grid, in the order of their BEV cells."""

    pixels: Int64[Tensor, " S"]
    """Feature cell of each point, counted through all cameras (N h w)."""
    bins: Int64[Tensor, " S"]
    """Depth bin of each point."""
    starts: Int64[Tensor, " V_plus_1"]
    """Where the points of each BEV cell begin; the last number is where they all end."""


def build_plan(
    cameras: Cameras,
    feature_size: tuple[int, int],
    stride_px: int,
    grid: VoxelGrid,
    bins: DepthBins,
    device: torch.device | None = None,
) -> Building[SplattingPlan]:
    """Build the plan of one rig; it depends on the calibration only.

    Absent cameras have no points, nor have feature cells whose centre lies outside the image, where its size
    is not a multiple of the stride, or which no ray reaches through the lens.

    Args:
        cameras: Calibration of one key frame, without batch axis.
        feature_size: (height, width) of the features in cells.
        stride_px: Pixels per feature cell; cell 0 begins at pixel position 0.
        grid: Points are added up in its columns, those above or below it are dropped.
        bins: The depths.
        device: Where features will be. None: where the calibration is.
    """
    yield torch.empty(0, dtype=torch.int64)  # everything is known: points are sorted on the CPU
    points_ego, valid = frustum(cameras, feature_size, stride_px, bins)
    cell, inside = grid.cell_index(points_ego.flatten(0, 3))
    kept = (inside & valid[..., None].expand(points_ego.shape[:-1]).flatten()).nonzero()[:, 0]
    column, order = (cell[kept, 0] * grid.shape[1] + cell[kept, 1]).sort(stable=True)
    points = kept[order]
    edges = torch.arange(grid.shape[0] * grid.shape[1] + 1, device=column.device)
    device = device or cameras.intrinsics.device
    return SplattingPlan(
        pixels=upload(points // bins.count, device),
        bins=upload(points % bins.count, device),
        starts=upload(torch.searchsorted(column, edges), device),
    )


def frustum(
    cameras: Cameras, feature_size: tuple[int, int], stride_px: int, bins: DepthBins
) -> tuple[Float32[Tensor, "N h w D 3"], Bool[Tensor, "N h w"]]:
    """Return points in the ego frame at every feature cell's centre and depth, and which cells have any.

    Computed on the CPU in double precision: no autocast, and the same cells on every device.
    """
    pose, intrinsics = cameras.ego_from_camera.cpu().double(), cameras.intrinsics.cpu().double()
    v, u = (stride_px * (torch.arange(count, dtype=torch.float64) + 0.5) for count in feature_size)
    v, u = torch.meshgrid(v, u, indexing="ij")
    homogeneous = torch.stack((u, v, torch.ones_like(u)), dim=-1)  # (h, w, 3)
    in_image = (u < cameras.image_size[1]) & (v < cameras.image_size[0])
    exist = in_image & cameras.present.cpu()[:, None, None]
    if cameras.lenses is None:
        turn = pose[:, :3, :3] @ invert_pinhole(intrinsics)
        rays_ego = torch.einsum("nij,hwj->nhwi", turn, homogeneous)  # for one metre of depth
    else:
        flat = torch.einsum("nij,hwj->nihw", invert_pinhole(intrinsics)[:, :2], homogeneous).flatten(2)
        rays, reached = undistort(cameras.lenses.cpu().double(), *flat.unbind(1))
        rays_ego = (rays @ pose[:, :3, :3].mT).view(-1, *feature_size, 3)
        exist &= reached.view(-1, *feature_size)
    points_ego = (
        rays_ego[..., None, :] * bins.centers_m().double()[:, None] + pose[:, None, None, None, :3, 3]
    )
    return points_ego.float(), exist


def splat(
    features: Float[Tensor, "B N C h w"],
    probabilities: Float[Tensor, "B N D h w"],
    plans: Sequence[SplattingPlan],
    shape: tuple[int, int],
) -> Float32[Tensor, "B C X Y"]:
    """Return sums of probability * feature over the points in each BEV cell, in float32 even under autocast.

    Args:
        features: Image features of all cameras.
        probabilities: How likely the surface that a feature cell shows lies in each depth bin.
        plans: One plan for each key frame of the batch.
        shape: Number of BEV cells along x and y.
    """
    with torch.autocast(features.device.type, enabled=False):
        planes = [
            _splat_one(one.float(), likely.float(), plan)
            for one, likely, plan in zip(features, probabilities, plans, strict=True)
        ]
    return torch.stack(planes).mT.reshape(len(planes), -1, *shape)


def _splat_one(
    features: Float32[Tensor, "N C h w"], probabilities: Float32[Tensor, "N D h w"], plan: SplattingPlan
) -> Float32[Tensor, "V C"]:
    """Splat one rig by a sorted segment sum; its gradient makes no outer product either."""
    table = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    by_pixel = probabilities.permute(0, 2, 3, 1).reshape(-1)  # (N h w D)
    weights = by_pixel.index_select(0, plan.pixels * probabilities.shape[1] + plan.bins)
    return F.embedding_bag(
        plan.pixels,
        table,
        plan.starts,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    )

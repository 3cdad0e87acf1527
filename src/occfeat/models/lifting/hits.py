"""Which BEV queries each camera sees, and where: the plan of BEVFormer's spatial cross-attention.

A query stands for a pillar of the grid with `K` reference points, spread evenly over its height. It hits a
camera if at least one of them falls into the image (paper section 3.3). A query hits about one camera of six,
so a plan lists for every camera the queries that hit it, filled up to the longest list.

Axes: `*B` none or key frames, `N` cameras, `K` reference points per pillar, `Q` queries (X Y), `H` queries
listed per camera.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.grid import VoxelGrid
from occfeat.machine.waiting import numbers_like
from occfeat.models.lifting.plans import Building
from occfeat.models.lifting.projection import project_voxels


@dataclass(frozen=True)
class QueryHits:
    """The queries that are computed for each camera."""

    queries: Int64[Tensor, "*B N H"]
    """Index of each query; fillers are any query."""
    positions: Float32[Tensor, "*B N H K 2"]
    """Reference points as shares (x, y) of width and height of the features; 0 where unseen."""
    seen: Bool[Tensor, "*B N H K"]
    """Which reference points the camera sees."""
    shares: Float32[Tensor, "*B N H"]
    """One over the number of cameras the query hits; 0 for fillers."""


def build_hits(
    cameras: Cameras,
    feature_size: tuple[int, int],
    stride_px: int,
    grid: VoxelGrid,
    heights: int,
    device: torch.device | None = None,
) -> Building[QueryHits]:
    """List the queries that each camera of one rig sees; they depend on the calibration only.

    Args:
        cameras: Calibration of one key frame, without batch axis. Absent cameras see nothing.
        feature_size: (height, width) of the features in cells.
        stride_px: Pixels per feature cell; cell 0 begins at pixel position 0.
        grid: Its cells are the queries, its bounds along z those of the pillars.
        heights: Reference points per pillar.
        device: Where features will be. None: where the calibration is.
    """
    every = project_queries(cameras, feature_size, stride_px, grid, heights, device)
    hit = every.shares > 0
    longest = max(*(yield hit.sum(1)), 1)  # never empty, so that every shape has a size
    listed = hit.int().argsort(dim=1, descending=True, stable=True)[:, :longest]
    return QueryHits(
        queries=listed,
        positions=_rows(every.positions, listed),
        seen=_rows(every.seen, listed),
        shares=_rows(every.shares, listed),
    )


def project_queries(
    cameras: Cameras,
    feature_size: tuple[int, int],
    stride_px: int,
    grid: VoxelGrid,
    heights: int,
    device: torch.device | None = None,
) -> QueryHits:
    """Return every query in every camera: the plain way to the same result; arguments as for `build_hits`."""
    u, v, visible = project_voxels(cameras, _pillars(grid, heights), device)
    seen = visible.flatten(2).mT.contiguous()  # (N, Q, K)
    size_px = numbers_like((feature_size[1] * stride_px, feature_size[0] * stride_px), u)
    positions = torch.stack((u, v), dim=-1).flatten(2, 3).transpose(1, 2) / size_px
    hit = seen.any(-1)
    return QueryHits(
        queries=torch.arange(hit.shape[1], device=hit.device).expand_as(hit),
        positions=torch.where(seen[..., None], positions, torch.zeros_like(positions)),
        seen=seen,
        shares=hit / hit.sum(0).clamp(min=1),
    )


def stack_hits(rigs: Sequence[QueryHits]) -> QueryHits:
    """Join the hits of a batch, the lists of all key frames filled up to the longest one."""
    longest = max(rig.queries.shape[1] for rig in rigs)
    missing = [longest - rig.queries.shape[1] for rig in rigs]
    pairs = list(zip(rigs, missing, strict=True))
    return QueryHits(
        queries=torch.stack([F.pad(rig.queries, (0, rows)) for rig, rows in pairs]),
        positions=torch.stack([F.pad(rig.positions, (0, 0, 0, 0, 0, rows)) for rig, rows in pairs]),
        seen=torch.stack([F.pad(rig.seen, (0, 0, 0, rows)) for rig, rows in pairs]),
        shares=torch.stack([F.pad(rig.shares, (0, rows)) for rig, rows in pairs]),
    )


def _pillars(grid: VoxelGrid, heights: int) -> VoxelGrid:
    """Return the same box with this many heights: the centres of its cells are the reference points."""
    height_m = (grid.upper_m[2] - grid.lower_m[2]) / heights
    return VoxelGrid(grid.lower_m, grid.upper_m, (*grid.cell_m[:2], height_m))


def _rows(tensor: Tensor, listed: Int64[Tensor, "N H"]) -> Tensor:
    """Return the listed queries of each camera."""
    return torch.stack([of_camera[rows] for of_camera, rows in zip(tensor, listed, strict=True)])

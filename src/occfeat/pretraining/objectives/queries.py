"""Img-ALSO, the paper's baseline: predict occupancy at points just behind and in front of LiDAR returns.

Query points are those of ALSO (arXiv 2212.05867). They are decoded from the voxels of OccFeat's head (this
project's choice), so that the two methods differ only in their targets.

Axes: `B` key frames, `P` returns, `R` drawn returns, `Q` queries, `D` channels per voxel, `X Y Z` voxels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from occfeat.data.sample.lidar import Points
from occfeat.geometry.grid import VoxelGrid
from occfeat.pretraining.objectives.contract import HeadShape, Objective, Term
from occfeat.pretraining.objectives.entropy import mean_entropy
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.settings.sections import QueryConfig
from occfeat.training.overlap import is_positive, overlap


@dataclass(frozen=True)
class Queries:
    """Points inside the grid."""

    key_frame: Int64[Tensor, " Q"]
    position_cells: Float[Tensor, "Q 3"]
    """Position in cells from the lower corner of the grid; the centre of voxel i is at i + 0.5."""


@dataclass(frozen=True)
class QueryTarget:
    """Queries and their occupancy."""

    queries: Queries
    occupied: Bool[Tensor, " Q"]


class QueryDecoder(nn.Module):
    """Decodes the interpolated voxel features and the position in the voxel to one logit.

    Args:
        channels: Channels per voxel, and width of the two hidden layers (this project's choice).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channels + 3, channels),
            nn.GELU(),
            nn.Linear(channels, channels),
            nn.GELU(),
            nn.Linear(channels, 1),
        )

    def forward(self, voxels: Float[Tensor, "B D X Y Z"], queries: Queries) -> Float[Tensor, " Q"]:
        """Return the occupancy logit of each query."""
        features = interpolate(voxels, queries)
        offset = queries.position_cells - queries.position_cells.floor() - 0.5
        return self.layers(torch.cat((features, offset), dim=1))[:, 0]


@dataclass(frozen=True)
class QueryOccupancy(Objective[QueryDecoder, QueryTarget]):
    """Predict occupancy at points near LiDAR returns (Img-ALSO)."""

    weight: float
    config: QueryConfig
    """Options of query points."""
    name = "queries"

    def build_output(self, shape: HeadShape) -> QueryDecoder:
        """Build the decoder of query points."""
        return QueryDecoder(shape.voxel_channels)

    def target(self, evidence: Evidence) -> QueryTarget:
        """Draw queries, and return them with their occupancy."""
        return query_target(evidence.points, len(evidence.batch), evidence.grid, self.config)

    def of_key_frames(self, target: QueryTarget, chosen: Int64[Tensor, " b"]) -> QueryTarget:
        """Return the queries of some key frames of a batch."""
        queries = target.queries
        mine = torch.isin(queries.key_frame, chosen)
        key_frame = torch.searchsorted(chosen, queries.key_frame[mine])
        return QueryTarget(Queries(key_frame, queries.position_cells[mine]), target.occupied[mine])

    def loss(self, output: QueryDecoder, read: Tensor, target: QueryTarget) -> Term:
        """Return the binary cross-entropy as loss, the IoU of the queries as metric."""
        logits = output(read, target.queries)
        found = overlap(is_positive(logits), target.occupied)
        # With a mask, the sum is divided by the count: the gradients of a mean are rounded otherwise.
        loss = mean_entropy(logits, target.occupied, torch.ones_like(target.occupied))
        return Term(loss, {"query_iou": found.iou})

    def occupancy_probability(self, output: QueryDecoder, read: Tensor) -> Float[Tensor, "B X Y Z"]:
        """Return the occupancy probability of a query at the centre of each voxel."""
        return output(read, voxel_centers(read)).sigmoid().view_as(read[:, 0])


def query_target(points: Points, key_frames: int, grid: VoxelGrid, config: QueryConfig) -> QueryTarget:
    """Draw returns inside the grid, with replacement, and three queries on the ray of each.

    Random numbers come from torch's global CPU generator, a fixed number per key frame, and do not depend on
    device or micro-batches. Queries outside the grid are dropped.
    """
    _, inside = grid.cell_index(points.points_ego)
    positions, numbers, occupied = [], [], []
    for key_frame in range(key_frames):
        draw = torch.rand(4, config.returns).to(inside.device)
        candidates = ((points.key_frame == key_frame) & inside).nonzero()[:, 0]
        # Rounding can raise the product to the count itself.
        number = (draw[0] * len(candidates)).long().clamp(max=len(candidates) - 1)
        chosen = candidates[number] if len(candidates) else candidates
        along = draw[1:, : len(chosen)]
        behind, before, between = query_points(
            points.points_ego[chosen], points.origins_ego[chosen], along, config.distance_m
        )
        positions += [behind, before, between]
        occupied += [torch.ones_like(chosen), torch.zeros_like(chosen), torch.zeros_like(chosen)]
        numbers += [torch.full_like(chosen, key_frame)] * 3
    return _inside_only(torch.cat(positions), torch.cat(numbers), torch.cat(occupied).bool(), grid)


def query_points(
    points_ego: Float[Tensor, "R 3"],
    origins_ego: Float[Tensor, "R 3"],
    along: Float[Tensor, "3 R"],
    distance_m: float,
) -> Float[Tensor, "3 R 3"]:
    """Return three queries on each ray: behind the return, in front of it, and between sensor and return.

    Args:
        points_ego: LiDAR returns.
        origins_ego: Origins of their rays.
        along: Numbers from 0 to 1: the distance behind, the distance in front, and the fraction of the ray.
        distance_m: Largest distance behind and in front; in front, at most that to the sensor.
    """
    ray = points_ego - origins_ego
    range_m = ray.norm(dim=1, keepdim=True)
    step = distance_m * ray / range_m.clamp(min=distance_m)
    behind = points_ego + along[0, :, None] * step
    before = points_ego - along[1, :, None] * step
    return torch.stack((behind, before, origins_ego + along[2, :, None] * ray))


def _inside_only(
    points_ego: Float[Tensor, "Q 3"],
    key_frame: Int64[Tensor, " Q"],
    occupied: Bool[Tensor, " Q"],
    grid: VoxelGrid,
) -> QueryTarget:
    """Return the queries inside the grid, in cells."""
    _, inside = grid.cell_index(points_ego)
    lower_m, cell_m = points_ego.new_tensor(grid.lower_m), points_ego.new_tensor(grid.cell_m)
    position_cells = (points_ego[inside] - lower_m) / cell_m
    return QueryTarget(Queries(key_frame[inside], position_cells), occupied[inside])


def voxel_centers(voxels: Float[Tensor, "B D X Y Z"]) -> Queries:
    """Return one query at the centre of every voxel, in the order of the volume."""
    cells = torch.ones_like(voxels[:, 0], dtype=torch.bool).nonzero()
    return Queries(cells[:, 0], cells[:, 1:] + 0.5)


def interpolate(voxels: Float[Tensor, "B D X Y Z"], queries: Queries) -> Float[Tensor, "Q D"]:
    """Interpolate trilinearly between voxel centres, with constant extrapolation.

    Each voxel is gathered only once, so that gradients are deterministic. `grid_sample` would need the same
    number of queries in every key frame.
    """
    last = queries.position_cells.new_tensor(voxels.shape[2:]) - 1
    position = (queries.position_cells - 0.5).clamp(min=0).minimum(last)
    low = position.floor()
    fraction = position - low
    corners = torch.tensor([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)], device=low.device)
    cells = (low[:, None] + corners).minimum(last).long()  # (Q, 8, 3)
    weights = torch.where(corners.bool(), fraction[:, None], 1 - fraction[:, None]).prod(dim=-1)
    number = queries.key_frame[:, None]
    for axis, count in enumerate(voxels.shape[2:]):
        number = number * count + cells[..., axis]
    needed, row = torch.unique(number, return_inverse=True)
    volume = voxels.permute(0, 2, 3, 4, 1)
    features = volume[torch.unravel_index(needed, volume.shape[:-1])].float()
    return F.embedding_bag(row, features, per_sample_weights=weights, mode="sum")

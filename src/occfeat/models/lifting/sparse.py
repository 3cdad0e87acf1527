"""Lifting: the image features each voxel centre falls on, averaged over the cameras that see it.

A voxel is seen by about one camera of six, so `build_plan` lists the visible (voxel, camera) pairs once, with
the four feature cells around each projection and their bilinear weights divided by the number of cameras.
`lift` applies that list as a sparse matrix product: the same numbers as sampling every voxel in every camera
(`sampling.lift_dense`, the reference) at a fraction of time and memory. The transpose of the list
gives the gradient. Both directions only gather, so results are deterministic on every device.

Axes: `B` key frames, `N` cameras, `C` channels, `h w` feature cells, `P` visible pairs, `V` voxels in the
order Z, X, Y. Volumes are `B C Z X Y`, so that stacking the heights is a free change of shape.

Borders (this project's choice): a voxel counts as seen by the rule of `geometry.camera.visible_in`; within
half a cell of the border of the feature map it gets the outermost features, undiminished.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int32
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.grid import VoxelGrid
from occfeat.machine.waiting import true_entries
from occfeat.models.lifting.plans import Building
from occfeat.models.lifting.projection import project_voxels
from occfeat.models.lifting.sampling import bilinear_taps

CPU_BLOCK = 8192
"""Rows that are transposed at once on a CPU. Fewer fit its cache better, but threads meet more often."""


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix by rows; products with it only gather."""

    starts: Int32[Tensor, " R_plus_1"]
    """Where the entries of each row begin; the last number is where they all end."""
    columns: Int32[Tensor, " E"]
    weights: Float32[Tensor, " E"]

    def product(self, dense: Float32[Tensor, "K C"]) -> Float32[Tensor, "R C"]:
        """Return this matrix times a dense one."""
        return F.embedding_bag(
            self.columns,
            dense,
            self.starts,
            mode="sum",
            per_sample_weights=self.weights,
            include_last_offset=True,
        )


@dataclass(frozen=True)
class LiftingPlan:
    """The lifting of one rig as one sparse matrix per height, and its transpose."""

    feature_shape: tuple[int, int, int]
    """Cameras, and height and width of their features in cells."""
    volume_shape: tuple[int, int, int]
    """Voxels along Z, X and Y."""
    slabs: tuple[SparseRows, ...]
    """For each height the matrix from all feature cells (N h w) to the voxels of that height (X Y)."""

    @cached_property
    def transposed_slabs(self) -> tuple[SparseRows, ...]:
        """For each height the matrix that takes gradients from its voxels back to the feature cells."""
        cameras, height, width = self.feature_shape
        return tuple(_transpose(slab, cameras * height * width) for slab in self.slabs)


def build_plan(
    cameras: Cameras,
    feature_size: tuple[int, int],
    stride_px: int,
    grid: VoxelGrid,
    device: torch.device | None = None,
) -> Building[LiftingPlan]:
    """Build the plan of one rig; it depends on the calibration only.

    Args:
        cameras: Calibration of one key frame, without batch axis. Absent cameras see nothing.
        feature_size: (height, width) of the features in cells.
        stride_px: Pixels per feature cell; cell 0 begins at pixel position 0.
        grid: Voxels to lift to.
        device: Where features will be. None: where the calibration is.
    """
    u, v, visible = project_voxels(cameras, grid, device)
    seen_by = visible.sum(0, dtype=torch.int32).flatten(1)
    pairs = yield seen_by.sum(1)
    voxel, camera = true_entries(visible.flatten(1).T.contiguous(), sum(pairs)).unbind(1)
    pair = camera * seen_by.numel() + voxel
    cell = torch.stack((u.flatten()[pair], v.flatten()[pair])) / stride_px - 0.5
    columns, weights = bilinear_taps(cell, camera, feature_size)
    weights /= seen_by.flatten()[voxel][:, None]
    volume_shape = (u.shape[1], u.shape[2], u.shape[3])
    feature_shape = (u.shape[0], *feature_size)
    return LiftingPlan(feature_shape, volume_shape, tuple(_split(seen_by, columns, weights, pairs)))


def lift(features: Float[Tensor, "B N C h w"], plans: Sequence[LiftingPlan]) -> Float32[Tensor, "B C Z X Y"]:
    """Return features at voxel centres, in float32 even under autocast; 0 where no camera sees the voxel.

    Args:
        features: Image features of all cameras.
        plans: One plan for each key frame of the batch.
    """
    volume: Tensor = _Lift.apply(features.float(), tuple(plans))
    return volume


class _Lift(torch.autograd.Function):
    """The sparse product and its gradient, one height at a time to need little memory."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, plans: tuple[LiftingPlan, ...]) -> Tensor:
        """Multiply the features of each rig with its plan."""
        ctx.plans = plans
        channels = features.shape[2]
        volume = features.new_empty(len(plans), channels, *plans[0].volume_shape)
        for one, rig_features, plan in zip(volume.flatten(3), features, plans, strict=True):
            cells = rig_features.movedim(1, -1).reshape(-1, channels)
            for height, slab in enumerate(plan.slabs):
                _copy_transposed(slab.product(cells), one[:, height])
        return volume

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Multiply the gradient by each volume with the transposed plan."""
        (by_volume,) = gradients
        return torch.stack(
            [_lower(one.flatten(2), plan) for one, plan in zip(by_volume, ctx.plans, strict=True)]
        ), None


def _lower(by_volume: Float32[Tensor, "C Z XY"], plan: LiftingPlan) -> Float32[Tensor, "N C h w"]:
    """Return the gradient by the features of one rig, given that by its volume."""
    channels, _, voxels = by_volume.shape
    rows = by_volume.new_empty(voxels, channels)
    cells = by_volume.new_zeros(len(plan.transposed_slabs[0].starts) - 1, channels)
    for height, slab in enumerate(plan.transposed_slabs):
        _copy_transposed(by_volume[:, height], rows)
        cells += slab.product(rows)
    return cells.view(*plan.feature_shape, channels).movedim(-1, 1)


def _copy_transposed(source: Float[Tensor, "R K"], target: Float[Tensor, "K R"]) -> None:
    """Copy `source.T` to `target`, in blocks on a CPU, as whole rows would not fit its cache."""
    longer = max(source.shape)
    block = CPU_BLOCK if source.device.type == "cpu" else longer
    for start in range(0, longer, block):
        part = slice(start, start + block)
        if source.shape[0] == longer:
            target[:, part] = source[part].T
        else:
            target[part] = source[:, part].T


def _split(
    seen_by: Int32[Tensor, "Z XY"],
    columns: Int32[Tensor, "P 4"],
    weights: Float32[Tensor, "P 4"],
    pairs: list[int],
) -> Iterator[SparseRows]:
    """Return one matrix per height from the taps of all pairs, which are in the order of the voxels.

    Args:
        seen_by: Number of cameras that see each voxel.
        columns: Feature cells of each pair.
        weights: Weights of these cells.
        pairs: Number of pairs of each height.
    """
    starts = F.pad(4 * seen_by.cumsum(1, dtype=torch.int32), (1, 0))
    parts = zip(starts, torch.split(columns, pairs), torch.split(weights, pairs), strict=True)
    return (SparseRows(start, column.flatten(), weight.flatten()) for start, column, weight in parts)


def _transpose(matrix: SparseRows, columns: int) -> SparseRows:
    """Return the transposed matrix: entries in the order of their columns, then of their rows."""
    ordered, order = matrix.columns.sort(stable=True)
    rows = torch.arange(len(matrix.starts) - 1, dtype=torch.int32, device=ordered.device)
    row_of = rows.repeat_interleave(matrix.starts.diff(), output_size=len(ordered))
    edges = torch.arange(columns + 1, dtype=torch.int32, device=ordered.device)
    starts = torch.searchsorted(ordered, edges, out_int32=True)
    return SparseRows(starts, row_of[order], matrix.weights[order])

"""Students without plans and sparse products, in exportable operators.

A student is split in two. `project` computes what depends only on the calibration; `forward` computes the
rest from images and that projection. For a fixed rig, the projection runs once and is stored with the
weights. For an unknown rig, it is exported, too. Convolutions, samplings and interpolations have at most four
axes.

Axes: `N` cameras, `H W` image in pixels, `C` channels, `X Y Z` voxels (x forward, y left, z up).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from occfeat.data.sample.cameras import Cameras
from occfeat.errors import ExportError
from occfeat.models.encoders.encoder import STRIDE_PX, feature_size
from occfeat.models.lifting.hits import QueryHits, build_hits, project_queries
from occfeat.models.lifting.plans import finish
from occfeat.models.lifting.published import published_positions
from occfeat.models.lifting.splatting import frustum
from occfeat.models.students.bevformer import BevFormer
from occfeat.models.students.lss import Lss
from occfeat.models.students.own import OwnStudent
from occfeat.models.students.published_simplebev import PublishedSimpleBev
from occfeat.models.students.simplebev import SimpleBev
from occfeat.release.dense_lifting import feature_positions, only_seen, sample_features

Projection = tuple[Tensor, ...]
"""The projection of a rig: tensors that depend only on its calibration."""


class DenseStudent(nn.Module):
    """An exportable equivalent of a student, for one key frame at a time."""

    def project(self, cameras: Cameras) -> Projection:
        """Return the projection of one key frame's rig, in exportable operators."""
        raise NotImplementedError

    def project_fixed(self, cameras: Cameras) -> Projection:
        """Return the projection of a fixed rig, without invisible parts."""
        return self.project(cameras)

    def forward(self, images: UInt8[Tensor, "N 3 H W"], *projection: Tensor) -> Float[Tensor, "1 C X Y"]:
        """Return BEV features."""
        raise NotImplementedError


class DenseSimpleBev(DenseStudent):
    """SimpleBEV that samples every voxel in every camera."""

    def __init__(self, student: SimpleBev) -> None:
        super().__init__()
        self.student = student

    def project(self, cameras: Cameras) -> Projection:
        """Return positions of voxels in the features of each camera, and their weights."""
        return feature_positions(cameras, feature_size(cameras.image_size), STRIDE_PX, self.student.grid)

    def project_fixed(self, cameras: Cameras) -> Projection:
        """Return the same, with cameras merged whose visible voxels are disjoint."""
        return only_seen(*self.project(cameras))

    def forward(self, images: UInt8[Tensor, "N 3 H W"], *projection: Tensor) -> Float[Tensor, "1 C X Y"]:
        """Return BEV features."""
        volume = sample_features(self.student.encoder(images), *projection)
        stacked = volume.reshape(1, -1, *self.student.grid.bev.shape)  # channels and heights in one axis
        return self.student.bev_encoder(self.student.compress(stacked))


class DensePublishedSimpleBev(DenseStudent):
    """The published SimpleBEV that samples every voxel in every camera."""

    def __init__(self, student: PublishedSimpleBev) -> None:
        super().__init__()
        self.student = student

    def project(self, cameras: Cameras) -> Projection:
        """Return positions of voxels in the features of each camera, and a mask of the visible ones."""
        size, grid = feature_size(cameras.image_size), self.student.grid
        positions, seen = published_positions(cameras, size, STRIDE_PX, grid, self.student.aligned)
        return positions[:, None], seen.to(positions.dtype)

    def forward(self, images: UInt8[Tensor, "N 3 H W"], *projection: Tensor) -> Float[Tensor, "1 C X Y"]:
        """Return BEV features."""
        features, (positions, seen) = self.student.encoder(images), projection
        total = count = features.new_zeros(())
        for one, at, sees in zip(features, positions, seen, strict=True):
            read = F.grid_sample(one[None], at[None], align_corners=False)[0, :, 0] * sees
            total, count = total + read, count + (read != 0).to(read.dtype)
        return self._encode(total / count.clamp(min=1))

    def _encode(self, volume: Float[Tensor, "C ZXY"]) -> Float[Tensor, "1 C2 X Y"]:
        """Return BEV features of a volume, mirrored as the published network expects it."""
        x, y, z = self.student.grid.shape
        down_and_right = volume.view(-1, z, x, y).flip(1, 3).reshape(1, -1, x, y)
        return self.student.bev_network(self.student.compress(down_and_right)).flip(3)


class DenseBevFormer(DenseStudent):
    """BEVFormer that computes every query for every camera, or the visible ones of a fixed rig."""

    def __init__(self, student: BevFormer) -> None:
        super().__init__()
        self.student = student

    def project(self, cameras: Cameras) -> Projection:
        """Return every query in every camera."""
        return _projection(project_queries(*self._layout(cameras)))

    def project_fixed(self, cameras: Cameras) -> Projection:
        """Return only visible queries."""
        return _projection(finish(build_hits(*self._layout(cameras))))

    def _layout(self, cameras: Cameras) -> tuple[Any, ...]:
        """Return what the queries that a rig sees depend on."""
        student = self.student
        return cameras, feature_size(cameras.image_size), STRIDE_PX, student.grid, student.heights

    def forward(self, images: UInt8[Tensor, "N 3 H W"], *projection: Tensor) -> Float[Tensor, "1 C X Y"]:
        """Return BEV features."""
        return self.student.attend(
            self.student.encoder(images), QueryHits(*(one[None] for one in projection))
        )


def _projection(hits: QueryHits) -> Projection:
    """Return hits as tensors, which an export can take as inputs."""
    return hits.queries, hits.positions, hits.seen, hits.shares


class DenseLss(DenseStudent):
    """LSS that computes the outer product of features and depths and sums it."""

    def __init__(self, student: Lss) -> None:
        super().__init__()
        self.student = student

    def project(self, cameras: Cameras) -> Projection:
        """Return feature cell, depth bin and BEV cell of every point; an extra cell is for points outside."""
        grid, bins, size = self.student.grid, self.student.bins, feature_size(cameras.image_size)
        points_ego, valid = frustum(cameras, size, STRIDE_PX, bins)
        cell, inside = grid.cell_index(points_ego.flatten(0, 3))
        kept = inside & valid[..., None].expand(points_ego.shape[:-1]).flatten()
        column = torch.where(kept, cell[:, 0] * grid.shape[1] + cell[:, 1], grid.shape[0] * grid.shape[1])
        point = torch.arange(len(column), device=column.device)
        return point // bins.count, point % bins.count, column

    def project_fixed(self, cameras: Cameras) -> Projection:
        """Return only points inside the grid."""
        pixels, depths, column = self.project(cameras)
        inside = column < self.student.grid.shape[0] * self.student.grid.shape[1]
        return pixels[inside], depths[inside], column[inside]

    def forward(self, images: UInt8[Tensor, "N 3 H W"], *projection: Tensor) -> Float[Tensor, "1 C X Y"]:
        """Return BEV features."""
        pixels, depths, column = projection
        student, shape = self.student, self.student.grid.bev.shape
        maps = student.encoder(images)
        likely = student.depth(maps).softmax(1).movedim(1, -1).flatten()
        by_pixel = maps.movedim(1, -1).flatten(0, 2)
        weights = likely.index_select(0, pixels * student.bins.count + depths)
        points = by_pixel.index_select(0, pixels) * weights[:, None]
        cells = points.new_zeros(shape[0] * shape[1] + 1, points.shape[1]).index_add(0, column, points)
        return student.encode(cells[:-1].mT.reshape(1, -1, *shape))


DENSE: dict[type[nn.Module], Callable[..., DenseStudent]] = {
    SimpleBev: DenseSimpleBev,
    PublishedSimpleBev: DensePublishedSimpleBev,
    BevFormer: DenseBevFormer,
    Lss: DenseLss,
}
"""What each student is exported as."""


def densify(student: nn.Module) -> DenseStudent:
    """Return an exportable equivalent of a student; weights are shared.

    Raises:
        ExportError: It is a module of the user's own, or has no form that can be exported.
    """
    if type(student) in DENSE:
        return DENSE[type(student)](student)
    hint = f"Students that can be exported: {', '.join(one.__name__ for one in DENSE)}."
    if isinstance(student, OwnStudent):
        what = "This student is a module of your own, and only its author knows how to export it."
        raise ExportError(what, hint=hint)
    raise ExportError(
        f"The student {type(student).__name__} has no `DenseStudent`, which is what is exported.",
        hint=f"Write one in `release/dense.py` and add it to `DENSE`. {hint}",
    )

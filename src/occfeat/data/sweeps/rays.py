"""Voxels that the rays of one sweep hit and cross, by an exact traversal.

A ray enters a voxel through a plane between two cells. At the n-th plane along one axis, the other two
coordinates are linear in n. So every voxel of a ray is found without sorting and without oversampling: for
each axis, for each plane, of all rays at once. It runs in the loading processes. The sampling of
`objectives.visibility`, on the device of the network, costs them nothing, but can miss a voxel.

Axes: `P` returns, `R` rays, `X Y Z` voxels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy import ndarray

from occfeat.data.sample.lidar import Points
from occfeat.geometry.grid import VoxelGrid

_PAD = 1
"""Cells around the grid that take up rounding at its borders."""
_BLOCK_PLANES = 8
"""Planes of a ray that are computed at once: more take more memory, fewer more time."""
_AFTER_PLANE = 1e-7
"""Distance behind a plane, in cells, at which the voxel is read: a ray through an edge enters the far one."""


@dataclass(frozen=True)
class RayVoxels:
    """Voxels that a sweep hits, and voxels that its rays cross."""

    hit: Bool[ndarray, "X Y Z"]
    """Whether each voxel contains a return."""
    crossed: Bool[ndarray, "X Y Z"]
    """Whether a ray passes through each voxel; never one that is hit."""


def trace(points: Points, grid: VoxelGrid, *, all_rays: bool = False) -> RayVoxels:
    """Return the voxels that a sweep hits and crosses.

    Rays end at their returns. Of all rays that end in a voxel, or leave the grid through it, only one is
    followed (this project's choice): the others cross nearly the same voxels.

    Args:
        points: Returns of one sweep, also outside the grid. Those that are not finite are left out.
        grid: The voxels.
        all_rays: Follow every ray.
    """
    cell, inside = (part.numpy() for part in grid.cell_index(points.points_ego))
    hit = np.zeros(grid.shape, dtype=bool)
    hit[tuple(cell[inside].T)] = True
    ends = _Ends(points.points_ego.numpy(), points.origins_ego.numpy(), cell, inside)
    if not all_rays:
        followed = ~inside
        followed[inside] = _one_of_each(_flat(cell[inside], grid.shape), hit.size)
        ends = ends.chosen(followed)
    rays = _clip(ends, grid)
    if not all_rays:
        rays = rays.chosen(_one_of_each(_flat(rays.last, grid.shape), hit.size))
    padded = np.zeros([count + 2 * _PAD for count in grid.shape], dtype=bool)
    for axis in range(3):
        _mark_entered(padded, rays, axis)
    crossed = padded[_PAD:-_PAD, _PAD:-_PAD, _PAD:-_PAD].copy()
    crossed[tuple(rays.first.T)] = True
    crossed &= ~hit
    return RayVoxels(hit, crossed)


@dataclass(frozen=True)
class _Ends:
    """Both ends of rays, and the voxels of their returns."""

    point_ego: Float[ndarray, "R 3"]
    origin_ego: Float[ndarray, "R 3"]
    cell: Int64[ndarray, "R 3"]
    inside: Bool[ndarray, " R"]
    """Whether the return is in the grid; if not, its voxel means nothing."""

    def chosen(self, mask: Bool[ndarray, " R"]) -> "_Ends":
        """Return some of the rays."""
        return _Ends(self.point_ego[mask], self.origin_ego[mask], self.cell[mask], self.inside[mask])


@dataclass(frozen=True)
class _Rays:
    """Parts of rays inside the grid."""

    origin: Float[ndarray, "R 3"]
    """Origin of each ray, in cells from the lower corner of the grid."""
    ray: Float[ndarray, "R 3"]
    """From the origin to the return, in cells; never 0 along an axis."""
    span: Float[ndarray, "R 2"]
    """Where the ray enters the grid and where it leaves it or ends, as parts of the ray."""
    first: Int64[ndarray, "R 3"]
    """First voxel inside."""
    last: Int64[ndarray, "R 3"]
    """Last voxel inside: that of the return, or the one through which the ray leaves."""

    def chosen(self, which: Bool[ndarray, " R"] | Int64[ndarray, " r"]) -> "_Rays":
        """Return some of the rays."""
        return _Rays(
            self.origin[which], self.ray[which], self.span[which], self.first[which], self.last[which]
        )


def _clip(ends: _Ends, grid: VoxelGrid) -> _Rays:
    """Return the parts of the rays that are inside the grid."""
    lower_m, cell_m, shape = (np.array(part) for part in (grid.lower_m, grid.cell_m, grid.shape))
    origin = (ends.origin_ego - lower_m) / cell_m
    ray = (ends.point_ego - lower_m) / cell_m - origin
    ray[ray == 0] = 1e-20  # parallel to an axis: always or never inside along it
    with np.errstate(invalid="ignore"):
        one, other = -origin / ray, (shape - origin) / ray
        enter = _largest(np.minimum(one, other)).clip(min=0)
        leave = _smallest(np.maximum(one, other)).clip(max=1)
        passing = leave > enter  # false for what is not finite
    span = np.stack((enter, leave), axis=1)[passing]
    origin, ray = origin[passing], ray[passing]
    first, last = ((origin + part[:, None] * ray).astype(np.int64).clip(0, shape - 1) for part in span.T)
    inside = ends.inside[passing]
    last[inside] = ends.cell[passing][inside]
    return _Rays(origin, ray, span, first, last)


def _largest(values: Float[ndarray, "R 3"]) -> Float[ndarray, " R"]:
    """Return the largest of three; numpy's own reduction of short rows is slow."""
    largest: ndarray = np.maximum(np.maximum(values[:, 0], values[:, 1]), values[:, 2])
    return largest


def _smallest(values: Float[ndarray, "R 3"]) -> Float[ndarray, " R"]:
    """Return the smallest of three."""
    return -_largest(-values)


def _flat(cell: Int64[ndarray, "R 3"], shape: tuple[int, int, int]) -> Int64[ndarray, " R"]:
    """Return the number of each voxel."""
    number: ndarray = (cell[:, 0] * shape[1] + cell[:, 1]) * shape[2] + cell[:, 2]
    return number


def _one_of_each(number: Int64[ndarray, " R"], count: int) -> Bool[ndarray, " R"]:
    """Return a mask that chooses the last entry of each number below `count`."""
    owner = np.empty(count, dtype=np.int64)
    each = np.arange(len(number))
    owner[number] = each
    mask: ndarray = owner[number] == each
    return mask


def _mark_entered(padded: Bool[ndarray, "x y z"], rays: _Rays, axis: int) -> None:
    """Mark the voxels that rays enter through planes across one axis, in a grid with a border."""
    planes = np.abs(rays.last[:, axis] - rays.first[:, axis])
    order = np.argsort(-planes, kind="stable")[: np.count_nonzero(planes)]
    if not len(order):
        return
    rays, planes = rays.chosen(order), planes[order].astype(np.int32)
    origin, ray = rays.origin.T, rays.ray.T
    side = np.where(rays.last[:, axis] > rays.first[:, axis], 1, -1)
    along = rays.first[:, axis] + (side > 0)  # the first plane
    reached = ((along - origin[axis]) / ray[axis]).clip(*rays.span.T)
    stride = [padded.shape[1] * padded.shape[2], padded.shape[2], 1]
    entered = ((rays.first[:, axis] + side + _PAD) * stride[axis]).astype(np.int32)
    beside = [other for other in range(3) if other != axis]
    start = [
        origin[other] + reached * ray[other] + _AFTER_PLANE * np.sign(ray[other]) + _PAD for other in beside
    ]
    step = [side * ray[other] / ray[axis] for other in beside]
    jump = (side * stride[axis]).astype(np.int32)
    flat = padded.reshape(-1)
    numbers = np.arange(_BLOCK_PLANES, dtype=np.int32)[:, None]
    for begin in range(0, int(planes[0]), _BLOCK_PLANES):
        left = np.searchsorted(-planes, -begin)  # rays with a plane of this block
        number = np.minimum(begin + numbers, planes[:left] - 1)
        voxel = number * jump[:left]
        voxel += entered[:left]
        for other, at, each in zip(beside, start, step, strict=True):
            position = number * each[:left]
            position += at[:left]
            voxel += position.astype(np.int32) * np.int32(stride[other])
        flat[voxel] = True


def join(traced: Sequence[RayVoxels]) -> RayVoxels:
    """Return the voxels that several sweeps hit, and those that they only cross."""
    hit = np.logical_or.reduce([one.hit for one in traced])
    crossed = np.logical_or.reduce([one.crossed for one in traced])
    return RayVoxels(hit, crossed & ~hit)

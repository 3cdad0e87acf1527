"""Classes of voxels: the object whose box contains it, or else the map layer below, or else the last class.

Axes: `K` voxels, `n` boxes, `L` map layers, `X Y` BEV cells.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occfeat.data.keyframe import Boxes
from occfeat.data.source.source import OBJECT_KINDS, Taxonomy
from occfeat.geometry.grid import VoxelGrid

LAYERS = ("ped_crossing", "carpark_area", "walkway", "drivable_area")
"""Map layers of the ground, in order of precedence."""

NAMES = (*OBJECT_KINDS, *LAYERS, "other")
"""Classes of voxels. The last one is outside all boxes and map layers: mostly buildings and plants, and
objects without a class, such as animals and carts."""

GROUND_M = 0.5
"""Voxels whose centre is below this height belong to the ground (this project's choice)."""


def name_voxels(
    cells: Int64[Tensor, "K 3"],
    boxes: Boxes,
    taxonomy: Taxonomy,
    layers: Mapping[str, Bool[Tensor, "X Y"]],
    grid: VoxelGrid,
) -> Int64[Tensor, " K"]:
    """Return the class of each voxel, as an index into `NAMES`.

    Args:
        cells: Voxels as (x, y, z).
        boxes: Boxes in the ego frame; if several contain a voxel, the first class in `NAMES` applies.
        taxonomy: Meaning of the categories of boxes.
        layers: Masks of the available map layers, by name.
        grid: Grid of the voxels.
    """
    centers_ego = grid.centers()[tuple(cells.unbind(1))]
    named = torch.full((len(cells),), len(NAMES) - 1)
    for name in reversed(LAYERS):
        if name in layers:
            on_layer = layers[name][cells[:, 0], cells[:, 1]] & (centers_ego[:, 2] < GROUND_M)
            named[on_layer] = NAMES.index(name)
    inside = inside_boxes(centers_ego, boxes, margin_m=max(grid.cell_m) / 2)
    named[inside.any(dim=1)] = NAMES.index("other")
    for name in reversed(OBJECT_KINDS):
        of_kind = boxes.in_categories(taxonomy.kinds.get(name, ()))
        named[inside[:, of_kind].any(dim=1)] = NAMES.index(name)
    return named


def inside_boxes(points_ego: Float[Tensor, "K 3"], boxes: Boxes, margin_m: float) -> Bool[Tensor, "K n"]:
    """Return a mask of which points are inside which boxes, enlarged by a margin."""
    from_center = points_ego.double()[:, None] - boxes.center_ego.double()
    in_box = torch.einsum("nji,knj->kni", boxes.ego_from_box.double(), from_center)
    return (in_box.abs() <= boxes.size_m.double() / 2 + margin_m).all(dim=-1)

"""Labels: which BEV cells hold an object or a map layer, by the rules the field's published numbers use.

The rule for objects is Lift-Splat-Shoot's: the four bottom corners of a box are rounded to whole cells, and
`cv2.fillPoly` fills the polygon, its border included. The one for map layers is in `map_masks`. Axes: `n`
boxes, `K` classes, `X Y` BEV cells.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import shapely
import torch
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from torch import Tensor

from occfeat.data.keyframe import Boxes
from occfeat.data.maps.maps import LAYERS, Ground
from occfeat.data.sample import Labels
from occfeat.errors import SettingsError
from occfeat.geometry.frames import transform_points
from occfeat.geometry.grid import BevGrid

OBJECTS = {"vehicle": "vehicle.", "pedestrian": "human.pedestrian"}
"""What the category names of each class of objects begin with."""

CLASSES = (*OBJECTS, *LAYERS)
"""Everything that can be segmented."""

_FAR_CELLS = 8192
"""cv2 counts in fixed point and overflows on polygons that reach much farther out than this; larger grids
reach farther, as far as they must."""


def rasterize(footprints_ego: Float[Tensor, "n 4 2"], grid: BevGrid) -> Bool[Tensor, "X Y"]:
    """Cells that at least one footprint covers.

    Footprints are convex, in metres, and may lie partly or wholly outside of the grid.
    """
    mask = np.zeros(grid.shape, dtype=np.uint8)
    corners = footprints_ego.detach().cpu().double().numpy()
    cells = (corners - np.array(grid.lower_m)) / np.array(grid.cell_m)
    reach = float(max(_FAR_CELLS, 2 * max(grid.shape)))
    for polygon in cells[np.isfinite(cells).all(axis=(1, 2))]:
        if np.abs(polygon).max() > reach:
            polygon = _clip(polygon, reach)
        if len(polygon):
            # cv2's first coordinate is the column, here y
            cv2.fillPoly(mask, [np.round(polygon).astype(np.int32)[:, ::-1]], 1)
    return torch.from_numpy(mask.astype(bool))


def draw_labels(
    boxes: Boxes,
    new_ego_from_ego: Float[Tensor, "4 4"],
    grid: BevGrid,
    classes: Sequence[str],
    ground: Ground | None = None,
) -> Labels:
    """Masks of the classes.

    Args:
        boxes: Boxes in the key frame's ego frame.
        new_ego_from_ego: The BEV augmentation; identity for none.
        grid: Cells in the augmented ego frame.
        classes: Names among `CLASSES`.
        ground: The map under the car, for map layers.

    Raises:
        SettingsError: There is no such class.
    """
    if unknown := [name for name in classes if name not in CLASSES]:
        raise SettingsError(f"There is no class {unknown[0]!r}.", hint=f"Classes: {', '.join(CLASSES)}.")
    corners = transform_points(new_ego_from_ego.double(), boxes.corners_ego().flatten(0, 1))
    footprints_ego = corners.reshape(-1, 8, 3)[:, :4, :2]
    hidden = boxes.visibility == 1
    masks = []
    for name in classes:
        if name in OBJECTS:
            of_class = _of_class(boxes, name)
            target = rasterize(footprints_ego[of_class], grid)
            masks.append((target, rasterize(footprints_ego[of_class & hidden], grid)))
        elif ground is not None:
            target = ground.draw(name, new_ego_from_ego, grid)
            masks.append((target, torch.zeros_like(target)))
        else:
            raise ValueError(f"{name} needs the map under the car")
    return Labels(
        classes=tuple(classes),
        target=torch.stack([target for target, _ in masks]),
        low_visibility=torch.stack([low for _, low in masks]),
    )


def _of_class(boxes: Boxes, name: str) -> Bool[Tensor, " n"]:
    """Which boxes belong to a class of objects."""
    return torch.tensor([one.startswith(OBJECTS[name]) for one in boxes.category], dtype=torch.bool)


def _clip(polygon: Float64[ndarray, "corners 2"], reach: float) -> Float64[ndarray, "left 2"]:
    """Return the part of a convex polygon with both coordinates between -reach and reach.

    Its corners keep their sense of rotation: cv2 rounds an edge by the direction in which it is drawn.
    """
    whole = shapely.Polygon(polygon.clip(-1e12, 1e12))  # where floats can still tell cells apart
    left = shapely.get_coordinates(shapely.clip_by_rect(whole, -reach, -reach, reach, reach))
    same = len(left) < 4 or shapely.is_ccw(shapely.LinearRing(left)) == whole.exterior.is_ccw
    return left if same else left[::-1]

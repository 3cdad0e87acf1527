"""Labels: the BEV cells of objects and map layers, by the rules of published results.

Objects follow Lift-Splat-Shoot: the four bottom corners of a box are rounded to whole cells, and
`cv2.fillPoly` fills the polygon, including its border. The rule for map layers is in `maps.masks`.
Axes: `n` boxes, `K` classes, `X Y` BEV cells.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int32
from numpy import ndarray
from torch import Tensor

from occfeat.data.index.index import Index
from occfeat.data.keyframe import Boxes
from occfeat.data.maps.maps import Ground, require_maps
from occfeat.data.maps.masks import LAYERS
from occfeat.data.sample.sample import Labels
from occfeat.data.source.place import Place
from occfeat.data.source.source import OBJECT_CLASSES, Taxonomy
from occfeat.errors import SettingsError
from occfeat.geometry.frames import transform_points
from occfeat.geometry.grid import BevGrid

CLASSES = (*OBJECT_CLASSES, *LAYERS)
"""All classes that can be segmented."""

MOVING_MPS = 1.0
"""Speed in metres per second above which an object moves (this project's choice)."""

_FAR_CELLS = 8192
"""Polygons are clipped at this many cells beyond the grid's centre, or at the size of larger grids, because
cv2's fixed-point arithmetic overflows far outside."""


def polygons_on(footprints_ego: Float[Tensor, "n 4 2"], grid: BevGrid) -> dict[int, Int32[ndarray, "_ 2"]]:
    """Return the footprints that may touch a grid, as polygons in whole cells, by their numbers.

    Footprints are convex, in metres, and can be partly or fully outside the grid.
    """
    corners = footprints_ego.detach().cpu().double().numpy()
    cells = (corners - np.array(grid.lower_m)) / np.array(grid.cell_m)
    reach = float(max(_FAR_CELLS, 2 * max(grid.shape)))
    farthest = np.abs(cells).max(axis=(1, 2), initial=0)  # NaN where a corner is
    near = np.flatnonzero(farthest <= reach)
    within = _rounded(cells[near])
    touching = ((within.max(axis=1) >= 0) & (within.min(axis=1) < grid.shape[::-1])).all(axis=1)
    polygons = dict(zip(near[touching].tolist(), within[touching], strict=True))
    for number in np.flatnonzero((farthest > reach) & (farthest < np.inf)).tolist():
        if len(clipped := _clip(cells[number], reach)):
            polygons[number] = _rounded(clipped)
    return polygons


def fill(polygons: Iterable[Int32[ndarray, "_ 2"]], grid: BevGrid) -> Bool[Tensor, "X Y"]:
    """Return a mask of the cells that at least one polygon of `polygons_on` covers."""
    mask = np.zeros(grid.shape, dtype=np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [polygon], 1)  # one by one, because it clears what two polygons share
    return torch.from_numpy(mask.view(bool))


def _rounded(cells: Float64[ndarray, "*polygons 2"]) -> Int32[ndarray, "*polygons 2"]:
    """Return corners as whole cells for cv2, whose first coordinate is the column, here y."""
    return np.ascontiguousarray(np.round(cells).astype(np.int32)[..., ::-1])


def require_classes(index: Index, places: Iterable[Place], classes: Sequence[str]) -> None:
    """Check that a data set has labels of some classes in some places.

    Raises:
        DatasetError: A map is damaged, or its name leads out of the data folder.
        SettingsError: The set does not have a class, or no map with its layer.
    """
    source = index.source
    known = (*index.taxonomy.classes, *index.taxonomy.named.values(), *LAYERS)
    if unknown := [name for name in classes if name not in known]:
        hint = f"Classes: {', '.join(dict.fromkeys(known))}."
        raise SettingsError(f"Data in the format {source.name} have no class {unknown[0]!r}.", hint=hint)
    require_maps(source, places, classes)


def draw_labels(
    boxes: Boxes,
    taxonomy: Taxonomy,
    new_ego_from_ego: Float[Tensor, "4 4"],
    grid: BevGrid,
    classes: Sequence[str],
    ground: Ground | None = None,
    *,
    motion: bool = False,
) -> Labels:
    """Draw the masks of some classes.

    Args:
        boxes: Boxes in the key frame's ego frame.
        taxonomy: Meaning of their categories and visibility levels.
        new_ego_from_ego: The BEV augmentation, or the identity.
        grid: Cells in the augmented ego frame.
        classes: Names among `CLASSES`.
        ground: The map under the car, for map layers.
        motion: Whether to draw which objects move and which stand still, too.

    Raises:
        SettingsError: A class does not exist.
    """
    if unknown := [name for name in classes if name not in CLASSES]:
        raise SettingsError(f"There is no class {unknown[0]!r}.", hint=f"Classes: {', '.join(CLASSES)}.")
    corners = transform_points(new_ego_from_ego.double(), boxes.corners_ego().flatten(0, 1))
    polygons = polygons_on(corners.reshape(-1, 8, 3)[:, :4, :2], grid)
    subsets = _subsets(boxes, taxonomy, motion=motion)
    class_of = {category: taxonomy.class_of(category) for category in set(boxes.category)}
    masks = []
    for name in classes:
        if name in LAYERS:
            if ground is None:
                raise ValueError(f"class {name} expected the map under the car, got none")
            target = ground.draw(name, new_ego_from_ego, grid)
            masks.append((target, *(torch.zeros_like(target) for _ in subsets)))
        else:
            mine = [number for number in polygons if class_of[boxes.category[number]] == name]
            parts = [mine, *([number for number in mine if some[number]] for some in subsets)]
            masks.append(tuple(fill([polygons[number] for number in part], grid) for part in parts))
    return Labels(tuple(classes), *map(torch.stack, zip(*masks, strict=True)))


def _subsets(boxes: Boxes, taxonomy: Taxonomy, *, motion: bool) -> list[list[bool]]:
    """Return which boxes are hardly visible; with motion, also which are not known to move, or to stand."""
    hidden = [level == taxonomy.low_visibility for level in boxes.visibility.tolist()]
    if not motion:
        return [hidden]
    not_moving, not_still = ~(boxes.speed_mps > MOVING_MPS), ~(boxes.speed_mps <= MOVING_MPS)
    return [hidden, not_moving.tolist(), not_still.tolist()]


def _clip(polygon: Float64[ndarray, "corners 2"], reach: float) -> Float64[ndarray, "left 2"]:
    """Clip a convex polygon, which may be as thin as a line, to coordinates between -reach and reach.

    One side of the square after the other (Sutherland and Hodgman, 1974). GEOS refuses rings that become
    lines. The orientation is kept, because cv2 rounds an edge by its direction.
    """
    left = polygon.clip(-1e12, 1e12)  # beyond this, floats cannot separate cells
    for axis, sign in ((0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0)):
        inside_by = reach - sign * left[:, axis]
        following, following_by = np.roll(left, -1, axis=0), np.roll(inside_by, -1)
        crosses = (inside_by >= 0) != (following_by >= 0)
        share = inside_by[crosses] / (inside_by[crosses] - following_by[crosses])
        crossings = np.full_like(left, np.nan)
        crossings[crosses] = left[crosses] + (following[crosses] - left[crosses]) * share[:, None]
        kept = np.stack((inside_by >= 0, crosses), axis=1)
        left = np.stack((left, crossings), axis=1)[kept]
    return left

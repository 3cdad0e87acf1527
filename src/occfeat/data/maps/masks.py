"""Map layers as shapes, and the BEV cells that they cover.

The rules are those of nuscenes-devkit 1.2, with which published map labels are made. Shapes are clipped to
the grid. The corners of areas are rounded to whole cells; `cv2.fillPoly` fills the polygons, including their
borders, and then clears the holes. Lines are drawn between the cells of their nodes with `LINE_THICKNESS`.

Axes: `n` points, `X Y` BEV cells. Points are 2-D, in the global frame in metres or in cells.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from jaxtyping import Bool, Float64, Int32
from numpy import ndarray

AREAS = ("drivable_area", "ped_crossing", "walkway", "stop_line", "carpark_area")
"""Layers of areas, which may have holes."""

LAYERS = (*AREAS, "divider")
"""Map layers that can be segmented, each as a binary task."""

LINE_THICKNESS = 2
"""Thickness for `cv2.polylines`, which fills a width of two or three cells: the devkit's, for any size of
cells."""

_BORDER = 1e-9
"""Tolerance, in cells, for the end of a line that was clipped at the border of the grid."""


@dataclass(frozen=True)
class ShapeMap:
    """A map whose layers are areas and lines."""

    layers: dict[str, shapely.STRtree]
    """Spatial index of the shapes of each layer, in metres."""

    def draw(
        self, layer: str, cells_from_global: Float64[ndarray, "3 3"], shape: tuple[int, int]
    ) -> Bool[ndarray, "X Y"]:
        """Return the cells that a layer covers.

        Args:
            layer: One of `LAYERS`.
            cells_from_global: Matrix from (x, y, 1) in metres to cells; the corner of cell (0, 0) is at 0.
            shape: Number of cells along x and y.
        """
        # x along the columns, as in the devkit: cv2 fills other cells in the transposed image
        canvas = np.zeros(shape[::-1], dtype=np.uint8)
        corners = np.array([(0, 0), (shape[0], 0), shape, (0, shape[1])], dtype=np.float64)
        window = shapely.polygons(_move(np.linalg.inv(cells_from_global), corners))
        tree = self.layers[layer]
        # in the order of the file, because a hole clears what was filled earlier
        near = np.sort(tree.query(window))
        inside = shapely.intersection(tree.geometries[near], window)
        moved = shapely.transform(inside, lambda points: _move(cells_from_global, points))
        for part in moved[~shapely.is_empty(moved)]:
            if layer in AREAS:
                _fill(canvas, part)
            else:
                _draw_lines(canvas, part)
        return np.ascontiguousarray(canvas.T).astype(bool)


def _move(b_from_a: Float64[ndarray, "3 3"], points_a: Float64[ndarray, "n 2"]) -> Float64[ndarray, "n 2"]:
    """Transform points to another frame."""
    return points_a @ b_from_a[:2, :2].T + b_from_a[:2, 2]


def _fill(canvas: ndarray, area: shapely.Geometry) -> None:
    """Fill an area, which may have several parts; a shared border with the grid is not an area."""
    parts = [part for part in shapely.get_parts(area) if isinstance(part, shapely.Polygon)]
    if parts:
        cv2.fillPoly(canvas, [_rounded(part.exterior) for part in parts], 1)
    if holes := [_rounded(hole) for part in parts for hole in part.interiors]:
        cv2.fillPoly(canvas, holes, 0)


def _rounded(ring: shapely.LinearRing) -> Int32[ndarray, "n 2"]:
    """Return the corners of a ring, rounded to whole cells."""
    return np.round(shapely.get_coordinates(ring)).astype(np.int32)


def _draw_lines(canvas: ndarray, lines: shapely.Geometry) -> None:
    """Draw lines between the cells of their nodes."""
    cells = [
        np.floor(shapely.get_coordinates(line) + _BORDER).astype(np.int32)
        for line in shapely.get_parts(lines)
        if isinstance(line, shapely.LineString)
    ]
    cv2.polylines(canvas, cells, isClosed=False, color=1, thickness=LINE_THICKNESS)

"""Oracle: map masks of nuscenes-devkit. Runs in an environment of its own.

    python maps_devkit.py ROOT LOCATION QUESTIONS.npz OUT.npz

QUESTIONS holds `poses`, rows of x and y in metres and yaw in degrees, and `grids`, rows of metres and cells
along an edge. Writes a mask of every layer for each pair of them. Needs nuscenes-devkit 1.2.
"""

import sys

import numpy as np
import shapely
from nuscenes.map_expansion.map_api import NuScenesMap
from shapely.geometry import MultiLineString

# The devkit draws a line that enters the patch twice by a loop that fails with shapely 2.
MultiLineString.__iter__ = lambda lines: iter(lines.geoms)

LAYERS = {name: [name] for name in ("drivable_area", "ped_crossing", "walkway", "stop_line", "carpark_area")}
LAYERS["divider"] = ["road_divider", "lane_divider"]


def mask(town, x, y, yaw_deg, layers, edge_m, cells):
    """A mask as `get_map_mask` makes it, but of coordinates rounded to a nanometre.

    The devkit draws lines from the whole part of coordinates, so rounding errors decide to which side a line
    falls that it has cut exactly at the border.
    """
    geometry = town.explorer.get_map_geom((x, y, edge_m, edge_m), yaw_deg, layers)
    rounded = [
        (name, [shapely.transform(shape, lambda points: np.round(points, 9)) for shape in shapes])
        for name, shapes in geometry
    ]
    drawn = town.explorer.map_geom_to_mask(rounded, (0.0, 0.0, edge_m, edge_m), (cells, cells))
    return drawn.any(axis=0)


def main(root, location, questions, out):
    """Write all masks to one file, rows along y and columns along x of the ego frame."""
    town = NuScenesMap(root, location)
    with np.load(questions, allow_pickle=False) as asked:
        poses, grids = asked["poses"], asked["grids"]
    masks = {}
    for i, (x, y, yaw_deg) in enumerate(poses):
        for j, (edge_m, cells) in enumerate(grids):
            for name, layers in LAYERS.items():
                masks[f"{i}/{j}/{name}"] = mask(town, x, y, yaw_deg, layers, edge_m, int(cells))
    np.savez_compressed(out, **masks)


if __name__ == "__main__":
    main(*sys.argv[1:])

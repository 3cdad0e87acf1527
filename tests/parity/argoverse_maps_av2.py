"""Oracle: rasters of av2-api. Runs in an environment of its own.

    python argoverse_maps_av2.py MAP_FOLDER OUT.npz

Writes `drivable`, the drivable area as av2-api rasters it, and `scale` and `offset_m` of its cells:
cell = scale (position + offset_m). Also `crossings` and `dividers`: each polygon or line as av2-api reads it,
one after another, with the number of points of each. Needs av2 0.3.6.
"""

import sys
from pathlib import Path

import numpy as np
from av2.map.lane_segment import LaneMarkType
from av2.map.map_api import ArgoverseStaticMap, DrivableAreaMapLayer

UNPAINTED = (LaneMarkType.NONE, LaneMarkType.UNKNOWN)


def main(folder, out):
    """Write the raster and the shapes to one file."""
    file = next(Path(folder).glob("log_map_archive_*.json"))
    town = ArgoverseStaticMap.from_json(file)
    layer = DrivableAreaMapLayer.from_vector_data(town.get_scenario_vector_drivable_areas())
    crossings = [one.polygon[:, :2] for one in town.get_scenario_ped_crossings()]
    dividers = []
    for lane in town.get_scenario_lane_segments():
        if lane.left_mark_type not in UNPAINTED:
            dividers.append(lane.left_lane_boundary.xyz[:, :2])
        if lane.right_mark_type not in UNPAINTED:
            dividers.append(lane.right_lane_boundary.xyz[:, :2])
    np.savez_compressed(
        out,
        drivable=layer.array.astype(bool),
        scale=layer.array_Sim2_city.s,
        offset_m=layer.array_Sim2_city.t,
        crossings=np.concatenate(crossings),
        crossing_points=[len(one) for one in crossings],
        dividers=np.concatenate(dividers),
        divider_points=[len(one) for one in dividers],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Runs in the devkit's environment: opens a street world and reports what the devkit finds in it.

Arguments: folder of the world, JSON file for the answers.
"""

import json
import sys
from pathlib import Path

import descartes.patch
import matplotlib

matplotlib.use("Agg")
import numpy as np
from nuscenes.map_expansion.map_api import NuScenesMap
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.data_classes import LidarPointCloud
from nuscenes.utils.geometry_utils import points_in_box

root, answers = sys.argv[1], Path(sys.argv[2])
# The devkit's own drawing of polygons fails with shapely 2 on any data set (nuscenes-devkit issue 887).
descartes.patch.asarray = lambda ring: np.asarray(getattr(ring, "coords", ring))

world = NuScenes("v1.0-street", root, verbose=False)
mismatched = 0
for sample in world.sample:
    path, boxes, _ = world.get_sample_data(sample["data"]["LIDAR_TOP"])
    points = LidarPointCloud.from_file(path).points[:3]
    for box in boxes:
        found = int(points_in_box(box, points).sum())
        mismatched += abs(found - world.get("sample_annotation", box.token)["num_lidar_pts"]) > 2

place = world.log[0]["location"]
town = NuScenesMap(root, place)
layers = [layer for layer in town.non_geometric_polygon_layers if layer != "drivable_area"]
invalid = sum(
    not town.extract_polygon(record["polygon_token"]).is_valid
    for layer in layers
    for record in getattr(town, layer)
)
sample = world.sample[0]
pose = world.get("ego_pose", world.get("sample_data", sample["data"]["LIDAR_TOP"])["ego_pose_token"])
x, y = pose["translation"][:2]
areas = [layer for layer in town.non_geometric_layers if layer != "traffic_light"]
mask = town.get_map_mask((x, y, 100, 100), 0, areas, (200, 200))
filled = mask.reshape(len(mask), -1).mean(axis=1).tolist()
lane = town.get_closest_lane(x, y, 5)
on_road = bool(town.record_on_point(x, y, "drivable_area"))
base = world.map[0]["mask"]
world.render_sample(sample["token"], out_path=str(answers.with_suffix(".png")), verbose=False)
town.render_map_in_image(
    world, sample["token"], layer_names=["ped_crossing", "walkway", "lane"], min_polygon_area=50,
    out_path=str(answers.with_suffix(".map.png")), verbose=False,
)  # fmt: skip
answers.write_text(
    json.dumps(
        {
            "samples": len(world.sample),
            "boxes": len(world.sample_annotation),
            "mismatched": int(mismatched),
            "invalid": int(invalid),
            "filled": dict(zip(areas, filled, strict=True)),
            "lane": len(town.discretize_lanes([lane], 1.0)[lane]) if lane else 0,
            "on_road": on_road,
            "on_base_map": bool(base.is_on_mask(np.array([x]), np.array([y]))[0]),
        }
    )
)

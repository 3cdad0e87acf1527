"""Oracle: what nuscenes-devkit says about a data folder. Runs in an environment of its own.

    python labels_devkit.py ROOT VERSION OUT.npz

Writes, for every key frame, BEV masks drawn from the devkit's boxes by the published recipe, the pixels to
which the devkit takes fixed LiDAR points, and the devkit's split lists. Needs nuscenes-devkit 1.2 and cv2.
"""

import sys

import cv2
import numpy as np
from nuscenes.nuscenes import NuScenes
from nuscenes.utils.geometry_utils import view_points
from nuscenes.utils.splits import create_splits_scenes
from pyquaternion import Quaternion

CELL_M, FIRST_CENTER_M, SHAPE = 0.5, -49.75, (200, 200)
PREFIXES = {"vehicle": "vehicle.", "pedestrian": "human.pedestrian"}


def boxes_ego(nusc, sample):
    """Boxes of a key frame in the ego frame at the LiDAR's time."""
    lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
    pose = nusc.get("ego_pose", lidar["ego_pose_token"])
    for box in nusc.get_boxes(lidar["token"]):
        box.translate(-np.array(pose["translation"]))
        box.rotate(Quaternion(pose["rotation"]).inverse)
        yield box


def mask(boxes):
    """Fill the footprints, as the published labels do."""
    image = np.zeros(SHAPE)
    for box in boxes:
        points = box.bottom_corners()[:2].T
        points = np.round((points - FIRST_CENTER_M + CELL_M / 2) / CELL_M).astype(np.int32)
        points[:, [1, 0]] = points[:, [0, 1]]
        cv2.fillPoly(image, [points], 1.0)
    return image.astype(bool)


def masks(nusc, sample):
    """Mask of each class, of all boxes and of those of visibility 1."""
    boxes = list(boxes_ego(nusc, sample))
    for name, prefix in PREFIXES.items():
        chosen = [box for box in boxes if box.name.startswith(prefix)]
        hidden = [
            box for box in chosen if nusc.get("sample_annotation", box.token)["visibility_token"] == "1"
        ]
        yield f"{name}/all", mask(chosen)
        yield f"{name}/low", mask(hidden)


def pixels(nusc, sample, points_lidar):
    """Where fixed points of the LiDAR frame fall in each camera, as the devkit's own rendering chains it."""
    for channel, token in sample["data"].items():
        if not channel.startswith("CAM"):
            continue
        points = points_lidar.T
        lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        camera = nusc.get("sample_data", token)
        calibrations = [
            nusc.get("calibrated_sensor", one["calibrated_sensor_token"]) for one in (lidar, camera)
        ]
        poses = [nusc.get("ego_pose", one["ego_pose_token"]) for one in (lidar, camera)]
        for record in (calibrations[0], poses[0]):
            turned = Quaternion(record["rotation"]).rotation_matrix @ points
            points = turned + np.array(record["translation"])[:, None]
        for record in (poses[1], calibrations[1]):
            moved = points - np.array(record["translation"])[:, None]
            points = Quaternion(record["rotation"]).rotation_matrix.T @ moved
        on_image = view_points(points, np.array(calibrations[1]["camera_intrinsic"]), normalize=True)
        yield channel, np.vstack((on_image[:2], points[2])).T


def main(root, version, out):
    """Write everything to one file."""
    nusc = NuScenes(version, root, verbose=False)
    points_lidar = np.random.default_rng(0).uniform(-30, 30, size=(100, 3))
    arrays = {"points_lidar": points_lidar}
    for sample in nusc.sample:
        for name, values in masks(nusc, sample):
            arrays[f"mask/{sample['token']}/{name}"] = values
        for channel, values in pixels(nusc, sample, points_lidar):
            arrays[f"pixels/{sample['token']}/{channel}"] = values
    for split, scenes in create_splits_scenes().items():
        arrays[f"split/{split}"] = np.array(scenes)
    np.savez_compressed(out, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])

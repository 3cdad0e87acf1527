"""LiDAR sweeps of a key frame, joined in its ego frame.

Axes: `P` returns.
"""

from collections.abc import Sequence

import torch

from occfeat.data.keyframe import SweepRecord
from occfeat.data.paths import resolve
from occfeat.data.sample import Points
from occfeat.data.source.source import DataSource
from occfeat.geometry.frames import transform_points


def read_points(source: DataSource, sweeps: Sequence[SweepRecord], ego_radius_m: float = 0.0) -> Points:
    """Read one or more sweeps of a key frame and join their returns in its ego frame.

    Args:
        source: The data source, which reads the files.
        sweeps: Sweeps of a key frame.
        ego_radius_m: Returns within this horizontal distance of the sensor are dropped; they hit the car
        itself.

    Raises:
        KeyFrameError: A file cannot be read, or its name leaves the data folder.
    """
    points_ego, origins_ego = [torch.empty(0, 3)], [torch.empty(0, 3)]
    for sweep in sweeps:
        points = source.read_sweep(resolve(source.root, sweep.path))
        points_lidar = torch.from_numpy(points[:, :3]).double()
        others = points_lidar[:, :2].norm(dim=1) >= ego_radius_m
        points_ego.append(transform_points(sweep.ego_from_lidar, points_lidar[others]).float())
        origins_ego.append(sweep.ego_from_lidar[:3, 3].float().expand_as(points_ego[-1]))
    return Points.of_one_key_frame(torch.cat(points_ego), torch.cat(origins_ego))

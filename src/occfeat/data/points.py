"""LiDAR sweeps of a key frame, joined in its ego frame.

Axes: `P` returns.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from occfeat.data.keyframe import SweepRecord
from occfeat.data.paths import resolve
from occfeat.data.sample import Points
from occfeat.data.source.source import DataSource
from occfeat.data.source.sweep import Sweep
from occfeat.geometry.frames import transform_points

_NO_MOTION = 1e-9
"""Largest difference from the identity of a transform that is left out: float32 does not show it."""


def read_points(source: DataSource, sweeps: Sequence[SweepRecord], ego_radius_m: float = 0.0) -> Points:
    """Read one or more sweeps of a key frame and join their returns in its ego frame.

    Args:
        source: The data source, which reads the files.
        sweeps: Sweeps of a key frame, of any LiDARs.
        ego_radius_m: Returns within this horizontal distance of their ray's origin are dropped; they hit the
        car itself.

    Raises:
        KeyFrameError: A file cannot be read, or its name leaves the data folder.
    """
    points_ego, origins_ego = [torch.empty(0, 3)], [torch.empty(0, 3)]
    for record in sweeps:
        sweep = source.read_sweep(resolve(source.root, record.path))
        points, origins = _in_ego_frame(sweep, record.ego_from_lidar, ego_radius_m)
        points_ego.append(points)
        origins_ego.append(origins)
    return Points.of_one_key_frame(torch.cat(points_ego), torch.cat(origins_ego))


def _in_ego_frame(
    sweep: Sweep, ego_from_lidar: Float[Tensor, "4 4"], ego_radius_m: float
) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"]]:
    """Return the returns of a sweep and the origins of their rays, without those of the car itself."""
    if sweep.origins is not None and _is_identity(ego_from_lidar):
        points, origins = torch.from_numpy(sweep.points[:, :3]).contiguous(), torch.from_numpy(sweep.origins)
        others = (points - origins)[:, :2].norm(dim=1) >= ego_radius_m
        return points[others].float(), origins[others].float()
    points = torch.from_numpy(sweep.points[:, :3]).double()
    if sweep.origins is None:
        points = points[points[:, :2].norm(dim=1) >= ego_radius_m]
        points_ego = transform_points(ego_from_lidar, points).float()
        return points_ego, ego_from_lidar[:3, 3].float().expand_as(points_ego)
    origins = torch.from_numpy(sweep.origins).double()
    others = (points - origins)[:, :2].norm(dim=1) >= ego_radius_m
    points_ego, origins_ego = (transform_points(ego_from_lidar, one[others]) for one in (points, origins))
    return points_ego.float(), origins_ego.float()


def _is_identity(ego_from_lidar: Float[Tensor, "4 4"]) -> bool:
    """Return whether the points of a sweep are in the ego frame of the key frame already."""
    one = torch.eye(4, dtype=ego_from_lidar.dtype)
    return torch.allclose(ego_from_lidar, one, rtol=0, atol=_NO_MOTION)

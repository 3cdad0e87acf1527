"""Poses from the LiDAR alone, by KISS-ICP (Vizzo et al., RA-L 2023), for recordings without any.

KISS-ICP matches each sweep with a map of the ones before, so its error grows with the way. This matters
little here: targets are made of sweeps of a few seconds.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from occfeat.data.recordings.bags.clouds.read import Cloud
from occfeat.data.recordings.bags.trajectory import Trajectory, build_trajectory
from occfeat.geometry.motion import quaternions
from occfeat.machine.extras import require_extra

VOXEL_M = 1.0
"""Size of the voxels of KISS-ICP's map, its default for a range of 100 m."""
NEAREST_M, FARTHEST_M = 2.5, 100.0
"""Points that are used. Nearer ones are mostly of the car itself."""
FEWEST_POINTS = 100
"""Sweeps with fewer points are left out (this project's choice)."""


def poses_by_kiss_icp(clouds: Iterable[Cloud], ego_from_lidar: Float64[ndarray, "4 4"]) -> Trajectory:
    """Return the poses of the car in its frame at the first sweep.

    The pose of a sweep holds at its last point, or at its stamp if its points have no times. One thread is
    used, so that the result is the same each time.

    Args:
        clouds: Sweeps of one LiDAR in order of time.
        ego_from_lidar: Its mounting.

    Raises:
        MissingExtraError: The extra `slam` is not installed.
    """
    require_extra("slam", what="Poses from the LiDAR alone", hint="Or give a file of poses.")
    from kiss_icp.config import KISSConfig
    from kiss_icp.kiss_icp import KissICP

    config = KISSConfig()
    config.mapping.voxel_size = VOXEL_M
    config.data.min_range, config.data.max_range = NEAREST_M, FARTHEST_M
    config.registration.max_num_threads = 1
    odometry = KissICP(config)
    times_us, poses, left_out = [], [], 0
    for cloud in clouds:
        if len(cloud.points_m) < FEWEST_POINTS:
            left_out += 1
            continue
        after_s = np.zeros(0) if cloud.after_s is None else cloud.after_s
        odometry.register_frame(cloud.points_m.astype(np.float64, order="C"), after_s)
        last_us = round(float(after_s.max()) * 1e6) if len(after_s) else 0
        times_us.append(cloud.header.time_us + last_us)
        poses.append(np.array(odometry.last_pose, dtype=np.float64))
    return _of_ego(times_us, poses, ego_from_lidar, left_out)


def _of_ego(
    times_us: list[int], poses: list[ndarray], ego_from_lidar: Float64[ndarray, "4 4"], left_out: int
) -> Trajectory:
    """Return the trajectory of the car from poses of its LiDAR."""
    lidar_poses = np.array(poses, dtype=np.float64).reshape(-1, 4, 4)
    ego_poses = ego_from_lidar @ lidar_poses @ np.linalg.inv(ego_from_lidar)
    turns = quaternions(ego_poses[:, :3, :3])
    made = build_trajectory(np.array(times_us, dtype=np.int64), ego_poses[:, :3, 3], turns)
    faults = (f"{left_out} sweeps have fewer than {FEWEST_POINTS} points.",) if left_out else ()
    return Trajectory(made.times_us, made.positions_m, made.quaternions, (*made.faults, *faults))

"""LiDAR files: the returns of both LiDARs, in the ego frame, motion compensated to the time of the file.

Coordinates are half floats: their steps are 3 cm beyond 32 m, 6 cm beyond 64 m and 12.5 cm beyond 128 m. They
are made float32 before anything is computed. Axes: `P` returns.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from occfeat.data.formats.argoverse2.calibrated_sensors import DOWN_LIDAR, UP_LIDAR, read_sensor_poses
from occfeat.data.formats.argoverse2.feather import read_table
from occfeat.data.source.sweep import Sweep
from occfeat.errors import DatasetError, KeyFrameError

FIRST_OF_DOWN = 32
"""Lasers from this number on belong to `down_lidar`, those below to `up_lidar` (av2-api, issue 77)."""

_KINDS = {"x": "number", "y": "number", "z": "number", "intensity": "number", "laser_number": "integer"}


def read_sweep(path: Path) -> Sweep:
    """Read a LiDAR file: x, y, z in metres in the ego frame, intensity (0 to 255), number of the laser.

    The rays begin at one of the two LiDARs, at its place of the calibration. The way that the car drove
    during the sweep is left out.

    Raises:
        KeyFrameError: The file is missing, damaged or empty, or contains non-finite values, or the
        calibration of its log has no row of a LiDAR.
    """
    returns = _read_returns(path)
    positions = _lidar_positions(path.parents[2])
    origins = positions.take((returns[:, 4] >= FIRST_OF_DOWN).view(np.int8), axis=0)
    return Sweep(returns, origins, ring_column=4)


def _read_returns(path: Path) -> Float32[ndarray, "P 5"]:
    """Return the columns of a LiDAR file."""
    try:
        table = read_table(path, _KINDS)
    except DatasetError as error:
        raise KeyFrameError(f"LiDAR file {error.message}") from error
    returns = np.empty((len(_KINDS), len(table)), dtype=np.float32).T  # each column is contiguous
    for column, name in enumerate(_KINDS):
        returns[:, column] = table[name].to_numpy()
    if not len(returns):
        raise KeyFrameError(f"LiDAR file {path} has no returns.")
    if not np.isfinite(returns).all():
        share = 1 - np.isfinite(returns).mean()
        raise KeyFrameError(f"LiDAR file {path} contains non-finite values ({share:.1%} of all).")
    return returns


@lru_cache(maxsize=4096)
def _lidar_positions(folder: Path) -> Float32[ndarray, "2 3"]:
    """Return the positions of the two LiDARs of a log: `up_lidar`, then `down_lidar`."""
    try:
        poses = read_sensor_poses(folder)
    except DatasetError as error:
        raise KeyFrameError(error.message) from error
    for name in (UP_LIDAR, DOWN_LIDAR):
        if name not in poses or not np.isfinite(poses[name]).all():
            raise KeyFrameError(f"The calibration of {folder} has no usable row of {name}.")
    return np.stack([poses[name][:3].astype(np.float32) for name in (UP_LIDAR, DOWN_LIDAR)])

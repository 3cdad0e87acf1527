"""LiDAR sweeps of nuScenes: five float32 per return, in the LiDAR's frame.

Axes: `P` returns.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from occfeat.data.keyframe import SweepRecord
from occfeat.data.paths import resolve
from occfeat.data.sample import Points
from occfeat.errors import KeyFrameError
from occfeat.geometry.frames import transform_points

BYTES_PER_RETURN = 20
"""x, y, z in metres, intensity and ring number, each a little-endian float32."""

MAX_BYTES = 100_000_000
"""A file of more bytes is refused; a sweep of nuScenes has about 700 000."""


def read_sweep(path: Path) -> Float32[Tensor, "P 5"]:
    """Returns of one `.pcd.bin` file: x, y, z in metres in the LiDAR's frame, intensity, ring.

    Raises:
        KeyFrameError: The file is absent, empty, of a wrong size, or holds values that are not finite.
    """
    try:
        check_bytes(path, path.stat().st_size)
        values = np.fromfile(path, dtype="<f4")
    except FileNotFoundError as error:
        raise KeyFrameError(f"LiDAR file {path} is missing.") from error
    except OSError as error:
        raise KeyFrameError(f"LiDAR file {path} cannot be read: {error.strerror or error}.") from error
    check_bytes(path, values.nbytes)
    if not np.isfinite(values).all():
        share = 1 - np.isfinite(values).mean()
        raise KeyFrameError(f"LiDAR file {path} holds values that are not finite ({share:.1%} of them).")
    return torch.from_numpy(values.astype(np.float32, copy=False).reshape(-1, 5))


def check_bytes(path: Path, size: int) -> None:
    """Refuse a LiDAR file whose size in bytes cannot be right."""
    if size == 0:
        raise KeyFrameError(f"LiDAR file {path} is empty.")
    if size % BYTES_PER_RETURN or size > MAX_BYTES:
        raise KeyFrameError(
            f"LiDAR file {path} has {size:,} bytes; a sweep has a multiple of {BYTES_PER_RETURN}, "
            f"at most {MAX_BYTES:,}."
        )


def read_points(root: Path, sweeps: Sequence[SweepRecord], ego_radius_m: float = 0.0) -> Points:
    """Read one or more sweeps of a key frame and join their returns, in its ego frame.

    Args:
        root: The data folder.
        sweeps: Sweeps of a key frame.
        ego_radius_m: Returns nearer than this to the sensor, seen from above, are the car itself and are
            left out.

    Raises:
        KeyFrameError: A file cannot be read, or its name leaves the data folder.
    """
    points_ego, origins_ego = [torch.empty(0, 3)], [torch.empty(0, 3)]
    for sweep in sweeps:
        points_lidar = read_sweep(resolve(root, sweep.path))[:, :3].double()
        others = points_lidar[:, :2].norm(dim=1) >= ego_radius_m
        points_ego.append(transform_points(sweep.ego_from_lidar, points_lidar[others]).float())
        origins_ego.append(sweep.ego_from_lidar[:3, 3].float().expand_as(points_ego[-1]))
    return Points.of_one_key_frame(torch.cat(points_ego), torch.cat(origins_ego))

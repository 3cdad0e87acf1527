"""LiDAR sweeps of a key frame, joined in its ego frame.

Axes: `P` returns.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from numpy import ndarray
from torch import Tensor

from occfeat.data.augment import BeamChange
from occfeat.data.keyframe import SweepRecord
from occfeat.data.sample.lidar import Points
from occfeat.data.source.paths import resolve
from occfeat.data.source.source import DataSource
from occfeat.data.source.sweep import Sweep
from occfeat.geometry.frames import transform_points

ELEVATION_BINS = 32
"""Beams into which returns are sorted by their elevation, if a file does not number its beams."""

_NO_MOTION = 1e-9
"""Largest difference from the identity of a transform that is left out: float32 does not show it."""


def read_points(
    source: DataSource,
    sweeps: Sequence[SweepRecord],
    ego_radius_m: float = 0.0,
    beams: BeamChange = BeamChange(),  # noqa: B008 - cannot be changed
) -> Points:
    """Read one or more sweeps of a key frame and join their returns in its ego frame.

    Args:
        source: The data source, which reads the files.
        sweeps: Sweeps of a key frame, of any LiDARs.
        ego_radius_m: Returns within this horizontal distance of their ray's origin are dropped; they hit the
        car itself.
        beams: Beams that are left out of each file.

    Raises:
        KeyFrameError: A file cannot be read, or its name leaves the data folder.
    """
    joined: list[tuple[Tensor, Tensor]] = []
    for record in sweeps:
        sweep = without_beams(source.read_sweep(resolve(source.root, record.path)), beams)
        joined.append(_in_ego_frame(sweep, record.ego_from_lidar, ego_radius_m))
    if len(joined) == 1:  # the usual case needs no copy
        return Points.of_one_key_frame(*(one.contiguous() for one in joined[0]))
    points_ego, origins_ego = zip((torch.empty(0, 3),) * 2, *joined, strict=True)
    return Points.of_one_key_frame(torch.cat(points_ego), torch.cat(origins_ego))


def without_beams(sweep: Sweep, change: BeamChange) -> Sweep:
    """Return a sweep without a share of its beams, rounded down."""
    if change.share == 0 or len(sweep.points) == 0:
        return sweep
    beam = beam_of(sweep)
    count = int(beam.max()) + 1
    left_out = np.zeros(count, dtype=bool)
    left_out[np.random.default_rng(change.seed).permutation(count)[: int(change.share * count)]] = True
    kept = ~left_out[beam]
    origins = None if sweep.origins is None else sweep.origins[kept]
    return replace(sweep, points=sweep.points[kept], origins=origins)


def beam_of(sweep: Sweep) -> Int64[ndarray, " P"]:
    """Return the beam of each return: its ring, or else its elevation, in equal bins of angle.

    A ring that is the same everywhere is unknown. The bins lie between the lowest and the highest return of
    the file (this project's choice).
    """
    if sweep.ring_column is not None:
        rings, beam = np.unique(sweep.points[:, sweep.ring_column], return_inverse=True)
        if len(rings) > 1:
            return beam.reshape(-1)
    ray = sweep.points[:, :3].astype(np.float64) - (0.0 if sweep.origins is None else sweep.origins)
    elevation = np.arctan2(ray[:, 2], np.hypot(ray[:, 0], ray[:, 1]))
    low, high = elevation.min(), elevation.max()
    bins = ELEVATION_BINS * (elevation - low) / max(high - low, 1e-9)
    return bins.astype(np.int64).clip(max=ELEVATION_BINS - 1)


def _in_ego_frame(
    sweep: Sweep, ego_from_lidar: Float[Tensor, "4 4"], ego_radius_m: float
) -> tuple[Float[Tensor, "P 3"], Float[Tensor, "P 3"]]:
    """Return the returns of a sweep and the origins of their rays, without those of the car itself."""
    if sweep.origins is not None and _is_identity(ego_from_lidar):
        return _far_from_origins(sweep.points, sweep.origins, ego_radius_m)
    points = torch.from_numpy(sweep.points[:, :3]).double()
    if sweep.origins is None:
        points_ego = torch.from_numpy(_from_one_origin(points.numpy(), ego_from_lidar.numpy(), ego_radius_m))
        origins_ego = torch.empty_like(points_ego)
        for axis, origin in enumerate(ego_from_lidar[:3, 3].tolist()):  # a third of the time of all at once
            origins_ego[:, axis] = origin
        return points_ego, origins_ego
    origins = torch.from_numpy(sweep.origins).double()
    others = (points - origins)[:, :2].norm(dim=1) >= ego_radius_m
    points_ego, origins_ego = (transform_points(ego_from_lidar, one[others]) for one in (points, origins))
    return points_ego.float(), origins_ego.float()


def _far_from_origins(
    points: Float[ndarray, "P C"], origins: Float[ndarray, "P 3"], ego_radius_m: float
) -> tuple[Float[Tensor, "far 3"], Float[Tensor, "far 3"]]:
    """Return the returns outside a radius around the origins of their rays, and these origins.

    Columns are handled one by one, which takes half the time.
    """
    ahead_m, left_m = points[:, 0] - origins[:, 0], points[:, 1] - origins[:, 1]
    others = np.flatnonzero(np.sqrt(ahead_m * ahead_m + left_m * left_m) >= ego_radius_m)
    far = np.empty((len(others), 3), dtype=np.float32)
    for axis in range(3):
        far[:, axis] = points[:, axis].take(others)
    return torch.from_numpy(far), torch.from_numpy(origins.take(others, axis=0)).float()


def _from_one_origin(
    points: Float64[ndarray, "P 3"], ego_from_lidar: Float64[ndarray, "4 4"], ego_radius_m: float
) -> Float32[ndarray, "Q 3"]:
    """Return the returns of a LiDAR at the origin of its frame; cv2 moves them in a tenth of torch's time."""
    x, y = points[:, 0], points[:, 1]
    others = np.flatnonzero(np.sqrt(x * x + y * y) >= ego_radius_m)
    if not len(others):
        return np.empty((0, 3), dtype=np.float32)
    points_ego: ndarray = cv2.transform(points[:, None], ego_from_lidar[:3])[:, 0]
    return points_ego.astype(np.float32).take(others, axis=0)


def _is_identity(ego_from_lidar: Float[Tensor, "4 4"]) -> bool:
    """Return whether the points of a sweep are in the ego frame of the key frame already."""
    one = torch.eye(4, dtype=ego_from_lidar.dtype)
    return torch.allclose(ego_from_lidar, one, rtol=0, atol=_NO_MOTION)

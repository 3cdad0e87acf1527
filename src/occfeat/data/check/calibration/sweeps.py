"""LiDAR returns that contradict the car: where the ground is, how far they are, whether cameras see them.

Axes: `P` returns, `k` planes.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from occfeat.data.check.calibration.cameras import FARTHEST_M
from occfeat.data.keyframe import CameraRecord
from occfeat.geometry import camera
from occfeat.geometry.distortion import stack_lenses
from occfeat.geometry.frames import invert, transform_points

NEAR_M = (3.0, 20.0)
"""Horizontal distances from the car between which ground is looked for."""
PLANES, SAMPLED, THICK_M = 300, 2000, 0.15
"""Planes that are tried, returns that they are tried on, and the distance from a plane that belongs to it."""
MIN_SHARE = 0.35
"""Share of the returns that the ground must hold to be known. Real sweeps have 0.55 to 0.8, or none."""
GROUND_M = (-1.3, 0.8)
"""Height of the ground in the ego frame. Real ones are -0.35 to 0.2 m; the frame of an IMU has -1 m."""
MAX_TILT_DEG = 15.0
"""Largest tilt of the ground. Real ones are below 4 degrees."""
MAX_RANGE_M = 300.0
"""Largest median distance of returns. Real ones are 6 to 30 m."""
AHEAD_M = (8.0, 40.0)
"""Distances ahead of a camera between which returns should fall into its image."""
AHEAD_COS = math.cos(math.radians(8))
MIN_AHEAD, MIN_SEEN = 30, 0.15
"""Number of returns ahead of a camera that tell something, and share of them that its image must hold. Real
cameras see over 0.97."""


@dataclass(frozen=True)
class Ground:
    """The plane that holds most returns near the car."""

    share: float
    """Share of the returns that it holds."""
    tilt_deg: float
    height_m: float
    """Height at the origin of the car."""


def find_ground(points_ego: Float64[ndarray, "P 3"], seed: int = 0) -> Ground | None:
    """Return the plane that holds most of some returns; None if there are too few near the car."""
    far_m = np.hypot(points_ego[:, 0], points_ego[:, 1])
    near = points_ego[(far_m > NEAR_M[0]) & (far_m < NEAR_M[1])]
    if len(near) < 100:
        return None
    random = np.random.default_rng(seed)
    a, b, c = near[random.integers(0, len(near), (3, PLANES))]
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1)
    known = length > 1e-3
    normal = normal[known] / length[known, None]
    normal *= np.where(normal[:, 2:] < 0, -1, 1)  # upwards
    offset = (normal * a[known]).sum(1)
    tried = near[random.integers(0, len(near), min(SAMPLED, len(near)))]
    share = (np.abs(tried @ normal.T - offset) < THICK_M).mean(0)
    best = int(share.argmax())
    upwards = float(normal[best, 2])
    height_m = float(offset[best]) / max(upwards, 1e-6)
    return Ground(float(share[best]), math.degrees(math.acos(min(1.0, upwards))), height_m)


def fault_of_lidar(sweeps: list[Float64[ndarray, "_ 3"]], away_m: float) -> str:
    """Return what is implausible about a LiDAR.

    Args:
        sweeps: Its returns in several key frames, in the ego frame, without those of the car itself.
        away_m: Its distance from the origin of the car.
    """
    if away_m > FARTHEST_M:
        return f"is {away_m:.4g} m from the origin of the car; positions are in metres"
    if not (sweeps := [points for points in sweeps if len(points)]):
        return "has no returns besides those of the car itself"
    range_m = float(np.median([np.median(np.linalg.norm(points, axis=1)) for points in sweeps]))
    if range_m > MAX_RANGE_M:
        return f"has returns {range_m:.4g} m from the car; they are in metres"
    found = [ground for points in sweeps if (ground := find_ground(points)) is not None]
    found = [ground for ground in found if ground.share >= MIN_SHARE]
    if 2 * len(found) <= len(sweeps):
        return ""
    tilt_deg = float(np.median([ground.tilt_deg for ground in found]))
    height_m = float(np.median([ground.height_m for ground in found]))
    if tilt_deg > MAX_TILT_DEG:
        return f"sees the ground tilted by {tilt_deg:.0f} degrees; quaternions are w, x, y, z"
    if not GROUND_M[0] <= height_m <= GROUND_M[1]:
        return f"sees the ground at z = {height_m:.2f} m of the ego frame, where it should be near 0"
    return ""


def seen_ahead(record: CameraRecord, points_ego: Float[Tensor, "P 3"]) -> tuple[int, int]:
    """Return how many returns lie straight ahead of a camera, and how many of them its image holds."""
    pose = record.lidar_ego_from_camera
    from_camera = points_ego - pose[:3, 3]
    far_m, level = from_camera[:, :2].norm(dim=1), pose[:2, 2].norm()
    along = (from_camera[:, :2] @ pose[:2, 2]) / (far_m * level).clamp(min=1e-6)
    ahead = (along > AHEAD_COS) & (far_m > AHEAD_M[0]) & (far_m < AHEAD_M[1])
    lenses = stack_lenses([record.lens])
    points_camera = transform_points(invert(pose), points_ego[ahead])
    pixels, depth_m = camera.project(
        record.intrinsics, points_camera, None if lenses is None else lenses[0].double()
    )
    return int(ahead.sum()), int(camera.visible_in(record.size, pixels, depth_m).sum())


def fault_of_view(counts: list[tuple[int, int]]) -> str:
    """Return whether too few returns ahead of a camera fall into its images; see `seen_ahead`."""
    ahead, seen = (sum(one[part] for one in counts) for part in (0, 1))
    if ahead < MIN_AHEAD or seen >= MIN_SEEN * ahead:
        return ""
    return f"holds {100 * seen / ahead:.0f} % of the LiDAR returns straight ahead of it"

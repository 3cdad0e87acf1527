"""Read key frames for the comparison of cameras and LiDARs: depth edges, motion of the car, image edges."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float64, UInt8
from numpy import ndarray

from occfeat.data.check.alignment.depth_edges import DepthEdges, find_edges
from occfeat.data.check.alignment.image_edges import FOCAL_PX, WIDEST_PX, pyramid
from occfeat.data.check.alignment.match import Optics, Shot
from occfeat.data.images import read_image
from occfeat.data.index.index import Index
from occfeat.data.keyframe import CameraRecord, KeyFrame
from occfeat.data.source.paths import resolve
from occfeat.geometry.frames import invert

AROUND_S = 0.75
"""Largest distance in time from a key frame of the poses between which the motion of the car is measured."""
LEAST_S = 0.02
"""Smallest time between two poses that tells a motion."""


@dataclass(frozen=True)
class Motion:
    """Motion of the car at a key frame, in its ego frame."""

    velocity_m_s: Float64[ndarray, "3"]
    turn_rad_s: Float64[ndarray, "3"]

    def at_camera(self, record: CameraRecord) -> "Motion":
        """Return the motion of a camera in its own frame."""
        ego_from_camera = record.camera_ego_from_camera.numpy()
        camera_from_ego = ego_from_camera[:3, :3].T
        velocity = self.velocity_m_s + np.cross(self.turn_rad_s, ego_from_camera[:3, 3])
        return Motion(camera_from_ego @ velocity, camera_from_ego @ self.turn_rad_s)


@dataclass(frozen=True)
class Scan:
    """What the LiDARs and the poses say at a key frame, in its ego frame."""

    key_frame: KeyFrame
    edges_ego: DepthEdges
    returns_ego: Float64[ndarray, "P 3"]
    motion: Motion


def read_scan(index: Index, row: int, lidars: tuple[str, ...] = ()) -> Scan | None:
    """Return the scan of a key frame; None if it has no LiDAR record.

    Args:
        index: The index of the data set.
        row: The key frame.
        lidars: The LiDARs that are read. Empty: all of them.

    Raises:
        KeyFrameError: The key frame or a LiDAR file cannot be used.
    """
    key_frame = index.key_frame(row, lidars=lidars)
    if not key_frame.sweeps:
        return None
    edges, returns = [], []
    for record in key_frame.sweeps:
        sweep = index.source.read_sweep(resolve(index.root, record.path))
        ego_from_lidar = record.ego_from_lidar.numpy()
        edges.append(find_edges(sweep).moved(ego_from_lidar))
        points = sweep.points[:, :3].astype(np.float64)
        points = points[np.isfinite(points).all(axis=1)]
        returns.append(points @ ego_from_lidar[:3, :3].T + ego_from_lidar[:3, 3])
    parts = [np.concatenate([getattr(one, name) for one in edges]) for name in ("points", "aside", "weight")]
    return Scan(key_frame, DepthEdges(*parts), np.concatenate(returns), _motion(index, row))


def read_grey(index: Index, record: CameraRecord) -> UInt8[ndarray, "H W"]:
    """Return an image in grey, resized to at most `FOCAL_PX` and `WIDEST_PX`.

    Raises:
        KeyFrameError: It cannot be read.
    """
    height, width = record.size
    focal_px = max(float(record.intrinsics[0, 0]), 1.0)
    shrunk = min(1.0, FOCAL_PX / focal_px, WIDEST_PX / max(width, 1))
    size = (max(1, round(height * shrunk)), max(1, round(width * shrunk)))
    image = read_image(resolve(index.root, record.path), record.size, size)
    grey = cv2.cvtColor(image.permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)


def shot_of(scan: Scan, record: CameraRecord, grey: UInt8[ndarray, "H W"]) -> Shot:
    """Return an image with what the LiDARs saw, in the frame of the camera."""
    height, width = record.size
    scale = np.diag([grey.shape[1] / width, grey.shape[0] / height, 1.0])
    camera_from_ego = invert(record.lidar_ego_from_camera).numpy()
    motion = scan.motion.at_camera(record)
    return Shot(
        Optics(scale @ record.intrinsics.numpy(), record.lens, (grey.shape[0], grey.shape[1])),
        scan.edges_ego.moved(camera_from_ego),
        scan.returns_ego @ camera_from_ego[:3, :3].T + camera_from_ego[:3, 3],
        motion.velocity_m_s,
        motion.turn_rad_s,
        pyramid(grey),
    )


def groups_of(shots: Sequence[Shot]) -> list[list[Shot]]:
    """Return the images of a camera by their optics."""
    groups: dict[tuple[object, ...], list[Shot]] = {}
    for shot in shots:
        optics = shot.optics
        groups.setdefault((optics.intrinsics.tobytes(), optics.lens, optics.size), []).append(shot)
    return list(groups.values())


def _motion(index: Index, row: int) -> Motion:
    """Return the mean motion of the car around a key frame; none if poses are not known."""
    still = Motion(np.zeros(3), np.zeros(3))
    if not index.has_poses(np.array([row])).all():
        return still
    path = index.path(row, AROUND_S)
    if len(path.after_s) < 2:
        return still
    ego_from_car = path.ego_from_car.numpy()
    first, last = ego_from_car[0], ego_from_car[-1]
    time_s = float(path.after_s[-1] - path.after_s[0])
    if time_s < LEAST_S:
        return still
    turned = cv2.Rodrigues(last[:3, :3] @ first[:3, :3].T)[0][:, 0]
    return Motion((last[:3, 3] - first[:3, 3]) / time_s, turned / time_s)

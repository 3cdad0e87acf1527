"""Range images of Waymo: a plain reference that makes points of them, and the inverse.

Angles are radians, lengths metres. The formulas are those of `waymo_open_dataset.v2`, pixel by pixel.
"""

import math
from dataclasses import dataclass

import numpy as np


def reference_points(
    image: np.ndarray,
    ego_from_laser: np.ndarray,
    inclinations: list[float],
    pixel_poses: np.ndarray | None = None,
    global_from_ego: np.ndarray | None = None,
) -> np.ndarray:
    """Return x, y, z, intensity and beam number of every return, in the LiDAR's frame at the frame's pose."""
    height, width, _ = image.shape
    points = []
    for row in range(height):
        for column in range(width):
            far, intensity = float(image[row, column, 0]), float(image[row, column, 1])
            if far <= 0:
                continue
            lift = inclinations[height - 1 - row]
            ratio = (width - column - 0.5) / width
            around = (2 * ratio - 1) * math.pi - math.atan2(ego_from_laser[1, 0], ego_from_laser[0, 0])
            flat = far * math.cos(lift)
            own = np.array([flat * math.cos(around), flat * math.sin(around), far * math.sin(lift), 1.0])
            ego = ego_from_laser @ own
            if pixel_poses is not None:
                moved = matrix_of([float(one) for one in pixel_poses[row, column]]) @ ego
                ego = np.linalg.inv(global_from_ego) @ moved
            own = np.linalg.inv(ego_from_laser) @ ego
            points.append([*own[:3], intensity, height - 1 - row])
    return np.array(points).reshape(-1, 5)


def matrix_of(pose: list[float]) -> np.ndarray:
    """Return the transform of (roll, pitch, yaw, x, y, z): Rz(yaw) Ry(pitch) Rx(roll), then x, y, z."""
    roll, pitch, yaw, *position = pose
    about_x = [[1, 0, 0], [0, math.cos(roll), -math.sin(roll)], [0, math.sin(roll), math.cos(roll)]]
    about_y = [[math.cos(pitch), 0, math.sin(pitch)], [0, 1, 0], [-math.sin(pitch), 0, math.cos(pitch)]]
    about_z = [[math.cos(yaw), -math.sin(yaw), 0], [math.sin(yaw), math.cos(yaw), 0], [0, 0, 1]]
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(about_z) @ np.array(about_y) @ np.array(about_x)
    matrix[:3, 3] = position
    return matrix


@dataclass(frozen=True)
class RangeImages:
    """Both returns of a sweep and the poses of its pixels."""

    first: np.ndarray
    second: np.ndarray
    pixel_poses: np.ndarray
    lost: int
    """Points that did not fit: a third one in a pixel, or a second one in another direction."""


def images_of(
    points: np.ndarray, inclinations: np.ndarray, width: int, ego_from_laser: np.ndarray, pose: np.ndarray
) -> RangeImages:
    """Return range images from which the points come back.

    The ray of a pixel seldom points exactly at a point. The pose of the pixel turns the vehicle about the
    LiDAR by the rest of the angle, so that the point is met all the same.

    Args:
        points: x, y, z, intensity and ring from below, in the LiDAR's frame.
        inclinations: Of the beams, from below.
        width: Columns of the range image.
        ego_from_laser: Where the LiDAR sits.
        pose: Pose of the frame.
    """
    height, far = len(inclinations), np.linalg.norm(points[:, :3].astype(np.float64), axis=1)
    points, far = points[far > 0], far[far > 0]
    seen = points[:, :3] / far[:, None]
    row = height - 1 - points[:, 4].astype(int)
    offset = np.arctan2(ego_from_laser[1, 0], ego_from_laser[0, 0])
    share = ((np.arctan2(seen[:, 1], seen[:, 0]) + offset + np.pi) / (2 * np.pi)) % 1
    column = np.clip(np.rint(width - 0.5 - share * width).astype(int), 0, width - 1)
    order = np.lexsort((far, row * width + column))
    pixel = (row * width + column)[order]
    _, start, place = np.unique(pixel, return_index=True, return_inverse=True)
    nth = np.arange(len(pixel)) - start[place]
    astray = np.linalg.norm(seen[order] - seen[order][start[place]], axis=1) > 1e-5
    images = [np.full((height * width, 4), -1, dtype=np.float32) for _ in range(2)]
    poses = np.zeros((height * width, 6), dtype=np.float32)
    for number, image in enumerate(images):
        kept = (nth == number) & ~astray
        image[pixel[kept], 0], image[pixel[kept], 1] = far[order][kept], points[order][kept, 3]
    first = nth == 0
    rays = _rays(pixel[first], inclinations, width, offset)
    turned = _between(rays, seen[order][first])
    global_from_laser = pose @ ego_from_laser
    rotation = global_from_laser[:3, :3] @ turned @ ego_from_laser[:3, :3].T
    poses[pixel[first], :3] = _angles(rotation)
    poses[pixel[first], 3:] = global_from_laser[:3, 3] - rotation @ ego_from_laser[:3, 3]
    shaped = [image.reshape(height, width, 4) for image in images]
    lost = int((astray | (nth > 1)).sum())
    return RangeImages(shaped[0], shaped[1], poses.reshape(height, width, 6), lost)


def _rays(pixel: np.ndarray, inclinations: np.ndarray, width: int, offset: float) -> np.ndarray:
    """Return the directions of pixels in the LiDAR's frame."""
    lift = inclinations[::-1][pixel // width]
    around = (2 * (width - pixel % width - 0.5) / width - 1) * np.pi - offset
    return np.stack((np.cos(around) * np.cos(lift), np.sin(around) * np.cos(lift), np.sin(lift)), axis=1)


def _between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the smallest rotations that turn unit vectors to others nearby (Rodrigues)."""
    axis = np.cross(start, end)
    cosine = (start * end).sum(axis=1)
    cross = np.zeros((len(axis), 3, 3))
    cross[:, [2, 0, 1], [1, 2, 0]] = axis
    cross[:, [1, 2, 0], [2, 0, 1]] = -axis
    return np.eye(3) + cross + cross @ cross / (1 + cosine)[:, None, None]


def _angles(rotation: np.ndarray) -> np.ndarray:
    """Return roll, pitch and yaw of rotations Rz(yaw) Ry(pitch) Rx(roll)."""
    roll = np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    pitch = np.arcsin(np.clip(-rotation[:, 2, 0], -1, 1))
    return np.stack((roll, pitch, np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])), axis=1)

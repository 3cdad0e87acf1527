"""Boxes: which objects are labelled, how much of them the cameras see, how many LiDAR points they hold.

Axes: `P` points, `N` rays. Visibility is the share of an object's own pixels, over all cameras, that nothing
hides: nuScenes' levels 1 (up to 40 %), 2 (60 %), 3 (80 %) and 4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from occfeat.geometry.lens import PINHOLE
from streetworld.optics import Optics
from streetworld.rendering.sensors import Shot, turn
from streetworld.rendering.tracer import Tracer
from streetworld.things.objects import Annotation
from streetworld.things.shapes import Mesh

SAMPLES_PX = 160
"""About this many pixels per object and camera are looked at."""
OUTLINE = 9
"""Into how many points each edge of a box is divided to find its outline behind a lens."""


@dataclass(frozen=True)
class View:
    """A camera at its moment, with what it saw."""

    shot: Shot
    scene_from_camera: Float[np.ndarray, "4 4"]
    optics: Optics


@dataclass(frozen=True)
class Pose:
    """Where an object is: its own frame stands on the ground, x forward."""

    x: float
    y: float
    z: float
    yaw_rad: float

    @property
    def rotation(self) -> Float[np.ndarray, "3 3"]:
        """Own frame to scene frame."""
        cosine, sine = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])

    @property
    def point(self) -> Float[np.ndarray, "3"]:
        """Origin of the own frame."""
        return np.array([self.x, self.y, self.z])


@dataclass(frozen=True)
class Label:
    """What is known of an object in one key frame."""

    object_id: int
    center: Float[np.ndarray, "3"]
    """Middle of its box in the scene's frame."""
    yaw_rad: float
    visible: float
    """Share of its pixels that is seen."""
    lidar_points: int

    @property
    def level(self) -> int:
        """NuScenes' visibility level."""
        return 1 + sum(self.visible > limit for limit in (0.4, 0.6, 0.8))


def box_points(annotation: Annotation, pose: Pose, per_edge: int) -> Float[np.ndarray, "N 3"]:
    """Return a lattice in an object's box in the scene's frame: its corners if there are two per edge."""
    local = _lattice(per_edge) * annotation.size_m + annotation.middle_m
    return local @ pose.rotation.T + pose.point


@cache
def _lattice(per_edge: int) -> Float[np.ndarray, "N 3"]:
    """Return the points of a lattice in a cube of size one around the origin; do not change them."""
    steps = np.linspace(-0.5, 0.5, per_edge)
    return np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)


def points_inside(
    annotation: Annotation, pose: Pose, points: Float[np.ndarray, "P 3"]
) -> Bool[np.ndarray, " P"]:
    """Return which points of the scene lie in an object's box."""
    local = (points - pose.point) @ pose.rotation - annotation.middle_m
    return (np.abs(local) <= np.array(annotation.size_m) / 2).all(axis=1)


def label(
    object_id: int,
    annotation: Annotation,
    pose: Pose,
    drawn: Sequence[tuple[Pose, Mesh]],
    views: Sequence[View],
    points: Float[np.ndarray, "P 3"],
) -> Label | None:
    """Label an object, unless neither a camera nor the LiDAR has anything of it.

    `drawn` is its pose and template at each camera's own time, `pose` its pose at the LiDAR's. Points whose
    columns are contiguous take least time.
    """
    reach = max(annotation.size_m)
    near = (np.abs(points[:, 0] - pose.x) < reach) & (np.abs(points[:, 1] - pose.y) < reach)
    inside = int(points_inside(annotation, pose, np.ascontiguousarray(points[near])).sum())
    own, seen = 0, 0
    for view, (at, template) in zip(views, drawn, strict=True):
        if _is_out_of_sight(annotation, at, view):
            continue
        pixels, weight = _covering_pixels(annotation, at, view)
        if len(pixels) == 0:
            continue
        covered = _covers(_tracer_of(template), annotation.scale, at, view, pixels)
        column, row = np.floor(pixels[covered]).astype(int).T
        own += weight * int(covered.sum())
        seen += weight * int((view.shot.object_id[row, column] == object_id).sum())
    if inside == 0 and seen == 0:
        return None
    center = pose.rotation @ np.array(annotation.middle_m) + pose.point
    return Label(object_id, center, pose.yaw_rad, seen / own if own else 0.0, inside)


def _is_out_of_sight(annotation: Annotation, pose: Pose, view: View) -> bool:
    """Tell whether the ball around a box lies behind a camera, or left or right of what it sees.

    Most boxes do for most cameras, and this takes a fraction of what projecting their corners does.
    """
    radius = math.hypot(*annotation.size_m) / 2 + math.hypot(*annotation.middle_m) + 0.1
    toward = (pose.point - view.scene_from_camera[:3, 3]) @ view.scene_from_camera[:3, :3]
    across, depth = float(toward[0]), float(toward[2])
    if view.optics.lens != PINHOLE:
        distance = float(np.linalg.norm(toward))
        spread = math.asin(min(1.0, radius / distance))
        return distance > radius and math.acos(depth / distance) - spread > view.optics.widest_rad
    if depth < radius + 0.2:
        return depth < -radius
    focal, left = float(view.optics.intrinsics[0, 0]), float(view.optics.intrinsics[0, 2])
    right = view.shot.depth_m.shape[1] - left
    beyond_left = -(focal * across + left * depth) / math.hypot(focal, left)
    beyond_right = (focal * across - right * depth) / math.hypot(focal, right)
    return max(beyond_left, beyond_right) > radius


def _covering_pixels(annotation: Annotation, pose: Pose, view: View) -> tuple[Float[np.ndarray, "N 2"], int]:
    """Return the centres of some pixels around a box's projection, and how many each stands for."""
    u, v = _outline(annotation, pose, view)
    if len(u) == 0:
        return np.zeros((0, 2)), 1
    height, width = view.shot.depth_m.shape
    left, right = (int(np.clip(round(edge), 0, width)) for edge in (u.min() - 0.5, u.max() + 0.5))
    top, bottom = (int(np.clip(round(edge), 0, height)) for edge in (v.min() - 0.5, v.max() + 0.5))
    area = (right - left) * (bottom - top)
    if area <= 0:
        return np.zeros((0, 2)), 1
    step = max(1, math.floor(math.sqrt(area / SAMPLES_PX)))
    column, row = np.meshgrid(np.arange(left, right, step) + 0.5, np.arange(top, bottom, step) + 0.5)
    return np.stack((column.ravel(), row.ravel()), axis=-1), step * step


def _outline(
    annotation: Annotation, pose: Pose, view: View
) -> tuple[Float[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Return u and v of points around a box, between which its pixels lie; none if it is behind."""
    edge = 2 if view.optics.lens == PINHOLE else OUTLINE
    corners = box_points(annotation, pose, edge)
    camera = (corners - view.scene_from_camera[:3, 3]) @ view.scene_from_camera[:3, :3]
    if view.optics.lens != PINHOLE:
        return tuple(view.optics.pixels(camera).T)
    if not (camera[:, 2] > 0.2).any():
        return np.zeros(0), np.zeros(0)
    matrix, depth = view.optics.intrinsics, np.maximum(camera[:, 2], 0.2)
    u = camera[:, 0] / depth * matrix[0, 0] + matrix[0, 2]
    return u, camera[:, 1] / depth * matrix[1, 1] + matrix[1, 2]


@cache
def _tracer_of(template: Mesh) -> Tracer:
    """Return the tracer of a template, of which a process has few, whatever the number of its scenes."""
    return Tracer(template)


def _covers(
    template: Tracer,
    scale_xyz: tuple[float, float, float],
    pose: Pose,
    view: View,
    pixels: Float[np.ndarray, "N 2"],
) -> Bool[np.ndarray, " N"]:
    """Return through which pixels the object would be seen if nothing stood before it."""
    straight, lit = view.optics.rays(pixels.astype(np.float32))
    directions = turn(straight, view.scene_from_camera)
    scale = np.array(scale_xyz)
    origin = (view.scene_from_camera[:3, 3] - pose.point) @ pose.rotation / scale
    local: Float32[np.ndarray, "N 3"] = (directions @ pose.rotation / scale).astype(np.float32)
    local /= np.linalg.norm(local, axis=1, keepdims=True)
    origins = np.broadcast_to(origin.astype(np.float32), local.shape)
    faces: Int[np.ndarray, " N"] = template.hit(np.ascontiguousarray(origins), local).face
    return (faces >= 0) & lit

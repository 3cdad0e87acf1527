"""How well depth edges lie on image edges, as a function of four errors of a camera.

The errors are a rotation about the three axes of the camera, in degrees, and a shift in time, in seconds:
`ego_from_camera` of the tables is the true one times the rotation, and the images were taken that much later
than the tables say.

Axes: `E` edges, `F` key frames, `P` returns.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from numpy import ndarray

from occfeat.data.check.alignment.depth_edges import DepthEdges
from occfeat.data.check.alignment.image_edges import LEVELS
from occfeat.geometry import camera
from occfeat.geometry.distortion import stack_lenses
from occfeat.geometry.lens import Lens

NEAREST_M = 1.0
"""Edges nearer to a camera are left out."""
BORDER = 0.08
"""Widths of the image by which an edge may lie beside it, to be seen if the camera is turned."""
BLOCK_PX = 3
"""Pixels along each side of a cell of the depth buffer."""
HIDDEN = 0.8
"""Share of the depth of an edge below which returns at the same pixel hide it from the camera."""


@dataclass(frozen=True)
class Optics:
    """What takes points of the camera frame to pixels of the resized image."""

    intrinsics: Float64[ndarray, "3 3"]
    lens: Lens
    size: tuple[int, int]
    """(height, width) in pixels."""

    def at_level(self, level: int) -> tuple[Float64[ndarray, "3 3"], tuple[int, int]]:
        """Return intrinsics and size at a level of the pyramid."""
        height, width = self.size[0] >> level, self.size[1] >> level
        scale = np.diag([width / self.size[1], height / self.size[0], 1.0])
        return scale @ self.intrinsics, (max(height, 1), max(width, 1))

    def project(
        self, points_camera: Float[ndarray, "P 3"], level: int = 0
    ) -> tuple[Float32[ndarray, " P"], Float32[ndarray, " P"], Bool[ndarray, " P"], Float32[ndarray, " P"]]:
        """Return u, v, which points are in the image, and their depth in metres."""
        intrinsics, size = self.at_level(level)
        lenses = stack_lenses([self.lens])
        points = torch.from_numpy(np.ascontiguousarray(points_camera, dtype=np.float32))
        matrix = torch.from_numpy(intrinsics.astype(np.float32))
        pixels, depth_m = camera.project(matrix, points, None if lenses is None else lenses[0])
        inside = camera.visible_in(size, pixels, depth_m) & (depth_m > NEAREST_M / 2)
        u, v = pixels.unbind(-1)
        return u.numpy(), v.numpy(), inside.numpy(), depth_m.numpy()


@dataclass(frozen=True)
class Shot:
    """One image of a camera, and what the LiDAR saw at the time of its key frame."""

    optics: Optics
    edges_camera: DepthEdges
    """Edges of depth in the camera frame, at the time of the image."""
    returns_camera: Float64[ndarray, "P 3"]
    """All returns, which hide edges."""
    velocity_m_s: Float64[ndarray, "3"]
    """Velocity of the camera in its own frame."""
    turn_rad_s: Float64[ndarray, "3"]
    """Rate of turn of the camera in its own frame."""
    levels: Sequence[Float32[ndarray, "_ _ 3"]]
    """Edges of the image, see `image_edges.pyramid`."""

    def visible_edges(self) -> DepthEdges:
        """Return the edges in and beside the image that nothing hides."""
        height, width = self.optics.size
        points = self.edges_camera.points
        u, v, _, depth_m = self.optics.project(points)
        beside = BORDER * width
        near = (depth_m > NEAREST_M) & (u > -beside) & (u < width + beside)
        near &= (v > -beside) & (v < height + beside)
        near &= depth_m * HIDDEN <= self._nearest_m(u, v)
        edges = self.edges_camera
        return DepthEdges(points[near], edges.aside[near], edges.weight[near])

    def _nearest_m(self, u: ndarray, v: ndarray) -> ndarray:
        """Return the smallest depth of the returns around some pixels."""
        height, width = self.optics.size
        at_u, at_v, inside, depth_m = self.optics.project(self.returns_camera)
        shape = (height // BLOCK_PX + 1, width // BLOCK_PX + 1)
        buffer: ndarray = np.full(shape, np.inf, dtype=np.float32)
        cells = tuple((one[inside] // BLOCK_PX).astype(np.int64) for one in (at_v, at_u))
        np.minimum.at(buffer, cells, depth_m[inside])
        buffer = cv2.erode(buffer, np.ones((3, 3), dtype=np.uint8))
        limits = zip((v, u), shape, strict=True)
        v_cell, u_cell = (
            np.nan_to_num(one // BLOCK_PX).clip(0, count - 1).astype(np.int64) for one, count in limits
        )
        nearest: ndarray = buffer[v_cell, u_cell]
        return nearest


class Match:
    """Scores errors of one camera over some key frames with the same optics."""

    def __init__(self, shots: Sequence[Shot]) -> None:
        edges = [shot.visible_edges() for shot in shots]
        self.optics = shots[0].optics
        self.frames = len(shots)
        self.frame = np.repeat(np.arange(len(shots)), [len(one.weight) for one in edges])
        points = np.concatenate([one.points for one in edges])
        aside = np.concatenate([one.aside for one in edges])
        self._weight = np.concatenate([one.weight for one in edges]).astype(np.float32)
        velocity, turn = (
            np.array([getattr(shot, name) for shot in shots])[self.frame]
            for name in ("velocity_m_s", "turn_rad_s")
        )
        self._motion = (velocity + np.cross(turn, points)).astype(np.float32)
        self._points = points.astype(np.float32)
        self._across = self._directions(aside)
        self._levels = [
            np.stack([shot.levels[level] for shot in shots]).reshape(-1, 3) for level in range(LEVELS)
        ]

    def _directions(self, aside: ndarray) -> Float32[ndarray, "E 3"]:
        """Return what a pixel's three numbers are multiplied with: products of the direction across."""
        (u, v, *_), (u_aside, v_aside, *_) = (self.optics.project(one) for one in (self._points, aside))
        along_u, along_v = u_aside - u, v_aside - v
        squared = np.maximum(along_u**2 + along_v**2, 1e-12)
        products = np.stack((along_u**2, along_v**2, 2 * along_u * along_v), axis=1) / squared[:, None]
        return products.astype(np.float32)

    def points_with(self, errors: Float64[ndarray, "4"]) -> Float32[ndarray, "E 3"]:
        """Return the edges in the frame of the true camera, if the given one has some errors."""
        turn = cv2.Rodrigues(np.radians(errors[:3]))[0].T.astype(np.float32)
        points: ndarray = (self._points - self._motion * np.float32(errors[3])) @ turn
        return points

    def sums(
        self, errors: Float64[ndarray, "4"], level: int, images: Float32[ndarray, "_ 3"] | None = None
    ) -> Float64[ndarray, "F 2"]:
        """Return the weighted strength of image edges below depth edges, and the weights, per key frame.

        Args:
            errors: The errors of the camera.
            level: The level of the pyramid.
            images: The pixels of all images at this level. None: those of the camera itself.
        """
        _, (height, width) = self.optics.at_level(level)
        u, v, inside, _ = self.optics.project(self.points_with(errors), level)
        u, v = (np.where(inside, one, 0).astype(np.int64) for one in (u, v))
        at = (self.frame * height + v) * width + u
        pixels = self._levels[level] if images is None else images
        strength = np.einsum("ek,ek->e", pixels[at], self._across)
        weight = self._weight * inside
        totals = (np.bincount(self.frame, one, self.frames) for one in (strength * weight, weight))
        return np.stack(tuple(totals), axis=1).astype(np.float64)  # without edges, numpy counts integers


def degrees_per_pixel(optics: Optics, level: int) -> float:
    """Return the angle that a pixel in the middle of the image spans at a level."""
    intrinsics, _ = optics.at_level(level)
    return math.degrees(1 / math.hypot(*intrinsics[:2, 0].tolist()))

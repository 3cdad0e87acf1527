"""The package's projection against what the street world traced, for every rig and every lens.

The world makes its rays by formulas of its own, so an error in either shows as a distance in pixels.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from occfeat.geometry.camera import project
from occfeat.geometry.lens import PINHOLE
from streetworld.optics import Optics
from streetworld.rendering.labels import View
from streetworld.rendering.sensors import turn
from streetworld.rigs import RIGS, Rig
from streetworld.scene import Scene
from tests.streetworld.test_optics import LENSES
from tests.streetworld.test_scenes import REQUEST, built_street
from tests.streetworld.test_sensing import pixel_errors

FRONT = RIGS["nuscenes"].cameras[0]
WIDE = {"rational": 90.0, "off centre": 70.0, "half a turn": 190.0, "f-theta": 150.0}
SINGLE = {
    name: Rig(name, (replace(FRONT, view_deg=view_deg, lens=LENSES[name]),), (0.9, 0.0, 1.8))
    for name, view_deg in WIDE.items()
}
"""Rigs of one camera, for lenses that no named rig has."""
EVERY = {**RIGS, **SINGLE}


def scene_with(rig: Rig) -> Scene:
    rng = np.random.default_rng(3)
    return replace(built_street(), request=replace(REQUEST, image_size=(64, 112)), rig=rig.calibrated(rng))


def seen_at(optics: Optics, points_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel and depth of points in the camera frame, as the package projects them."""
    numbers = None if optics.lens == PINHOLE else torch.tensor(optics.lens.numbers(), dtype=torch.float64)
    pixels, depth = project(torch.from_numpy(optics.intrinsics), torch.from_numpy(points_camera), numbers)
    return pixels.numpy(), depth.numpy()


def in_camera(view: View, points: np.ndarray) -> np.ndarray:
    return (points - view.scene_from_camera[:3, 3]) @ view.scene_from_camera[:3, :3]


def trace(scene: Scene, view: View, time_s: float, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of the scene that pixel positions show, and how far they are; infinite for the sky."""
    straight, _ = view.optics.rays(pixels.astype(np.float32))
    directions = turn(straight, view.scene_from_camera)
    origin = view.scene_from_camera[:3, 3]
    hits, _ = scene._stage(time_s, origin, None, np.pi).hit(origin.astype(np.float32), directions)
    reach_m = np.minimum(hits.distance_m, 1000).astype(float)
    return origin + reach_m[:, None] * directions.astype(float), np.where(hits.face < 0, np.inf, reach_m)


def lit_pixels(optics: Optics, count: int) -> np.ndarray:
    height, width = optics.size
    pixels = np.random.default_rng(0).uniform((0, 0), (width, height), (count, 2)).astype(np.float32)
    return pixels[optics.rays(pixels)[1]]


@pytest.mark.parametrize("name", EVERY)
def test_what_a_pixel_shows__is_projected_onto_it(name: str) -> None:
    scene = scene_with(EVERY[name])
    for camera in scene.rig.cameras:
        view = scene.look(camera, 0)
        pixels = lit_pixels(view.optics, 600)
        points, distance = trace(scene, view, scene.camera_delay_s(camera), pixels)
        local = in_camera(view, points)
        found, depth = seen_at(view.optics, local)
        seen = depth > 0
        assert seen.mean() > 0.98  # near its limit a lens off centre may see less than its radial part
        errors = np.hypot(*(found - pixels)[seen].T)
        assert np.median(errors) < 1e-3
        assert errors.max() < 0.05
        there = seen & np.isfinite(distance)
        wanted = distance if camera.lens.is_fisheye else local[:, 2]
        np.testing.assert_allclose(depth[there], wanted[there], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", EVERY)
def test_lidar_returns__lie_on_the_pixels_that_show_them(name: str) -> None:
    """From the projected position, the renderer sees the same surface, unless something nearer hides it."""
    scene = scene_with(EVERY[name])
    lidar = scene.scene_from_lidar(0.0)
    points = scene.scan(0.0).points[:, :3].astype(float)
    points = points[np.hypot(*points[:, :2].T) > 1] @ lidar[:3, :3].T + lidar[:3, 3]
    for camera in scene.rig.cameras:
        view = scene.look(camera, 0)
        assert view.shot.depth_m.shape == camera.image_size((64, 112))
        pixels, depth = seen_at(view.optics, in_camera(view, points))
        height, width = view.optics.size
        inside = (depth > 0.5) & (pixels >= 0).all(axis=1) & (pixels < (width, height)).all(axis=1)
        there, distance = trace(scene, view, scene.camera_delay_s(camera), pixels[inside])
        wanted = np.linalg.norm(points[inside] - view.scene_from_camera[:3, 3], axis=1)
        open_view = distance > 0.97 * wanted - 0.1
        assert open_view.sum() > 300
        gap_m = np.linalg.norm(there - points[inside], axis=1)
        assert (gap_m < 0.03 * wanted + 0.1)[open_view].mean() > 0.9
        rows = np.flatnonzero(inside)[open_view]
        errors = pixel_errors(pixels[rows], depth[rows], view.shot.depth_m)
        assert np.median(errors) < 0.6
        assert (errors < 2.5).mean() > 0.7

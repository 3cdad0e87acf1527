"""The package's projection against what the street world traced, for every rig and every lens.

The world makes its rays by formulas of its own, so an error in either shows as a distance in pixels.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.geometry.camera import project, visible_in
from occfeat.geometry.frames import invert, transform_points
from occfeat.geometry.lens import PINHOLE
from occfeat.settings.sections import AugmentConfig, DataConfig, ViewConfig
from streetworld.build import build_world
from streetworld.config import WorldConfig
from streetworld.optics import Optics
from streetworld.rendering.labels import View
from streetworld.rendering.sensors import turn
from streetworld.rigs import RIGS, Rig
from streetworld.scene import Scene
from tests.streetworld.test_optics import LENSES
from tests.streetworld.test_scenes import REQUEST, built_street
from tests.streetworld.test_sensing import pixel_errors
from tests.support.rigs import GRID

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


MIXED = {
    "fisheye": 190.0,
    "barrel": 70.0,
    "f-theta": 150.0,
    "rational": 90.0,
}
"""Cameras of one rig: lens and angle of view."""
SIZE = (96, 168)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """A world of one key frame, whose rig file has a camera of each lens."""
    folder = tmp_path_factory.mktemp("mixed")
    cameras = [
        {"channel": f"CAM_{number}", "position_m": [1.0, 0, 1.6], "yaw_deg": 90 * number}
        | {"view_deg": view_deg, "lens": LENSES[name].as_record()}
        for number, (name, view_deg) in enumerate(MIXED.items())
    ]
    (folder / "mixed.json").write_text(json.dumps({"cameras": cameras}))
    settings = {"scenes": 1, "val_scenes": 0, "test_scenes": 0, "key_frames": 1, "town_size": 3}
    build_world(
        WorldConfig(
            out=folder / "world",
            rig=str(folder / "mixed.json"),
            image_size=SIZE,
            workers=1,
            lights=("noon",),
            **settings,
        )
    )
    return Index.open(DataConfig(root=folder / "world"))


def positions(*_: object) -> torch.Tensor:
    """An image whose red says how far right a pixel is, and whose green how far down."""
    red = torch.arange(SIZE[1]).float() * 255 / (SIZE[1] - 1)
    green = torch.arange(SIZE[0]).float() * 255 / (SIZE[0] - 1)
    return (
        torch.stack((red.expand(SIZE), green[:, None].expand(SIZE), torch.full(SIZE, 255.0))).round().byte()
    )


def read_position(image: torch.Tensor, pixels: np.ndarray) -> np.ndarray:
    """Original pixel positions that an image of `positions` shows; NaN where it is padded."""
    height, width = image.shape[1:]
    grid = torch.from_numpy(pixels / (width, height) * 2 - 1)[None, None].float()
    red, green, blue = torch.nn.functional.grid_sample(image[None].float(), grid, align_corners=False)[
        0, :, 0
    ]
    found = torch.stack((red * (SIZE[1] - 1), green * (SIZE[0] - 1)), dim=-1) / 255 + 0.5
    return torch.where(blue[:, None] > 254, found, torch.nan).numpy()


AUGMENTED = AugmentConfig(
    scale=(0.8, 1.3),
    shift=0.2,
    image_rotation_deg=12.0,
    image_flip=True,
    bev_flip=True,
    bev_rotation_deg=180.0,
)


@pytest.mark.parametrize("epoch", range(4))
def test_augmented_samples__show_each_return_where_the_traced_image_does(mixed: Index, epoch: int) -> None:
    """Returns are projected into the augmented image, which says where in the original that is."""
    view, contents = ViewConfig(image_size=(80, 120)), Contents(points=True)
    plain = KeyFrames(mixed, view, contents, grid=GRID).sample(0)
    keyed = KeyFrames(mixed, view, contents, grid=GRID, augment=AUGMENTED, effect=positions, seed=5)
    sample = keyed.sample(0, epoch)
    assert plain.points is not None
    assert sample.points is not None
    assert len(plain.points.points_ego) == len(sample.points.points_ego) > 10_000
    assert sample.cameras.lenses is not None
    for i, record in enumerate(mixed.key_frame(0).cameras):
        optics = Optics(record.intrinsics.double().numpy(), record.lens, SIZE)
        local = transform_points(
            invert(record.lidar_ego_from_camera.double()), plain.points.points_ego.double()
        )
        wanted = optics.pixels(local.numpy())
        new = transform_points(invert(sample.cameras.ego_from_camera[i]), sample.points.points_ego)
        pixels, depth = project(sample.cameras.intrinsics[i], new, sample.cameras.lenses[i])
        seen = visible_in(sample.cameras.image_size, pixels, depth).numpy()
        found = read_position(sample.images[i], pixels.numpy())
        inner = seen & (found > 2).all(axis=1) & (found < (SIZE[1] - 2, SIZE[0] - 2)).all(axis=1)
        assert inner.sum() > 500
        errors = np.hypot(*(found - wanted)[inner].T)
        assert np.median(errors) < 0.6
        assert np.quantile(errors, 0.99) < 1.5

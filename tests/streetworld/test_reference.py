"""Figures of one small scene, as they were when the world was last changed on purpose.

The tolerances are those that docs/datasets.md states for other kinds of processors.
"""

from dataclasses import replace

import numpy as np
import pytest

from streetworld.rendering.labels import View
from streetworld.rendering.lidar import Sweep
from streetworld.rendering.light import LIGHTS
from streetworld.request import SceneRequest
from streetworld.scene import KEY_FRAME_S, Scene, build_scene
from streetworld.town.lots import TownRequest

REQUEST = SceneRequest("reference", TownRequest(2, 0, 3), 1, 2, "nuscenes", (48, 84), ("noon",), 0, False)
FRAME = 1
CHANGED = (
    "The world is another one. If it was changed on purpose, raise `FORMAT` in src/occfeat/world/build.py "
    "and renew the numbers of this file."
)

GREY = {
    "CAM_FRONT": 160.06,
    "CAM_FRONT_RIGHT": 148.19,
    "CAM_BACK_RIGHT": 153.38,
    "CAM_BACK": 150.90,
    "CAM_BACK_LEFT": 154.19,
    "CAM_FRONT_LEFT": 155.75,
}
"""Mean grey level of each camera's image, 0-255."""
LIT = {
    "noon": 160.26,
    "low_sun": 148.79,
    "overcast": 161.64,
    "dusk": 121.80,
    "night": 91.35,
    "wet": 162.35,
    "fog": 175.70,
}
"""The same of the front camera, by light."""
DEPTH_M = {
    "CAM_FRONT": 13.1814,
    "CAM_FRONT_RIGHT": 2.4557,
    "CAM_BACK_RIGHT": 1.9716,
    "CAM_BACK": 6.2122,
    "CAM_BACK_LEFT": 11.5852,
    "CAM_FRONT_LEFT": 11.6936,
}
"""Median depth in each camera's image, the sky left out."""
POINTS, INTENSITY = 29_613, 16.881
"""How many points a sweep has, and their mean intensity."""
LABELS = 17
"""How many objects are labelled."""
NEAREST = [
    ("vehicle.car", (416.119, 260.557, 0.844)),
    ("human.pedestrian.adult", (411.840, 268.108, 0.806)),
    ("human.pedestrian.adult", (416.946, 268.443, 0.897)),
    ("human.pedestrian.adult", (420.401, 267.267, 0.918)),
    ("human.pedestrian.adult", (398.703, 272.618, 0.965)),
    ("vehicle.car", (413.392, 283.437, 0.837)),
]
"""Category and centre in the town of the boxes nearest to the LiDAR."""


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene(REQUEST)


@pytest.fixture(scope="module")
def views(scene: Scene) -> dict[str, View]:
    return {camera.channel: scene.look(camera, FRAME) for camera in scene.rig.cameras}


@pytest.fixture(scope="module")
def sweep(scene: Scene) -> Sweep:
    return scene.scan(FRAME * KEY_FRAME_S)


def test_images__are_as_bright_as_before(views: dict[str, View]) -> None:
    found = {channel: float(view.shot.pixels.mean()) for channel, view in views.items()}
    assert found == pytest.approx(GREY, abs=0.2), CHANGED


def test_lights__are_as_bright_as_before(scene: Scene) -> None:
    lit = {name: replace(scene, light=light) for name, light in LIGHTS.items()}
    found = {name: float(one.look(one.rig.cameras[0], FRAME).shot.pixels.mean()) for name, one in lit.items()}
    assert found == pytest.approx(LIT, abs=0.2), CHANGED


def test_images__are_as_deep_as_before(views: dict[str, View]) -> None:
    depths = {channel: view.shot.depth_m for channel, view in views.items()}
    found = {channel: float(np.median(depth[np.isfinite(depth)])) for channel, depth in depths.items()}
    assert found == pytest.approx(DEPTH_M, rel=0.001), CHANGED


def test_a_sweep__has_as_many_and_as_bright_points_as_before(sweep: Sweep) -> None:
    assert len(sweep.points) == pytest.approx(POINTS, rel=0.002), CHANGED
    assert float(sweep.points[:, 3].mean()) == pytest.approx(INTENSITY, rel=0.002), CHANGED


def test_boxes__are_where_they_were(scene: Scene, views: dict[str, View], sweep: Sweep) -> None:
    labels = scene.labels(FRAME, list(views.values()), [sweep])
    assert len(labels) == pytest.approx(LABELS, abs=1), CHANGED
    lidar_m = scene.scene_from_lidar(FRAME * KEY_FRAME_S)[:3, 3]
    labels.sort(key=lambda one: float(np.hypot(*(one.center - lidar_m)[:2])))
    nearest = labels[: len(NEAREST)]
    assert [scene.annotations[one.object_id].category for one in nearest] == [kind for kind, _ in NEAREST]
    centers = np.array([one.center + scene.origin_m for one in nearest])
    np.testing.assert_allclose(centers, [at for _, at in NEAREST], rtol=0, atol=0.01, err_msg=CHANGED)

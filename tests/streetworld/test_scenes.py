"""Scenes put together by hand, and a street seen by every rig."""

import re
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from occfeat.geometry.camera import project
from streetworld.actors.actors import Mover
from streetworld.actors.traffic import Motion
from streetworld.custom_rigs import load_rig
from streetworld.layout.ground import quad
from streetworld.rendering.ground_maps import GroundMap
from streetworld.rendering.labels import View
from streetworld.rendering.lidar import Sweep
from streetworld.rendering.light import LIGHTS
from streetworld.rendering.tracer import Tracer
from streetworld.request import SceneRequest
from streetworld.rigs import RIGS, Camera
from streetworld.scene import HEADLIGHTS, Scene, build_scene
from streetworld.things.materials import Material
from streetworld.things.shapes import place
from streetworld.town.lots import CORNERS, TownRequest
from tests.streetworld.test_sensing import pixel_errors

REQUEST = SceneRequest("here", TownRequest(2, 0, 3), 1, 1, "nuscenes", (48, 84), ("noon",), 0, True)
NO_SWEEP = Sweep(np.zeros((0, 5), np.float32), np.zeros(0, np.int32))


@cache
def built_street() -> Scene:
    """One scene for the tests of scenes and of lights: building it takes longer than looking at it."""
    return build_scene(REQUEST)


@pytest.fixture
def street() -> Scene:
    return built_street()


def moving(x: float, y: float, yaw_rad: float = 0.0, speed_mps: float = 0.0) -> Motion:
    """From a place at 0 s, straight on for ever."""
    step = speed_mps * np.array([np.cos(yaw_rad), np.sin(yaw_rad)])
    points = np.array([x, y]) + np.stack((np.zeros(2), step))
    return Motion(0.0, 1.0, points, np.full(2, yaw_rad), np.full(2, speed_mps))


def open_field(street: Scene, movers: list[Mover], light: str = "noon") -> Scene:
    """The ego vehicle stands at the origin of a wide place and looks ahead; only `movers` are there."""
    ground = place(quad(list(200 * CORNERS), 0.0, Material.ASPHALT), (0, 0, 0), object_id=0)
    no_lamps = GroundMap(np.zeros(2), 1.0, np.zeros((2, 2), np.float32))
    return replace(
        street, request=replace(street.request, image_size=(128, 224)), origin_m=np.zeros(3),
        rig=replace(street.rig, cameras=street.rig.cameras[:1]), still=Tracer(ground), poses={},
        movers=tuple(movers), ego=moving(0, 0), light=LIGHTS[light], lamps=no_lamps,
    )  # fmt: skip


def person(street: Scene, motion: Motion) -> Mover:
    someone = next(mover for mover in street.movers if mover.person)
    return replace(someone, motion=motion, height_m=0.0)


def car(street: Scene, motion: Motion) -> Mover:
    some = next(mover for mover in street.movers if mover.annotation.category == "vehicle.car")
    return replace(some, motion=motion)


@pytest.mark.parametrize("speed_mps", [0.0, 1.4])
def test_a_person_whom_nothing_hides__is_wholly_visible_at_all_times(street: Scene, speed_mps: float) -> None:
    scene = open_field(street, [person(street, moving(7.0, -2.0, np.pi / 2, speed_mps))])
    shares, templates = [], set()
    for frame in range(5):
        view = scene.look(scene.rig.cameras[0], frame)
        (found,) = scene.labels(frame, [view], [NO_SWEEP])
        shares.append(found.visible)
        templates.add(id(scene.movers[0].mesh(frame * 0.5)))
    assert (len(templates) > 3) == (speed_mps > 0)
    assert min(shares) > 0.98


def test_headlights__are_the_ego_vehicles_and_those_of_the_nearest(street: Scene) -> None:
    ahead_m = (34.0, 30.0, 6.0, 27.0, 14.0, 24.0, 10.0, 18.0, 50.0)
    movers = [car(street, moving(x, 3.0)) for x in ahead_m]
    lamps = open_field(street, movers, "night")._lighting(0.0).headlights
    front = movers[0].annotation.size_m[0] / 2
    assert len(lamps) == HEADLIGHTS == 5
    assert lamps[0].tolist() == [2.4, 0, 0, 1]
    np.testing.assert_allclose(lamps[1:, 0] - front, (6, 10, 14, 18))
    assert len(open_field(street, movers, "noon")._lighting(0.0).headlights) == 1


def test_a_near_car_lights_the_road__however_many_others_there_are(street: Scene) -> None:
    near = car(street, moving(12.0, 5.0, -np.pi / 2))
    far = [car(street, moving(-20.0 - 2 * i, 12.0)) for i in range(5)]
    dark, lit, crowded = (
        road_brightness(open_field(street, movers, "night")) for movers in (far, [near], [*far, near])
    )
    assert lit > 1.3 * dark
    assert crowded == pytest.approx(lit, rel=0.02)


def road_brightness(scene: Scene) -> float:
    """Of the road 12 m ahead, to the right of the middle."""
    view = scene.look(scene.rig.cameras[0], 0)
    u, v = pixel_of(view, np.array([12.0, -2.0, 0.0]))
    return float(view.shot.pixels[v - 3 : v + 4, u - 10 : u + 11].mean())


def pixel_of(view: View, point: np.ndarray) -> tuple[int, int]:
    camera = view.scene_from_camera[:3, :3].T @ (point - view.scene_from_camera[:3, 3])
    u, v, _ = view.optics.intrinsics @ camera / camera[2]
    return int(u), int(v)


def test_lamps__of_an_oncoming_car_outshine_it_at_night(street: Scene) -> None:
    noon, night = (
        lamp_against_car(open_field(street, [car(street, moving(12.0, 3.5, np.pi))], light))
        for light in ("noon", "night")
    )
    assert night > 2.5
    assert night > 1.5 * noon


def lamp_against_car(scene: Scene) -> float:
    """How much brighter the right headlamp of the only car is than the car around it."""
    view = scene.look(scene.rig.cameras[0], 0)
    mesh, pose = scene.movers[0].annotation.mesh, scene.movers[0].pose(0.0)
    lamps = mesh.vertices[mesh.faces[mesh.material == Material.LAMP_WHITE]].reshape(-1, 3)
    middle = lamps[lamps[:, 1] < 0].mean(axis=0) * scene.movers[0].annotation.scale
    u, v = pixel_of(view, pose.rotation @ middle + pose.point)
    grey = view.shot.pixels.mean(axis=2)
    around = slice(v - 12, v + 13), slice(u - 12, u + 13)
    own = view.shot.object_id[around] == scene.movers[0].object_id
    return float(grey[v, u] / np.median(grey[around][own]))


def test_lidar_points__fall_beside_what_they_hit_if_ego_motion_is_left_out(street: Scene) -> None:
    x, y, yaw, _ = street.ego.at(0.0)
    request = replace(REQUEST, image_size=(96, 168))
    scene = replace(street, request=request, ego=moving(x, y, yaw, speed_mps=12.0))
    lidar = scene.scene_from_lidar(0.0)
    points = scene.scan(0.0).points[:, :3] @ lidar[:3, :3].T + lidar[:3, 3]
    points = points[(np.hypot(*(points - lidar[:3, 3]).T[:2]) > 1) & (points[:, 2] > 0.3)]
    counted, left_out = [], []
    for camera in scene.rig.cameras:
        view = scene.look(camera, 0)
        resting = scene.global_from_ego(0.0) @ camera.ego_from_camera
        resting[:3, 3] -= scene.origin_m
        for pose, errors in ((view.scene_from_camera, counted), (resting, left_out)):
            seen = (points - pose[:3, 3]) @ pose[:3, :3]
            pixels, depth = project(torch.from_numpy(view.optics.intrinsics), torch.from_numpy(seen))
            errors.append(pixel_errors(pixels.numpy(), depth.numpy(), view.shot.depth_m))
    right, wrong = ((np.concatenate(errors) > 2.5).mean() for errors in (counted, left_out))
    assert right < 0.05
    assert wrong > 3 * right


def test_the_page_on_data_sets__shows_a_rig_that_loads_and_names_all_rigs_and_lights(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    section = page[page.index("## The street world") : page.index("## Your own data")]
    (example,) = re.findall(r"^```json\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    path = tmp_path / "mine.json"
    path.write_text(example, encoding="utf-8")
    rig = load_rig(str(path))
    assert [camera.channel for camera in rig.cameras] == ["CAM_FRONT", "CAM_BACK"]
    assert {*RIGS, *LIGHTS} <= set(re.findall(r"`(\w+)`", section))
    assert {field.name for field in fields(Camera)} <= set(re.findall(r"\w+", section))

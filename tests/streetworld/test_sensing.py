"""What the sensors of a built world say must agree with each other."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from occfeat.data.formats.nuscenes.writer.rows import token
from occfeat.data.index.index import Index
from occfeat.data.keyframe import KeyFrame
from occfeat.geometry.camera import project
from occfeat.geometry.frames import invert, transform_points
from occfeat.settings.sections import DataConfig
from streetworld.build import plan_scenes
from streetworld.config import WorldConfig
from streetworld.request import SceneRequest
from streetworld.scene import Scene, build_scene
from streetworld.things.materials import CLASSES
from streetworld.town.lots import TownRequest
from streetworld.town.towns import TOWNS
from tests.support.small_world import SMALL

REQUEST = SceneRequest("here", TownRequest(2, 7, 4), 1, 2, "nuscenes", (64, 112), ("noon",), 0, True)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return build_scene(REQUEST)


@pytest.fixture(scope="module")
def key_frames(street_world: Path) -> list[KeyFrame]:
    index = Index.open(DataConfig(root=street_world))
    return [index.key_frame(int(row)) for row in index.rows("all")]


def read_points(world: Path, path: str) -> np.ndarray:
    return np.fromfile(world / path, dtype="<f4").reshape(-1, 5)


def truth_file(world: Path, path: str) -> Path:
    return (world / path.replace("samples", "truth", 1)).with_suffix("").with_suffix("")


def test_lidar_points_fall_on_what_they_hit(street_world: Path, key_frames: list[KeyFrame]) -> None:
    """Points are projected with the index's calibration and compared with the depth of their pixel.

    The error in pixels is how far the nearest pixel lies that shows the point's depth.
    """
    errors = []
    for key_frame in key_frames:
        sweep = key_frame.sweeps[0]
        points = torch.from_numpy(read_points(street_world, sweep.path))[:, :3].double()
        ego = transform_points(sweep.ego_from_lidar.double(), points[points[:, :2].norm(dim=1) > 1])
        for camera in key_frame.cameras:
            seen = transform_points(invert(camera.lidar_ego_from_camera.double()), ego)
            pixels, depth = project(camera.intrinsics.double(), seen)
            depth_truth = np.load(truth_file(street_world, camera.path).with_suffix(".npz"))["depth_m"]
            errors.append(pixel_errors(pixels.numpy(), depth.numpy(), depth_truth))
    joined = np.concatenate(errors)
    assert len(joined) > 20_000
    assert np.median(joined) < 1
    assert (joined < 2.5).mean() > 0.9


def pixel_errors(pixels: np.ndarray, depth: np.ndarray, depth_m: np.ndarray) -> np.ndarray:
    """Return how far from each pixel position of an image the nearest pixel of its depth lies, up to 4."""
    height, width = depth_m.shape
    u, v = pixels.T
    inside = (depth > 0.5) & (u > 4) & (u < width - 4) & (v > 4) & (v < height - 4)
    u, v, depth = u[inside], v[inside], depth[inside]
    best = np.full(len(u), 4.0)
    for dv in range(-3, 4):
        for du in range(-3, 4):
            column, row = np.floor(u).astype(int) + du, np.floor(v).astype(int) + dv
            near, far = (depth_m[row, column] * share for share in (0.97, 1.03))
            gap = np.hypot(column + 0.5 - u, row + 0.5 - v)
            best = np.where((depth > near - 0.1) & (depth < far + 0.1), np.minimum(best, gap), best)
    return best


def test_vehicle_boxes_hold_the_lidar_points_they_say(street_world: Path, key_frames) -> None:
    nearby, held = 0, 0
    for key_frame in key_frames:
        sweep = key_frame.sweeps[0]
        points = torch.from_numpy(read_points(street_world, sweep.path))[:, :3].double()
        ego = transform_points(sweep.ego_from_lidar.double(), points).numpy()
        boxes = key_frame.boxes
        for i, category in enumerate(boxes.category):
            local = (ego - boxes.center_ego[i].numpy()) @ boxes.ego_from_box[i].numpy()
            inside = int((np.abs(local) <= boxes.size_m[i].numpy() / 2 + 1e-4).all(axis=1).sum())
            assert inside == pytest.approx(int(boxes.lidar_points[i]), abs=2, rel=0.02)
            distance = float(boxes.center_ego[i, :2].norm())
            if category == "vehicle.car" and distance < 15 and int(boxes.visibility[i]) == 4:
                nearby, held = nearby + 1, held + (inside >= 20)
    assert nearby > 0
    assert held == nearby


def test_points_on_clutter_are_in_no_vehicle_box(scene: Scene) -> None:
    views = [scene.look(camera, 0) for camera in scene.rig.cameras]
    sweep = scene.scan(0.0)
    found = scene.labels(0, views, [sweep])
    vehicles = [one for one in found if scene.annotations[one.object_id].category.startswith("vehicle.")]
    lidar = scene.scene_from_lidar(0.0)
    points = sweep.points[:, :3] @ lidar[:3, :3].T + lidar[:3, 3]
    kinds = scene.appearance.class_id
    on_clutter = (sweep.object_id >= 0) & (kinds[sweep.object_id] == CLASSES.index("clutter"))
    assert on_clutter.sum() > 50
    for one in vehicles:
        cosine, sine = np.cos(one.yaw_rad), np.sin(one.yaw_rad)
        rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
        local = (points[on_clutter] - one.center) @ rotation
        inside = (np.abs(local) < np.array(scene.annotations[one.object_id].size_m) / 2).all(axis=1)
        assert inside.mean() < 0.01


def test_depth_of_the_road_is_that_of_a_plane(scene: Scene) -> None:
    camera = scene.rig.cameras[0]
    view = scene.look(camera, 0)
    row, column = np.nonzero(view.shot.class_id == CLASSES.index("road"))
    assert len(row) > 200
    pixels = np.stack((column + 0.5, row + 0.5, np.ones(len(row))))
    rays = view.scene_from_camera[:3, :3] @ np.linalg.inv(view.optics.intrinsics) @ pixels
    plane = -view.scene_from_camera[2, 3] / rays[2]
    flat = np.abs(view.shot.depth_m[row, column] - plane) < 0.01 * plane + 0.01
    assert flat.mean() > 0.97  # car parks lie as high as sidewalks


def test_a_key_frame_is_the_same_every_time_and_noise_differs_between_frames(scene: Scene) -> None:
    camera = scene.rig.cameras[0]
    again = build_scene(REQUEST)
    np.testing.assert_array_equal(scene.look(camera, 0).shot.pixels, again.look(camera, 0).shot.pixels)
    np.testing.assert_array_equal(scene.scan(0.5).points, again.scan(0.5).points)
    assert not np.array_equal(scene.scan(0.5).points[:100, :3], scene.scan(0.0).points[:100, :3])


def test_a_sweep_has_32_rings_intensities_and_the_ego_vehicle_in_it(scene: Scene) -> None:
    points = scene.scan(0.0).points
    assert 20_000 < len(points) <= 32 * 1084
    assert set(np.unique(points[:, 4])) == set(range(32))
    assert points[:, 3].min() >= 0
    assert 20 < points[:, 3].max() <= 255
    near = np.hypot(points[:, 0], points[:, 1]) < 1
    assert 20 < near.sum() < 2000
    height = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
    assert np.degrees(height).min() > -31
    assert np.degrees(height).max() < 11


def test_tracks_keep_their_token_size_and_speed(street_world: Path) -> None:
    tables = street_world / "v1.0-street"
    rows = {row["token"]: row for row in json.loads((tables / "sample_annotation.json").read_text())}
    linked = [(row, rows[row["next"]]) for row in rows.values() if row["next"]]
    assert len(linked) > 10
    for before, after in linked:
        assert before["instance_token"] == after["instance_token"]
        assert before["size"] == after["size"]
        way = np.hypot(*np.subtract(after["translation"], before["translation"])[:2])
        assert way < 0.5 * 16


def test_moving_vehicles_go_as_far_as_their_speed_says(street_world: Path) -> None:
    tables = street_world / "v1.0-street"
    rows = {row["token"]: row for row in json.loads((tables / "sample_annotation.json").read_text())}
    linked = {row["instance_token"]: (row, rows[row["next"]]) for row in rows.values() if row["next"]}
    request = plan_scenes(WorldConfig(out=street_world, **SMALL))[0][0]
    wanted, ways = [], []
    for mover in build_scene(request).movers:
        way_m = 0.5 * float(np.mean([mover.speed_mps(time_s) for time_s in np.linspace(0, 0.5, 11)]))
        pair = linked.get(token(request.town.seed, request.name, "instance", mover.object_id))
        if pair and not mover.person and way_m > 1:
            wanted.append(way_m)
            ways.append(np.hypot(*np.subtract(pair[1]["translation"], pair[0]["translation"])[:2]))
    assert len(ways) > 10
    np.testing.assert_allclose(ways, wanted, rtol=0.05, atol=0.15)  # some brake hard between two time steps
    assert np.median(np.divide(ways, wanted)) == pytest.approx(1, abs=0.02)


def test_logs_name_places_the_devkit_knows(street_world: Path) -> None:
    logs = json.loads((street_world / "v1.0-street" / "log.json").read_text())
    assert {log["location"] for log in logs} <= {town.name for town in TOWNS}


def test_truth_names_classes_and_instances(street_world: Path, key_frames: list[KeyFrame]) -> None:
    camera = key_frames[0].cameras[0]
    truth = np.load(truth_file(street_world, camera.path).with_suffix(".npz"))
    assert truth["depth_m"].shape == truth["class_id"].shape == truth["object_id"].shape == (64, 112)
    assert truth["class_id"].max() < len(CLASSES)
    np.testing.assert_array_equal(truth["object_id"] == -1, truth["class_id"] == CLASSES.index("sky"))
    np.testing.assert_array_equal(truth["object_id"] == -1, np.isinf(truth["depth_m"]))
    sweep = key_frames[0].sweeps[0].path
    on_objects = np.fromfile(truth_file(street_world, sweep).with_suffix(".bin"), dtype="<i2")
    points = read_points(street_world, sweep)
    np.testing.assert_array_equal(on_objects == -1, np.hypot(points[:, 0], points[:, 1]) < 0.87)
    legend = json.loads((street_world / "truth" / f"{key_frames[0].scene}.json").read_text())
    assert legend["classes"] == list(CLASSES)
    seen = {legend["instances"].get(str(number)) for number in np.unique(truth["object_id"])}
    known = {r["token"] for r in json.loads((street_world / "v1.0-street" / "instance.json").read_text())}
    assert seen & known

"""One street, every door: written in some format and read back, it gives the same targets and labels."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

import occfeat
from occfeat.cli import main
from occfeat.data.formats.nuscenes.writer.values import (
    AnnotatedBox,
    CalibratedCamera,
    CalibratedRig,
    CameraImage,
    EgoPose,
    LidarSweep,
    RecordingLog,
)
from occfeat.data.index.index import Index
from occfeat.data.keyframe import KeyFrame
from occfeat.data.recordings.waymo.recording import find_recordings
from occfeat.data.recordings.write import write_recordings
from occfeat.settings.sections import DataConfig, TeacherConfig
from occfeat.teacher.build import build_teacher
from occfeat.teacher.network import Teacher
from streetworld.build import build_world
from streetworld.config import WorldConfig
from tests.support.argoverse_folder import build_argoverse_folder, ring_of
from tests.support.nuscenes_folder import read_records
from tests.support.recordings.bag_writer import FORMS, Form, write_scene_as_bag
from tests.support.recordings.waymo_writer import write_waymo
from tests.support.same_street import Differences, Door, compare

CLASSES = ("vehicle", "pedestrian")
WORLD = {"scenes": 2, "val_scenes": 1, "test_scenes": 0, "key_frames": 2, "town_size": 3, "workers": 1}


@pytest.fixture(scope="module")
def teacher(teacher_weights: Path) -> Teacher:
    return build_teacher(TeacherConfig(name="test_vit", weights=str(teacher_weights), image_size=(64, 112)))


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Door:
    """Five cameras, which Waymo and Argoverse have, too."""
    out = tmp_path_factory.mktemp("door") / "street"
    build_world(WorldConfig(out=out, rig="wide5", image_size=(96, 168), sweeps=1, lights=("noon",), **WORLD))
    return Door(out, Index.open(DataConfig(root=out)).channels)


@pytest.fixture(scope="module")
def fisheye(tmp_path_factory: pytest.TempPathFactory) -> Door:
    out = tmp_path_factory.mktemp("door") / "fisheye"
    build_world(WorldConfig(out=out, rig="fisheye4", image_size=(96, 168), lights=("noon",), **WORLD))
    return Door(out, Index.open(DataConfig(root=out)).channels)


def require_equal(found: Differences) -> None:
    """Every cell is the same."""
    assert found.key_frames == 4
    counts = {"occupied": found.occupied, "seen": found.seen, "features": found.features, **found.labels}
    assert {name: one.differ for name, one in counts.items()} == dict.fromkeys(counts, 0)
    assert min(found.occupied.cells, found.seen.cells, found.features.cells) > 4000


def require_nearly_equal(found: Differences, most: float) -> None:
    """Labels are the same; so are the targets, but for a share of the voxels."""
    assert {name: one.differ for name, one in found.labels.items()} == dict.fromkeys(found.labels, 0)
    assert max(found.occupied.share, found.seen.share) <= most
    assert found.features.differ <= most * found.features.cells
    assert found.key_frames == 4


def write_again(street: Door, out: Path) -> Door:
    """Read everything from the index and write it with `NuScenesWriter`."""
    index = Index.open(DataConfig(root=street.root))
    instance = {
        row["token"]: row["instance_token"]
        for row in read_records(index.root, "sample_annotation", index.version)
    }
    split_of = {scene: split for split in index.splits() for scene in index.scene_of(index.rows(split))}
    shutil.copytree(index.root / "maps", out / "maps")
    with occfeat.NuScenesWriter(out, "v1.0-again") as writer:
        scene, last_us = "", 0
        for row in range(len(index)):
            key_frame = index.key_frame(row, sweeps=2)
            if key_frame.scene != scene:
                scene = key_frame.scene
                log = RecordingLog(key_frame.place.location, str(key_frame.place.base_map))
                writer.add_scene(scene, rig_of(key_frame, scene), split=split_of[scene], log=log)
            write_key_frame(writer, index, key_frame, instance, last_us)
            last_us = key_frame.timestamp_us
    return Door(out, street.cameras)


def rig_of(key_frame: KeyFrame, name: str) -> CalibratedRig:
    cameras = [
        CalibratedCamera(one.channel, one.camera_ego_from_camera.numpy(), one.intrinsics.numpy(), one.lens)
        for one in key_frame.cameras
    ]
    return CalibratedRig(name, cameras, {"LIDAR_TOP": key_frame.sweeps[0].ego_from_lidar.numpy()})


def write_key_frame(
    writer: occfeat.NuScenesWriter,
    index: Index,
    key_frame: KeyFrame,
    instance: dict[str, str],
    last_us: int,
) -> None:
    pose = key_frame.global_from_ego.numpy()
    own = key_frame.sweeps[0]
    mounted = own.ego_from_lidar.numpy()
    for sweep in reversed([one for one in key_frame.sweeps[1:] if one.timestamp_us > last_us]):
        moved = pose @ sweep.ego_from_lidar.numpy() @ np.linalg.inv(mounted)
        points = index.source.read_sweep(index.root / sweep.path).points
        writer.add_sweep("LIDAR_TOP", EgoPose(sweep.timestamp_us, moved), points)
    images = {}
    for one in key_frame.cameras:
        moved = pose @ (one.lidar_ego_from_camera @ one.camera_ego_from_camera.inverse()).numpy()
        images[one.channel] = CameraImage(index.root / one.path, EgoPose(key_frame.timestamp_us, moved))
    boxes = key_frame.boxes
    annotated = [
        AnnotatedBox(
            boxes.category[i],
            instance[token],
            pose[:3, :3] @ boxes.center_ego[i].numpy() + pose[:3, 3],
            boxes.size_m[i].numpy(),
            math.atan2(*(pose[:3, :3] @ boxes.ego_from_box[i].numpy())[[1, 0], 0].tolist()),
            visibility=int(boxes.visibility[i]),
            lidar_points=int(boxes.lidar_points[i]),
        )
        for i, token in enumerate(boxes.tokens)
    ]
    sweeps = {"LIDAR_TOP": LidarSweep(index.source.read_sweep(index.root / own.path).points)}
    writer.add_key_frame(EgoPose(key_frame.timestamp_us, pose), images, sweeps, annotated)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["street", "fisheye"])
def test_the_writer__gives_the_same_street(
    name: str, teacher: Teacher, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    street = request.getfixturevalue(name)
    again = write_again(street, tmp_path / "again")
    classes = (*CLASSES, "drivable_area", "walkway", "divider")
    require_equal(compare(street, again, teacher, classes, sweeps=2 if name == "street" else 1))


@pytest.mark.slow
def test_differences__are_found(street: Door, teacher: Teacher) -> None:
    """Cameras in another order see other things, and nothing else changes."""
    turned = Door(street.root, street.cameras[1:] + street.cameras[:1])
    require_equal(compare(street, turned, teacher, CLASSES))
    with_fewer = Door(street.root, street.cameras[:2] * 2 + street.cameras[:1])
    found = compare(street, with_fewer, teacher, CLASSES)
    assert found.occupied.differ == 0
    assert found.seen.share > 0.1
    assert found.features.share > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "most"), [("float32", 0.0), ("float16", 0.04)])
def test_argoverse__gives_the_same_street(
    precision: str, most: float, street: Door, teacher: Teacher, tmp_path: Path
) -> None:
    """Argoverse stores half floats, which move returns by up to 16 mm at 50 m: here 3.0 % of the voxels."""
    root = build_argoverse_folder(street.root, tmp_path / "sensor", precision=precision)
    door = Door(root, ring_of(street.root, street.cameras))
    found = compare(street, door, teacher, (*CLASSES, "drivable_area"))
    require_nearly_equal(found, most)


@pytest.mark.slow
def test_waymo__gives_the_same_street(street: Door, teacher: Teacher, tmp_path: Path) -> None:
    """Range images round angles: rays along borders of cells change sides, here 5 of 15 277 voxels."""
    written = write_waymo(street.root, tmp_path / "waymo", sweeps=2)
    recordings = find_recordings(tmp_path / "waymo", sweeps=True)
    write_recordings(tmp_path / "imported", recordings, made_from=b"waymo", workers=1)
    original = Door(street.root, tuple(written.cameras.values()))
    door = Door(tmp_path / "imported", tuple(f"CAM_{name}" for name in written.cameras))
    assert len(door.cameras) == 5
    found = compare(original, door, teacher, CLASSES, sweeps=2)
    require_nearly_equal(found, 0.001)


def write_bags(street: Door, form: Form, out: Path) -> Door:
    """Write every scene as a bag, and import all of them."""
    index = Index.open(DataConfig(root=street.root))
    scenes = dict.fromkeys(index.scene_of(index.rows("all")).tolist())
    bags = [str(write_scene_as_bag(street.root, out / f"{form}-{one}", form, scene=one)) for one in scenes]
    assert main(["import", *bags, "--out", str(out / "drive"), "--workers", "1"]) == 0
    return Door(out / "drive", street.cameras)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_bags__give_the_same_street(form: Form, street: Door, teacher: Teacher, tmp_path: Path) -> None:
    """Bags have no boxes, so there are no labels to compare."""
    require_equal(compare(street, write_bags(street, form, tmp_path), teacher, sweeps=2))


@pytest.mark.slow
def test_a_bag__keeps_fisheye_lenses(fisheye: Door, teacher: Teacher, tmp_path: Path) -> None:
    require_equal(compare(fisheye, write_bags(fisheye, "mcap", tmp_path), teacher))

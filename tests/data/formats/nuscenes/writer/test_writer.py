"""`NuScenesWriter`: what was written is what is read, whatever stopped it in between."""

import io
import os
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image

import occfeat
from occfeat.data.check.check import check
from occfeat.data.dataset import KeyFrames
from occfeat.data.formats.nuscenes.writer.folder import NuScenesWriter
from occfeat.data.formats.nuscenes.writer.scene import rows_folder
from occfeat.data.formats.nuscenes.writer.values import (
    AnnotatedBox,
    CalibratedCamera,
    CalibratedRig,
    CameraImage,
    EgoPose,
    LidarSweep,
    RecordingLog,
)
from occfeat.data.formats.points.floats import read_floats
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.errors import DatasetError
from occfeat.geometry.grid import build_grid
from occfeat.geometry.lens import PINHOLE, Lens
from occfeat.settings.sections import DataConfig, GridConfig, ViewConfig

VERSION = "v1.0-mine"
START_US = 1_700_000_000_000_000
INTRINSICS = np.array([[50.0, 0, 32], [0, 51, 18], [0, 0, 1]])
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (36, 64, 3), dtype=np.uint8)
POINTS = np.array([[10.0, 0, -1, 7, 3], [10.5, 0.2, -1, 8, 4], [-5, 2, 0, 9, 5]], dtype=np.float32)


def turned(yaw_rad: float, x: float = 0, y: float = 0, z: float = 0) -> np.ndarray:
    """Return a pose: a turn about z, then a translation."""
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw_rad), -np.sin(yaw_rad)], [np.sin(yaw_rad), np.cos(yaw_rad)]]
    pose[:3, 3] = x, y, z
    return pose


def camera(channel: str, yaw_rad: float = 0.0, lens: Lens = PINHOLE) -> CalibratedCamera:
    optical = np.eye(4)
    optical[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    return CalibratedCamera(channel, turned(yaw_rad, 1.7, 0.1, 1.5) @ optical, INTRINSICS, lens)


LIDAR = "LIDAR_TOP"
RIG = CalibratedRig(
    "car", (camera("CAM_FRONT"), camera("CAM_BACK", np.pi)), {LIDAR: turned(-np.pi / 2, 0.9, 0, 1.8)}
)


def pose(milliseconds: int) -> EgoPose:
    """Return where the car is: 10 m/s along a direction that turns."""
    seconds = milliseconds / 1000
    return EgoPose(START_US + milliseconds * 1000, turned(0.3 + seconds, 100 + 10 * seconds, 50, 0.2))


def box(**fields: Any) -> AnnotatedBox:
    values = {"center_global_m": (108.0, 53, 1), "size_m": (4.0, 2, 1.5), "yaw_global_rad": 0.4}
    return AnnotatedBox(**{"category": "vehicle.car", "instance": "a", **values, **fields})


def add_key_frame(writer: NuScenesWriter, number: int, **fields: Any) -> None:
    pixels = np.roll(PIXELS, 5 * number, axis=1)
    images = {"CAM_FRONT": CameraImage(pixels, pose(500 * number - 40))}
    sweeps = {LIDAR: LidarSweep(POINTS)}
    writer.add_key_frame(pose(500 * number), images, **{"sweeps": sweeps, "boxes": (box(),), **fields})


def begun(root: Path, **fields: Any) -> NuScenesWriter:
    writer = NuScenesWriter(root, VERSION)
    writer.add_scene("one", RIG, **{"split": "train", **fields})
    return writer


def build(root: Path, scenes: int = 3) -> None:
    """Write a small set."""
    with NuScenesWriter(root, VERSION) as writer:
        for scene in range(scenes):
            writer.add_scene(f"drive-{scene}", RIG, split="val" if scene == 1 else "train")
            for number in range(3):
                if number:
                    writer.add_sweep(LIDAR, pose(500 * number - 50), POINTS + number)
                add_key_frame(writer, number)


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def table(root: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = orjson.loads((root / VERSION / f"{name}.json").read_bytes())
    return rows


def test_round_trip__what_was_written_is_read(tmp_path: Path) -> None:
    build(tmp_path)
    index = Index.open(DataConfig(root=tmp_path))
    assert (len(index), len(index.rows("train")), len(index.rows("val"))) == (9, 6, 3)
    key_frame = index.key_frame(1, sweeps=3)
    assert key_frame.timestamp_us == pose(500).time_us
    np.testing.assert_allclose(key_frame.global_from_ego, pose(500).global_from_ego, atol=1e-9)
    (front,) = key_frame.cameras
    np.testing.assert_allclose(front.camera_ego_from_camera, RIG.cameras[0].ego_from_camera, atol=1e-12)
    np.testing.assert_array_equal(front.intrinsics, INTRINSICS)
    at_camera = pose(460).global_from_ego @ RIG.cameras[0].ego_from_camera
    moved = np.linalg.inv(pose(500).global_from_ego) @ at_camera
    np.testing.assert_allclose(front.lidar_ego_from_camera, moved, atol=1e-9)
    assert front.size == (36, 64)
    assert index.channels == ("CAM_FRONT", "CAM_BACK")
    assert [sweep.timestamp_us - key_frame.timestamp_us for sweep in key_frame.sweeps] == [
        0,
        -50_000,
        -500_000,
    ]
    np.testing.assert_allclose(key_frame.sweeps[0].ego_from_lidar, RIG.lidars[LIDAR], atol=1e-9)
    np.testing.assert_array_equal(read_floats(tmp_path / key_frame.sweeps[0].path).points, POINTS)
    np.testing.assert_array_equal(read_floats(tmp_path / key_frame.sweeps[1].path).points, POINTS + 1)


def test_round_trip__boxes(tmp_path: Path) -> None:
    with begun(tmp_path) as writer:
        add_key_frame(
            writer, 0, boxes=(box(visibility=2, lidar_points=7), box(instance="b", size_m=(1, 1, 2)))
        )
    boxes = Index.open(DataConfig(root=tmp_path)).key_frame(0).boxes
    assert list(boxes.category) == ["vehicle.car", "vehicle.car"]
    assert boxes.size_m.tolist() == [[4, 2, 1.5], [1, 1, 2]]
    assert (boxes.visibility.tolist(), boxes.lidar_points[0].item()) == ([2, 0], 7)
    ego_from_global = np.linalg.inv(pose(0).global_from_ego)
    np.testing.assert_allclose(boxes.center_ego[0], (ego_from_global @ (108, 53, 1, 1))[:3], atol=1e-9)
    turn = ego_from_global[:3, :3] @ turned(0.4)[:3, :3]
    np.testing.assert_allclose(boxes.ego_from_box[0], turn, atol=1e-12)


def test_lidar_points__are_counted_in_the_box(tmp_path: Path) -> None:
    global_from_lidar = pose(0).global_from_ego @ RIG.lidars[LIDAR]
    center = (global_from_lidar @ (10, 0.1, -1, 1))[:3]
    with begun(tmp_path) as writer:
        around = {"center_global_m": center, "yaw_global_rad": 0.3 - np.pi / 2}
        tight = box(instance="tight", size_m=(0.2, 0.4, 0.2), **around)
        long = box(instance="long", size_m=(1.1, 0.4, 0.2), **around)
        add_key_frame(writer, 0, boxes=(tight, long))
    assert [row["num_lidar_pts"] for row in table(tmp_path, "sample_annotation")] == [1, 2]


def test_images__are_stored_byte_for_byte(tmp_path: Path) -> None:
    contents = {}
    for kind in ("JPEG", "PNG"):
        buffer = io.BytesIO()
        Image.fromarray(PIXELS).save(buffer, format=kind)
        contents[kind] = buffer.getvalue()
    (tmp_path / "picture").write_bytes(contents["PNG"])
    root = tmp_path / "set"
    with begun(root) as writer:
        images = {"CAM_FRONT": CameraImage(contents["JPEG"]), "CAM_BACK": CameraImage(tmp_path / "picture")}
        writer.add_key_frame(pose(0), images)
    stem = f"one__{{}}__{START_US}"
    assert (root / f"samples/CAM_FRONT/{stem.format('CAM_FRONT')}.jpg").read_bytes() == contents["JPEG"]
    assert (root / f"samples/CAM_BACK/{stem.format('CAM_BACK')}.png").read_bytes() == contents["PNG"]
    assert not check(DataConfig(root=root), decode=True).problems


def test_pixels__become_a_jpeg_of_the_same_colours(tmp_path: Path) -> None:
    smooth = np.tile(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (36, 1, 3))
    with begun(tmp_path) as writer:
        writer.add_key_frame(pose(0), {"CAM_FRONT": CameraImage(smooth)})
    (path,) = tmp_path.glob("samples/*/*.jpg")
    assert np.abs(np.asarray(Image.open(path)).astype(int) - smooth).max() <= 3


def test_points__without_intensity_and_ring(tmp_path: Path) -> None:
    with begun(tmp_path) as writer:
        add_key_frame(writer, 0, sweeps={LIDAR: LidarSweep(POINTS[:, :3].astype(np.float64))})
    (path,) = tmp_path.glob("samples/LIDAR_TOP/*")
    np.testing.assert_array_equal(read_floats(path).points, np.hstack((POINTS[:, :3], np.zeros((3, 2)))))


def test_points__are_copied_unless_they_cannot_change(tmp_path: Path) -> None:
    changed, fixed = POINTS.copy(), POINTS + 1
    fixed.flags.writeable = False
    sweeps = (LidarSweep(changed), LidarSweep(fixed), LidarSweep(fixed[::-1]))
    with begun(tmp_path) as writer:
        for number, sweep in enumerate(sweeps):
            add_key_frame(writer, number, sweeps={LIDAR: sweep})
            changed[:] = 0
    written = [read_floats(path).points for path in sorted(tmp_path.glob("samples/LIDAR_TOP/*"))]
    for points, expected in zip(written, (POINTS, fixed, fixed[::-1]), strict=True):
        np.testing.assert_array_equal(points, expected)


def test_check__finds_nothing_wrong(tmp_path: Path) -> None:
    build(tmp_path)
    report = check(DataConfig(root=tmp_path), decode=True)
    assert (report.key_frames, report.complete, report.problems) == (9, 9, ())


def test_tables__are_those_that_a_devkit_needs(tmp_path: Path) -> None:
    """All thirteen, with chains in time, first and last boxes, and a map for every log."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "town.png").write_bytes(b"")
    log = RecordingLog("town", "maps/town.png", vehicle="car-1")
    with NuScenesWriter(tmp_path, VERSION) as writer:
        for scene in ("one", "two"):
            writer.add_scene(scene, RIG, split="train", log=log)
            for number in range(3):
                boxes = (box(attribute="vehicle.parked"),) if number else ()
                add_key_frame(writer, number, boxes=boxes)
            writer.add_sweep(LIDAR, pose(1050), POINTS)
    names = {path.stem for path in (tmp_path / VERSION).iterdir()}
    assert len(names - {"splits"}) == 13
    for name in ("sample", "sample_data", "sample_annotation"):
        rows = {row["token"]: row for row in table(tmp_path, name)}
        firsts = [row for row in rows.values() if not row["prev"]]
        assert len(firsts) == {"sample": 2, "sample_data": 4, "sample_annotation": 2}[name]
        followed = [row for row in rows.values() if row["next"]]
        assert all(rows[row["next"]]["prev"] == row["token"] for row in followed)
        assert len(rows) == len(firsts) + len(followed)
    boxes = {row["token"]: row for row in table(tmp_path, "sample_annotation")}
    for instance in table(tmp_path, "instance"):
        first, last = (boxes[instance[f"{end}_annotation_token"]] for end in ("first", "last"))
        assert (first["next"], last["prev"], instance["nbr_annotations"]) == (
            last["token"],
            first["token"],
            2,
        )
    attributes = {row["token"]: row["name"] for row in table(tmp_path, "attribute")}
    assert {attributes[token] for row in boxes.values() for token in row["attribute_tokens"]} == {
        "vehicle.parked"
    }
    (base_map,) = table(tmp_path, "map")
    assert base_map["log_tokens"] == [row["token"] for row in table(tmp_path, "log")]
    assert [row["log_token"] for row in table(tmp_path, "scene")] == base_map["log_tokens"]
    assert {row["date_captured"] for row in table(tmp_path, "log")} == {"2023-11-14"}
    samples = {row["token"] for row in table(tmp_path, "sample")}
    assert {row["sample_token"] for row in table(tmp_path, "sample_data")} == samples
    assert len(table(tmp_path, "calibrated_sensor")) == 3


def test_places__are_those_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "town.png").write_bytes(b"")
    with begun(tmp_path, log=RecordingLog("town", "town.png")) as writer:
        add_key_frame(writer, 0)
        writer.add_scene("nowhere", RIG, split=None)
        add_key_frame(writer, 0)
    index = Index.open(DataConfig(root=tmp_path))
    found = [(place.location, place.base_map) for place in index.places(index.rows("all"))]
    assert found == [("town", "town.png"), ("", None)]
    assert index.metadata.loose_faults == ()


def test_splits__none_at_all_leaves_the_official_ones(tmp_path: Path) -> None:
    with NuScenesWriter(tmp_path, VERSION) as writer:
        writer.add_scene("scene-0061", RIG, split=None)
        add_key_frame(writer, 0)
    assert Index.open(DataConfig(root=tmp_path)).rows("mini_train").tolist() == [0]


def test_tables__are_laid_out_as_orjson_indents_them(tmp_path: Path) -> None:
    build(tmp_path)
    for path in (tmp_path / VERSION).iterdir():
        content = path.read_bytes()
        assert content == orjson.dumps(orjson.loads(content), option=orjson.OPT_INDENT_2)
    assert table(tmp_path, "log") == []


def test_build__killed_anywhere_continues_to_the_same_bytes(tmp_path: Path) -> None:
    build(tmp_path / "whole")
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from tests.data.formats.nuscenes.writer import test_writer as t\n"
        "from occfeat.data.formats.nuscenes.writer import files, scene\n"
        "left, write = int(sys.argv[2]), scene.write_bytes_atomic\n"
        "def write_some(path, content, **how):\n"
        "    global left\n"
        "    left -= 1\n"
        "    os.kill(os.getpid(), 9) if left < 0 else write(path, content, **how)\n"
        "scene.write_bytes_atomic = files.write_bytes_atomic = write_some\n"
        "t.build(Path(sys.argv[1]))\n"
    )
    root = tmp_path / "killed"
    for files in (12, 4):  # in the second scene, and then in what was its middle
        command = [sys.executable, "-c", code, str(root), str(files)]
        killed = subprocess.run(command, cwd=Path(__file__).parents[5], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert not (root / VERSION).exists()
    assert [path.name for path in rows_folder(root, VERSION).glob("*.json")] == ["drive-0.json"]
    before = (next((root / "samples" / "CAM_FRONT").glob("drive-0__*"))).stat().st_mtime_ns
    build(root)
    assert files_of(root) == files_of(tmp_path / "whole")
    assert next((root / "samples" / "CAM_FRONT").glob("drive-0__*")).stat().st_mtime_ns == before


def test_build__killed_while_tables_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "whole")
    replace = Path.replace

    def stop(path: Path, target: Path) -> Path:
        if target.name == VERSION:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "stopped")
    assert not (tmp_path / "stopped" / VERSION).exists()
    monkeypatch.undo()
    build(tmp_path / "stopped")
    assert files_of(tmp_path / "stopped") == files_of(tmp_path / "whole")


def stop_in_the_second_scene(root: Path) -> None:
    def write() -> None:
        with NuScenesWriter(root, VERSION) as writer:
            writer.add_scene("drive-0", RIG, split="train")
            add_key_frame(writer, 0)
            writer.add_scene("two", RIG, split="train")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()


def test_error__in_the_block_writes_no_tables_and_lets_go_of_the_folder(tmp_path: Path) -> None:
    stop_in_the_second_scene(tmp_path)
    assert not (tmp_path / VERSION).exists()
    build(tmp_path)
    assert len(table(tmp_path, "scene")) == 3


def test_key_frame__that_is_refused_leaves_no_trace(tmp_path: Path) -> None:
    for root, refused in ((tmp_path / "a", False), (tmp_path / "b", True)):
        with begun(root) as writer:
            if refused:
                with pytest.raises(DatasetError, match="not a readable JPEG or PNG"):
                    writer.add_key_frame(pose(0), {"CAM_FRONT": CameraImage(b"nonsense")})
            add_key_frame(writer, 0)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def peak_bytes(root: Path, scenes: int) -> int:
    """Return the peak memory of a build."""
    tracemalloc.start()
    try:
        build(root, scenes)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory__does_not_grow_with_the_number_of_scenes(tmp_path: Path) -> None:
    build(tmp_path / "warm", 1)
    few, many = (peak_bytes(tmp_path / str(scenes), scenes) for scenes in (4, 24))
    written = sum(path.stat().st_size for path in (tmp_path / "24" / VERSION).iterdir())
    assert written > 150_000
    assert many - few < 40_000  # names, tokens of logs, and files that threads have not written yet


def test_scenes__that_an_earlier_build_finished_may_not_be_forgotten(tmp_path: Path) -> None:
    stop_in_the_second_scene(tmp_path)
    writer = NuScenesWriter(tmp_path, VERSION)
    writer.add_scene("other", RIG, split="train")
    add_key_frame(writer, 0)
    with pytest.raises(DatasetError, match=r"1 scenes that an earlier build finished were not added"):
        writer.close()


def test_import__needs_no_torch() -> None:
    code = "import sys, occfeat; occfeat.NuScenesWriter; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    assert occfeat.NuScenesWriter is NuScenesWriter


FISHEYE = Lens("kannala_brandt", (0.1, -0.02, 0.003, 0.0))


def build_fisheye(root: Path) -> None:
    """Write a scene whose rear camera is a fisheye, and one of pinholes."""
    cameras = (camera("CAM_FRONT"), camera("CAM_BACK", np.pi, FISHEYE))
    with NuScenesWriter(root, VERSION) as writer:
        for name, rig in {"bent": CalibratedRig("bent", cameras), "straight": RIG}.items():
            writer.add_scene(name, rig, split="train")
            images = {"CAM_FRONT": CameraImage(PIXELS), "CAM_BACK": CameraImage(PIXELS[::-1].copy())}
            writer.add_key_frame(pose(0), images)


def test_lens__that_was_written_is_read(tmp_path: Path) -> None:
    build_fisheye(tmp_path)
    assert ["lens" in row for row in table(tmp_path, "calibrated_sensor")].count(True) == 1
    index = Index.open(DataConfig(root=tmp_path))
    lenses = [[record.lens for record in index.key_frame(row).cameras] for row in range(2)]
    assert lenses == [[PINHOLE, FISHEYE], [PINHOLE, PINHOLE]]
    key_frames = KeyFrames(index, ViewConfig(), Contents(), grid=build_grid(GridConfig()))
    bent, straight = (key_frames[row].cameras.lenses for row in range(2))
    assert straight is None
    assert bent is not None
    np.testing.assert_allclose(bent, [PINHOLE.numbers(), FISHEYE.numbers()], rtol=1e-6)


@pytest.mark.parametrize(
    ("lens", "said"),
    [
        ({"model": "fisheye", "coefficients": []}, "Expected a lens model, got 'fisheye'"),
        ({"model": "kannala_brandt", "coefficients": [0.1]}, "Expected 4 coefficients"),
        ("pinhole", "Expected a lens with model and coefficients"),
    ],
)
def test_lens__impossible_one_breaks_its_key_frames(tmp_path: Path, lens: object, said: str) -> None:
    build_fisheye(tmp_path)
    rows = table(tmp_path, "calibrated_sensor")
    wrong = next(row for row in rows if "lens" in row)
    wrong["lens"] = lens
    (tmp_path / VERSION / "calibrated_sensor.json").write_bytes(orjson.dumps(rows))
    report = check(DataConfig(root=tmp_path))
    (problem,) = report.problems
    assert (problem.kind, problem.count, report.complete) == ("impossible lens", 1, 1)
    assert said in problem.first[0]
    assert "CAM_BACK" in problem.first[0]


@pytest.mark.parametrize(
    ("lens", "notes"),
    [
        (FISHEYE, 0),
        # Bends back at 39 degrees, at a radius of 0.54, which is inside the image.
        (Lens("brown_conrady", (-0.5, 0.0, 0.0, 0.0)), 1),
    ],
)
def test_lens__that_does_not_cover_its_image_is_a_note(tmp_path: Path, lens: Lens, notes: int) -> None:
    with NuScenesWriter(tmp_path, VERSION) as writer:
        writer.add_scene("one", CalibratedRig("bent", (camera("CAM_FRONT", 0.0, lens),)), split="train")
        writer.add_key_frame(pose(0), {"CAM_FRONT": CameraImage(PIXELS)})
    report = check(DataConfig(root=tmp_path))
    assert report.problems == ()
    about = [note for note in report.notes if "lens" in note]
    assert len(about) == notes
    if notes:
        assert about[0].startswith("CAM_FRONT: its lens brown_conrady is valid up to 39.2 degrees")
        share = float(about[0].split(" % of the image")[0].rsplit(" ", 1)[1]) / 100
        x, y = (np.arange(640) + 0.5 - 320) / 500, (np.arange(360) + 0.5 - 180) / 510
        assert abs(share - (np.hypot(*np.meshgrid(x, y)) > 0.5443).mean()) < 0.01

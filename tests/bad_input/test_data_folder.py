"""Every kind of damage to a data folder: found by `check`, and a `KeyFrameError` for who reads on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from occfeat.config import DataConfig, ViewConfig
from occfeat.data.check import Report, check
from occfeat.data.dataset import BrokenKeyFrame, Draw, KeyFrames
from occfeat.data.index import Index
from occfeat.data.source import NEEDED_TABLES, OTHER_TABLES
from occfeat.errors import DatasetError, KeyFrameError
from occfeat.geometry.grid import VoxelGrid
from tests.nuscenes_folder import Records, build_nuscenes_folder, edit_table, read_records

GRID = VoxelGrid((-50.0, -50.0, -4.5), (50.0, 50.0, 5.5), (0.5, 0.5, 1.25))
Damage = Callable[[Path], tuple[str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_nuscenes_folder(tmp_path / "nuscenes", key_frames=2)


def found(report: Report) -> dict[str, int]:
    return {problem.kind: problem.count for problem in report.problems}


def read(folder: Path, row: int) -> object:
    index = Index.open(DataConfig(root=folder))
    view = ViewConfig(image_size=(45, 80))
    return KeyFrames(index, view, grid=GRID, augment=None, points=True, classes=("vehicle",))[Draw(row, 0)]


def first(records: Records, part: str) -> dict[str, Any]:
    """The first record of `sample_data` whose file name holds a text."""
    return next(record for record in records if part in record["filename"])


def alter(folder: Path, table: str, change: Callable[[Records], dict[str, Any]]) -> str:
    """Change a table; the token of the record that `change` returns."""
    changed: list[dict[str, Any]] = []
    edit_table(folder, table, lambda records: changed.append(change(records)))
    return str(changed[0]["token"])


def rename(folder: Path, name: str) -> str:
    def change(records: Records) -> dict[str, Any]:
        record = first(records, "samples/CAM_FRONT")
        record["filename"] = name
        return record

    return alter(folder, "sample_data", change)


def file_of(folder: Path, part: str) -> tuple[Path, str]:
    record = first(read_records(folder, "sample_data"), part)
    return folder / record["filename"], record["token"]


def cut_jpeg(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "damaged image", token


def empty_jpeg(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    path.write_bytes(b"")
    return "damaged image", token


def text_instead_of_jpeg(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    path.write_text("<html>not found</html>")
    return "damaged image", token


def other_size(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    Image.new("RGB", (80, 45)).save(path)
    return "image of another size", token


def absent_image(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    path.unlink()
    return "missing image", token


def folder_instead_of_image(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    path.unlink()
    path.mkdir()
    return "missing image", token


def absent_lidar(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/LIDAR_TOP")
    path.unlink()
    return "missing LiDAR file", token


def odd_lidar(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/LIDAR_TOP")
    path.write_bytes(path.read_bytes()[:-3])
    return "damaged LiDAR file", token


def empty_lidar(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/LIDAR_TOP")
    path.write_bytes(b"")
    return "damaged LiDAR file", token


def lidar_of_nan(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/LIDAR_TOP")
    np.full((100, 5), np.nan, dtype="<f4").tofile(path)
    return "damaged LiDAR file", token


def parent_folder(folder: Path) -> tuple[str, str]:
    return "file outside the data folder", rename(folder, "../../secret.jpg")


def absolute_name(folder: Path) -> tuple[str, str]:
    return "file outside the data folder", rename(folder, "/etc/passwd")


def link_out(folder: Path) -> tuple[str, str]:
    path, token = file_of(folder, "samples/CAM_FRONT")
    shutil.move(path, folder.parent / "elsewhere.jpg")
    path.symlink_to(folder.parent / "elsewhere.jpg")
    return "file outside the data folder", token


def empty_name(folder: Path) -> tuple[str, str]:
    return "file outside the data folder", rename(folder, "")


def calibration(folder: Path, **fields: Any) -> str:
    """Change the first camera's calibration, which all its images use."""

    def change(records: Records) -> dict[str, Any]:
        records[0].update(fields)
        return records[0]

    return alter(folder, "calibrated_sensor", change)


def singular_intrinsics(folder: Path) -> tuple[str, str]:
    return "singular intrinsics", calibration(folder, camera_intrinsic=[[0, 0, 5], [0, 9, 5], [0, 0, 1]])


def no_intrinsics(folder: Path) -> tuple[str, str]:
    return "singular intrinsics", calibration(folder, camera_intrinsic=[])


def intrinsics_of_text(folder: Path) -> tuple[str, str]:
    return "singular intrinsics", calibration(folder, camera_intrinsic=[["a", 0, 0], [0, 1, 0], [0, 0, 1]])


def zero_rotation(folder: Path) -> tuple[str, str]:
    return "impossible pose", calibration(folder, rotation=[0, 0, 0, 0])


def dangling_sensor(folder: Path) -> tuple[str, str]:
    return "dangling token", calibration(folder, sensor_token="nobody")


def first_record(folder: Path, table: str, **fields: Any) -> str:
    def change(records: Records) -> dict[str, Any]:
        records[0].update(fields)
        return records[0]

    return alter(folder, table, change)


def null_translation(folder: Path) -> tuple[str, str]:
    return "impossible pose", first_record(folder, "ego_pose", translation=[None, 0, 0])


def missing_pose(folder: Path) -> tuple[str, str]:
    alter(folder, "ego_pose", lambda records: records.pop(0))
    return "dangling token", read_records(folder, "sample_data")[0]["token"]


def missing_calibration(folder: Path) -> tuple[str, str]:
    return "dangling token", first_record(folder, "sample_data", calibrated_sensor_token="nobody")


def missing_instance(folder: Path) -> tuple[str, str]:
    return "dangling token", first_record(folder, "sample_annotation", instance_token="nobody")


def missing_category(folder: Path) -> tuple[str, str]:
    return "dangling token", first_record(folder, "instance", category_token="nobody")


def missing_visibility(folder: Path) -> tuple[str, str]:
    return "dangling token", first_record(folder, "sample_annotation", visibility_token="9")


def missing_scene(folder: Path) -> tuple[str, str]:
    return "dangling token", first_record(folder, "sample", scene_token="nobody")


def flat_box(folder: Path) -> tuple[str, str]:
    return "impossible box", first_record(folder, "sample_annotation", size=[0.0, 4, 2])


def same_camera_twice(folder: Path) -> tuple[str, str]:
    def change(records: Records) -> dict[str, Any]:
        records.append({**records[0], "token": "twin", "timestamp": records[0]["timestamp"] + 1})
        return records[-1]

    return "duplicate record", alter(folder, "sample_data", change)


BREAKING: list[Damage] = [
    cut_jpeg,
    empty_jpeg,
    text_instead_of_jpeg,
    other_size,
    absent_image,
    folder_instead_of_image,
    absent_lidar,
    odd_lidar,
    empty_lidar,
    lidar_of_nan,
    parent_folder,
    absolute_name,
    link_out,
    empty_name,
    singular_intrinsics,
    no_intrinsics,
    intrinsics_of_text,
    zero_rotation,
    dangling_sensor,
    null_translation,
    missing_pose,
    missing_calibration,
    missing_instance,
    missing_category,
    missing_visibility,
    missing_scene,
    flat_box,
    same_camera_twice,
]


@pytest.mark.parametrize("damage", BREAKING)
def test_one_damage(folder: Path, damage: Damage) -> None:
    """`check` names kind and token; the key frame cannot be read, and says why; the others can."""
    kind, token = damage(folder)
    report = check(DataConfig(root=folder))
    assert set(found(report)) == {kind}
    (problem,) = report.problems
    assert any(token in example for example in problem.first), (token, problem.first)
    assert problem.hint
    index = Index.open(DataConfig(root=folder))
    broken = [one for row in range(len(index)) if isinstance(one := read(folder, row), BrokenKeyFrame)]
    assert len(broken) == report.key_frames - report.complete >= 1
    assert all(one.token in one.message for one in broken)


@pytest.mark.parametrize(
    ("table", "fields"),
    [
        ("sample_data", {"sample_token": "nobody"}),
        ("sample_annotation", {"sample_token": "nobody"}),
    ],
)
def test_records_of_no_key_frame(folder: Path, table: str, fields: dict[str, str]) -> None:
    token = first_record(folder, table, **fields)
    (problem,) = check(DataConfig(root=folder)).problems
    assert (problem.kind, problem.count) == ("dangling token", 1)
    assert token in problem.first[0]
    assert f"{table}.json" in problem.first[0]


def test_a_sweep_between_key_frames(folder: Path) -> None:
    """A bad pose of a sweep that is no key frame is reported, and that sweep is left out."""
    record = first(read_records(folder, "sample_data"), "sweeps/")

    def change(records: Records) -> None:
        next(one for one in records if one["token"] == record["ego_pose_token"])["rotation"] = [0, 0, 0, 0]

    edit_table(folder, "ego_pose", change)
    (problem,) = check(DataConfig(root=folder)).problems
    assert (problem.kind, problem.count) == ("impossible pose", 1)
    key_frame = Index.open(DataConfig(root=folder)).key_frame(0, sweeps=9)
    assert len(key_frame.sweeps) == 2


def test_everything_at_once(folder: Path) -> None:
    kinds = [damage(folder)[0] for damage in (cut_jpeg, absent_lidar, singular_intrinsics, flat_box)]
    index = Index.open(DataConfig(root=folder))
    (folder / index._table["cameras"][2].as_py()[4]["path"]).unlink()
    assert set(found(check(DataConfig(root=folder)))) == {*kinds, "missing image"}


def test_everything_dangles(folder: Path) -> None:
    """Tables of another set: all is reported, nothing crashes."""
    (folder / "v1.0-mini" / "calibrated_sensor.json").write_text("[]")
    report = check(DataConfig(root=folder))
    assert found(report)["dangling token"] > 20
    assert report.complete == 0
    assert isinstance(read(folder, 0), BrokenKeyFrame)


@pytest.mark.parametrize("table", NEEDED_TABLES)
@pytest.mark.parametrize("content", [None, "", "{", "{}", "[1]", '[{"token": 3}]', "[{}]"])
def test_needed_table(folder: Path, table: str, content: str | None) -> None:
    path = folder / "v1.0-mini" / f"{table}.json"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(DatasetError, match=table):
        Index.open(DataConfig(root=folder))
    (problem,) = check(DataConfig(root=folder)).problems
    assert problem.kind == ("missing table" if content is None else "unreadable table")
    assert f"{table}.json" in problem.first[0]


@pytest.mark.parametrize("table", OTHER_TABLES)
def test_other_table(folder: Path, table: str) -> None:
    """A table that is not needed stops nothing, but the check says that it is missing."""
    (folder / "v1.0-mini" / f"{table}.json").unlink()
    assert found(check(DataConfig(root=folder))) == {"missing table": 1}
    assert Index.open(DataConfig(root=folder)).key_frame(0)


def test_several_tables(folder: Path) -> None:
    (folder / "v1.0-mini" / "scene.json").unlink()
    (folder / "v1.0-mini" / "log.json").unlink()
    (folder / "v1.0-mini" / "ego_pose.json").write_text("[{]")
    assert found(check(DataConfig(root=folder))) == {"missing table": 2, "unreadable table": 1}


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ("sample", "timestamp"),
        ("sample_data", "filename"),
        ("sample_data", "is_key_frame"),
        ("ego_pose", "rotation"),
        ("sample_annotation", "size"),
    ],
)
def test_missing_field(folder: Path, table: str, field: str) -> None:
    def drop(records: Records) -> dict[str, Any]:
        del records[1][field]
        return records[1]

    token = alter(folder, table, drop)
    with pytest.raises(DatasetError, match=f"{token}.*no field '{field}'"):
        Index.open(DataConfig(root=folder))
    (problem,) = check(DataConfig(root=folder)).problems
    assert problem.kind == "unreadable table"
    assert token in problem.first[0]


def test_key_frame_error_names_file_and_token(folder: Path) -> None:
    _, token = singular_intrinsics(folder)
    index = Index.open(DataConfig(root=folder))
    with pytest.raises(KeyFrameError) as caught:
        index.key_frame(0)
    assert index.token(0) in str(caught.value)
    assert "calibrated_sensor.json" in str(caught.value)
    assert token in str(caught.value)


def test_no_key_frames(folder: Path) -> None:
    """A set whose tables are all empty is no crash either."""
    for table in (*NEEDED_TABLES, *OTHER_TABLES):
        (folder / "v1.0-mini" / f"{table}.json").write_text(json.dumps([]))
    index = Index.open(DataConfig(root=folder))
    assert len(index) == 0
    assert index.splits() == ()
    assert found(check(DataConfig(root=folder))) == {"no key frames": 1}

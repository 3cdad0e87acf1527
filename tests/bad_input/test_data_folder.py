"""Every kind of damage to a data folder: found by `check`, and a `KeyFrameError` for who reads on."""

import json
from pathlib import Path
from typing import Any

import pytest

from occfeat.data.check.check import Report, check, quick_check
from occfeat.data.dataset import BrokenKeyFrame, Draw, KeyFrames
from occfeat.data.formats.nuscenes.tables import NEEDED_TABLES, OTHER_TABLES
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Sample
from occfeat.errors import DatasetError, KeyFrameError
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import DataConfig, EngineConfig, ViewConfig
from tests.bad_input.damage import (
    BREAKING,
    COSTING_A_BOX,
    COSTING_A_CAMERA,
    Damage,
    absent_lidar,
    cut_jpeg,
    dangling_sensor,
    first,
    first_record,
    flat_box,
    singular_intrinsics,
)
from tests.support.nuscenes_folder import CHANNELS, Records, build_nuscenes_folder, edit_table, read_records

GRID = VoxelGrid((-50.0, -50.0, -4.5), (50.0, 50.0, 5.5), (0.5, 0.5, 1.25))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_nuscenes_folder(tmp_path / "nuscenes", key_frames=2)


def found(report: Report) -> dict[str, int]:
    return {problem.kind: problem.count for problem in report.problems}


def read(folder: Path, row: int) -> Sample | BrokenKeyFrame:
    index = Index.open(DataConfig(root=folder))
    view = ViewConfig(image_size=(45, 80))
    return KeyFrames(index, view, Contents(points=True, classes=("vehicle",)), grid=GRID).read(Draw(row, 0))


@pytest.mark.parametrize("damage", BREAKING)
def test_one_damage(folder: Path, damage: Damage) -> None:
    """`check` names kind and token; the key frame is not read, or without a camera, and says why."""
    kind, token = damage(folder)
    report = check(DataConfig(root=folder))
    assert set(found(report)) == {kind}
    (problem,) = report.problems
    assert any(token in example for example in problem.first), (token, problem.first)
    assert problem.hint
    index = Index.open(DataConfig(root=folder))
    every = [read(folder, row) for row in range(len(index))]
    broken = [one for one in every if isinstance(one, BrokenKeyFrame)]
    incomplete = [one for one in every if isinstance(one, Sample) and one.lost_images]
    assert len(broken) + len(incomplete) == report.key_frames - report.complete >= 1
    assert all(one.token in one.message for one in broken)
    assert bool(incomplete) == (damage in COSTING_A_CAMERA)
    assert all(token in one.lost_images[0] for one in incomplete if "record" in one.lost_images[0])


@pytest.mark.parametrize("damage", COSTING_A_BOX)
def test_a_damaged_box(folder: Path, damage: Damage) -> None:
    """It is named and left out, and its key frame is read without it."""
    boxes = [len(Index.open(DataConfig(root=folder)).key_frame(row).boxes) for row in range(4)]
    kind, token = damage(folder)
    report = check(DataConfig(root=folder))
    assert set(found(report)) == {kind}
    assert token in report.problems[0].first[0]
    assert report.complete == report.key_frames
    index = Index.open(DataConfig(root=folder))
    left = [len(index.key_frame(row).boxes) for row in range(4)]
    assert sum(boxes) - sum(left) == report.problems[0].count
    assert not any(isinstance(read(folder, row), BrokenKeyFrame) for row in range(4))


@pytest.mark.parametrize(
    ("table", "fields"),
    [
        ("sample_data", {"sample_token": "nobody"}),
        ("sample_annotation", {"sample_token": "nobody"}),
        ("sample_annotation", {"visibility_token": "9"}),
    ],
)
def test_records_of_no_key_frame(folder: Path, table: str, fields: dict[str, str]) -> None:
    """Nothing is lost but the record, or what it says of visibility."""
    token = first_record(folder, table, **fields)
    (problem,) = check(DataConfig(root=folder)).problems
    kind = "box left out" if table == "sample_annotation" and "sample_token" in fields else "dangling token"
    assert (problem.kind, problem.count) == (kind, 1)
    assert token in problem.first[0]
    assert check(DataConfig(root=folder)).complete == 4
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


@pytest.mark.parametrize("value", [None, 7, ["x"], {}])
@pytest.mark.parametrize(
    ("table", "field", "kind"),
    [
        ("sample", "scene_token", "record left out"),
        ("sample_data", "filename", "record left out"),
        ("sample_data", "is_key_frame", "record left out"),
        ("sample_annotation", "token", "record left out"),
        ("ego_pose", "rotation", "impossible pose"),
        ("sample_annotation", "size", "box left out"),
    ],
)
def test_a_field_that_is_another_thing(folder: Path, table: str, field: str, kind: str, value: Any) -> None:
    """It costs its record and what refers to it, not the data set."""
    if (field, value) == ("is_key_frame", 7):  # a number in place of a Boolean
        return
    records = read_records(folder, table)
    token = records[1]["token"]
    edit_table(folder, table, lambda records: records[1].update({field: value}))
    report = check(DataConfig(root=folder))
    assert report.key_frames - report.complete <= 1
    assert kind in found(report)
    first = next(problem.first[0] for problem in report.problems if problem.kind == kind)
    assert f"{table}.json" in first
    assert field == "token" or token in first
    assert len(Index.open(DataConfig(root=folder))) == 4 - (table == "sample")


@pytest.mark.parametrize(("table", "field"), [("sample", "timestamp"), ("sample_data", "filename")])
def test_a_field_that_no_record_has(folder: Path, table: str, field: str) -> None:
    """Then the table is another one."""
    edit_table(folder, table, lambda records: [one.pop(field) for one in records])
    with pytest.raises(DatasetError, match=f"{table}.json has no usable record.*no field '{field}'"):
        Index.open(DataConfig(root=folder))
    (problem,) = check(DataConfig(root=folder)).problems
    assert problem.kind == "unreadable table"


def test_a_sweep_of_an_unknown_sensor(folder: Path) -> None:
    record = first(read_records(folder, "sample_data"), "sweeps/")

    def change(records: Records) -> None:
        next(one for one in records if one["token"] == record["token"])["calibrated_sensor_token"] = "gone"

    edit_table(folder, "sample_data", change)
    assert found(check(DataConfig(root=folder))) == {"dangling token": 1}


@pytest.mark.parametrize("modality", ["Camera", "CAMERA"])
def test_modality__in_other_letters(folder: Path, modality: str) -> None:
    edit_table(folder, "sensor", lambda records: [_rename(one, modality) for one in records])
    assert check(DataConfig(root=folder)).problems == ()
    assert len(Index.open(DataConfig(root=folder)).channels) == 6


def test_modality__of_another_name(folder: Path) -> None:
    """A camera that is called something else is not passed over in silence."""
    edit_table(folder, "sensor", lambda records: records[0].update(modality="rgb"))
    report = check(DataConfig(root=folder))
    assert found(report) == {"sensor not read": 1}
    assert 'is not read: its modality is "rgb"' in report.problems[0].first[0]


def _rename(record: dict[str, Any], modality: str) -> None:
    """Give a camera another modality."""
    if record["modality"] == "camera":
        record["modality"] = modality


def test_key_frame_error_names_file_and_token(folder: Path) -> None:
    _, token = dangling_sensor(folder)
    index = Index.open(DataConfig(root=folder))
    with pytest.raises(KeyFrameError) as caught:
        index.key_frame(0)
    assert index.token(0) in str(caught.value)
    assert "calibrated_sensor.json" in str(caught.value)
    assert token in str(caught.value)


def test_wrong_calibration__costs_its_camera_alone(folder: Path) -> None:
    _, token = singular_intrinsics(folder)
    key_frame = Index.open(DataConfig(root=folder)).key_frame(0)
    assert list(key_frame.faulty_cameras) == ["CAM_FRONT"]
    assert token in key_frame.faulty_cameras["CAM_FRONT"]
    assert [camera.channel for camera in key_frame.cameras] == list(CHANNELS[1:])
    sample = read(folder, 0)
    assert isinstance(sample, Sample)
    assert sample.cameras.present.tolist() == [False, *[True] * 5]
    assert sample.cameras.intrinsics.isfinite().all()
    assert not sample.images[0].any()
    assert len(sample.lost_images) == 1
    config = {"view": ViewConfig(cameras=CHANNELS[1:]), "needs_lidar": True}
    index = Index.open(DataConfig(root=folder))
    quick_check(index, index.rows("all"), **config)  # a run without this camera is not concerned
    with pytest.raises(DatasetError, match=r"4 of 4 key frames .* lack a camera") as caught:
        quick_check(index, index.rows("all"), view=ViewConfig(), needs_lidar=True, engine=EngineConfig())
    assert "--engine.max-incomplete" in str(caught.value)
    quick_check(
        index, index.rows("all"), view=ViewConfig(), needs_lidar=True, engine=EngineConfig(max_incomplete=1)
    )


def test_no_key_frames(folder: Path) -> None:
    """A set whose tables are all empty is no crash either."""
    for table in (*NEEDED_TABLES, *OTHER_TABLES):
        (folder / "v1.0-mini" / f"{table}.json").write_text(json.dumps([]))
    index = Index.open(DataConfig(root=folder))
    assert len(index) == 0
    assert index.splits() == ()
    assert found(check(DataConfig(root=folder))) == {"no key frames": 1}
    with pytest.raises(DatasetError, match="contains no key frames"):
        index.rows("all")

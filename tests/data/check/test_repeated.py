"""Records, scene names and scenes of splits that are there twice are named, and none of them is lost."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from occfeat.commands.sets import warn_of_sets, warn_of_shared
from occfeat.data.check.check import Report, check, quick_check
from occfeat.data.index.index import Index
from occfeat.data.index.sets import DataSets
from occfeat.errors import DatasetError
from occfeat.settings.sections import DataConfig, ViewConfig
from tests.support.nuscenes_folder import Records, build_nuscenes_folder, edit_table, read_records

SMALL_TABLES = ("sensor", "calibrated_sensor", "scene", "sample", "category", "instance", "log", "map")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_nuscenes_folder(tmp_path / "drives", key_frames=2, channels=("CAM_FRONT",), sweeps=1)


def found(report: Report) -> dict[str, int]:
    return {problem.kind: problem.count for problem in report.problems}


def repeat(folder: Path, table: str, number: int = 0, **changed: object) -> str:
    """Add a record of a table once more, maybe with other values; return its token."""

    def change(records: Records) -> None:
        records.append({**records[number], **changed})

    edit_table(folder, table, change)
    return str(read_records(folder, table)[number]["token"])


def number_of(records: Records, beginning: str) -> int:
    return next(i for i, one in enumerate(records) if one["filename"].startswith(beginning))


@pytest.mark.parametrize(
    "table", [*SMALL_TABLES, "visibility", "ego_pose", "sample_data", "sample_annotation"]
)
def test_check__names_a_record_that_is_there_twice(folder: Path, table: str) -> None:
    records = read_records(folder, table)
    number = 0
    if table in ("ego_pose", "sample_data"):
        number = number_of(read_records(folder, "sample_data"), "samples/CAM_FRONT")
        if table == "ego_pose":
            wanted = read_records(folder, "sample_data")[number]["ego_pose_token"]
            number = next(i for i, one in enumerate(records) if one["token"] == wanted)
    token = repeat(folder, table, number)
    report = check(DataConfig(root=folder))
    assert found(report) == {"duplicate record": 1}
    assert report.problems[0].first == (f"{table}.json: record {token} is there twice",)


@pytest.mark.parametrize("table", SMALL_TABLES)
def test_key_frames__are_what_they_were_where_a_record_is_only_repeated(folder: Path, table: str) -> None:
    if table == "sample":
        pytest.skip("a key frame that is there twice is itself in doubt")
    before = Index.open(DataConfig(root=folder)).key_frame(0)
    repeat(folder, table)
    after = Index.open(DataConfig(root=folder)).key_frame(0)
    assert after.boxes.category == before.boxes.category
    assert (after.cameras[0].lidar_ego_from_camera == before.cameras[0].lidar_ego_from_camera).all()


def test_check__two_calibrations_of_one_token_break_their_key_frames(folder: Path) -> None:
    repeat(folder, "calibrated_sensor", 0, translation=[100, 0, 0])
    report = check(DataConfig(root=folder))
    assert "with different values" in report.problems[0].first[0]
    assert report.complete == 0
    index = Index.open(DataConfig(root=folder))
    with pytest.raises(DatasetError, match="4 of 4 key frames"):
        quick_check(index, index.rows("all"), view=ViewConfig(), needs_lidar=False)


def test_check__two_poses_of_one_token_break_one_key_frame(folder: Path) -> None:
    image = read_records(folder, "sample_data")
    token = image[number_of(image, "samples/CAM_FRONT")]["ego_pose_token"]
    number = next(i for i, one in enumerate(read_records(folder, "ego_pose")) if one["token"] == token)
    repeat(folder, "ego_pose", number, translation=[999, 0, 0])
    report = check(DataConfig(root=folder))
    assert (found(report), report.complete) == ({"duplicate record": 1}, 3)


def test_check__a_second_sweep_of_one_lidar(folder: Path) -> None:
    number = number_of(read_records(folder, "sample_data"), "samples/LIDAR_TOP")
    repeat(folder, "sample_data", number, token="again")
    report = check(DataConfig(root=folder))
    assert (found(report), report.complete) == ({"duplicate record": 1}, 3)
    assert "again is a second sweep of LIDAR_TOP for the same key frame" in report.problems[0].first[0]


def test_boxes__of_a_repeated_record_count_once(folder: Path) -> None:
    boxes = len(Index.open(DataConfig(root=folder)).key_frame(0).boxes)
    repeat(folder, "sample_annotation")
    assert len(Index.open(DataConfig(root=folder)).key_frame(0).boxes) == boxes


def rename_scenes(folder: Path, **splits: list[str]) -> None:
    """Give both scenes one name, and write splits."""
    edit_table(folder, "scene", lambda records: [one.update(name="drive") for one in records])
    (folder / "splits.json").write_text(json.dumps(splits))


def test_rows__have_all_scenes_of_a_name(folder: Path) -> None:
    rename_scenes(folder, train=["drive"])
    report = check(DataConfig(root=folder))
    assert report.problems[0].first == ("2 scenes have the name 'drive'",)
    assert Index.open(DataConfig(root=folder)).rows("train").tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("train", "val"),
    [("train", "val"), ("training", "holdout"), ("Train", "Dev"), ("mini_train", "mini_eval")],
)
def test_check__a_scene_in_training_and_validation(folder: Path, train: str, val: str) -> None:
    both = ["scene-0061", "scene-0103"]
    splits: dict[str, Any] = {train: both, val: both[1:], "few": both[:1], "other_val": both}
    (folder / "splits.json").write_text(json.dumps(splits))
    report = check(DataConfig(root=folder))
    assert [problem.first for problem in report.problems] == [(f"scene-0103 is in {train} and in {val}",)]


def test_check__notes_that_no_split_has_key_frames(folder: Path) -> None:
    note = "No split has key frames: name the scenes of each in a splits.json beside the tables."
    assert note not in check(DataConfig(root=folder)).notes
    (folder / "splits.json").write_text('{"train": ["SCENE-0061"], "val": ["scene_0103"]}')
    assert note in check(DataConfig(root=folder)).notes


def test_training__names_what_is_there_twice(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    sets = DataSets.open((DataConfig(root=folder),))
    warn_of_sets(sets)
    warn_of_shared(sets, np.array([0, 1]), np.array([2, 3]))
    assert "problems" not in caplog.text
    assert "evaluated" not in caplog.text
    rename_scenes(folder, train=["drive"], val=["drive"])
    sets = DataSets.open((DataConfig(root=folder),))
    with caplog.at_level(logging.WARNING):
        warn_of_sets(sets)
        warn_of_shared(sets, sets.rows(["train"]), sets.rows(["val"]))
    assert "2 scenes have the name 'drive'" in caplog.text
    assert "drive is in train and in val" in caplog.text
    assert "1 scenes of" in caplog.text

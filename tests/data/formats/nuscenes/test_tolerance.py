"""Tables as people write them: other visibility tokens, sizes that are absent, wider intrinsics."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from occfeat.commands.sets import require_boxes
from occfeat.data.check.check import check
from occfeat.data.formats.nuscenes.source import NuScenes
from occfeat.data.index.index import Index
from occfeat.data.index.sets import DataSets
from occfeat.errors import DatasetError, SettingsError
from occfeat.settings.sections import DataConfig
from tests.support.nuscenes_folder import build_nuscenes_folder, edit_table

Record = dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_nuscenes_folder(tmp_path / "drives", key_frames=1, sweeps=0, image_size=(45, 80))


def each(folder: Path, table: str, change: Any) -> None:
    edit_table(folder, table, lambda records: [change(one) for one in records])


def opened(folder: Path) -> Index:
    return Index.open(DataConfig(root=folder))


def levels(folder: Path) -> list[int]:
    return opened(folder).key_frame(0).boxes.visibility.tolist()


def test_visibility__is_looked_up_in_its_table(folder: Path) -> None:
    before = levels(folder)
    assert set(before) == {1, 2, 3, 4}
    each(folder, "visibility", lambda one: one.update(token=f"vis_{one['token']}"))
    each(
        folder, "sample_annotation", lambda one: one.update(visibility_token=f"vis_{one['visibility_token']}")
    )
    assert levels(folder) == before
    assert check(DataConfig(root=folder)).problems == ()


@pytest.mark.parametrize("token", [None, "", "gone"])
def test_visibility__that_is_unknown_costs_nothing_else(folder: Path, token: str | None) -> None:
    each(folder, "sample_annotation", lambda one: one.update(visibility_token=token))
    assert set(levels(folder)) == {0}
    report = check(DataConfig(root=folder))
    assert report.complete == report.key_frames == 2
    assert [problem.count for problem in report.problems] == ([16] if token else [])
    assert any("16 boxes have no known visibility" in note for note in report.notes)


@pytest.mark.parametrize("content", [None, "{"])
def test_visibility__without_a_table_tokens_are_levels(folder: Path, content: str | None) -> None:
    path = folder / "v1.0-mini" / "visibility.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert set(levels(folder)) == {1, 2, 3, 4}
    modified = opened(folder).file.stat().st_mtime_ns
    assert opened(folder).file.stat().st_mtime_ns == modified  # not built again each time


def test_fingerprint__does_not_depend_on_the_table_of_visibility(folder: Path) -> None:
    before = opened(folder).fingerprint
    each(folder, "visibility", lambda one: one.update(description="other"))
    assert opened(folder).fingerprint == before


def test_finetune__refuses_a_set_that_loses_many_boxes(folder: Path) -> None:
    def spoil(records: list[Record]) -> None:
        records[0]["size"] = [0, 0, 0]

    edit_table(folder, "sample_annotation", spoil)
    sets = DataSets.open((DataConfig(root=folder),))
    with pytest.raises(DatasetError, match="1 of the 16 boxes") as caught:
        require_boxes(sets, sets.rows(["all"]), ("vehicle",))
    assert "is not a box" in caught.value.first[0]
    require_boxes(sets, sets.rows(["all"]), ("drivable_area",))


def test_sizes__that_are_absent_are_read_from_the_files(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    each(folder, "sample_data", lambda one: [one.pop("width"), one.pop("height")])
    with caplog.at_level(logging.INFO):
        assert check(DataConfig(root=folder)).problems == ()
    assert {camera.size for camera in opened(folder).key_frame(0).cameras} == {(45, 80)}
    assert "12 images" in caplog.text


def test_sizes__may_be_whole_floats(folder: Path) -> None:
    each(
        folder, "sample_data", lambda one: one.update(width=float(one["width"]), height=float(one["height"]))
    )
    assert check(DataConfig(root=folder)).problems == ()


@pytest.mark.parametrize("rows", [3, 4])
def test_intrinsics__of_four_columns(folder: Path, rows: int) -> None:
    before = opened(folder).key_frame(0).cameras[0].intrinsics

    def widen(one: Record) -> None:
        if one["camera_intrinsic"]:
            wide = [[*row, 0] for row in one["camera_intrinsic"]] + [[0, 0, 0, 1]]
            one["camera_intrinsic"] = wide[:rows]

    each(folder, "calibrated_sensor", widen)
    assert torch.equal(opened(folder).key_frame(0).cameras[0].intrinsics, before)


def test_intrinsics__that_shift_are_named_as_they_are(folder: Path) -> None:
    def shift(one: Record) -> None:
        if one["camera_intrinsic"]:
            one["camera_intrinsic"] = [[*row, 7] for row in one["camera_intrinsic"]]

    each(folder, "calibrated_sensor", shift)
    (problem,) = check(DataConfig(root=folder)).problems
    assert "are not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]" in problem.first[0]
    assert ", 7]" in problem.first[0]


def test_file_names__may_have_backslashes(folder: Path) -> None:
    each(folder, "sample_data", lambda one: one.update(filename=one["filename"].replace("/", "\\")))
    assert check(DataConfig(root=folder), decode=True).problems == ()


def test_splits__of_own_scenes_are_explained(folder: Path) -> None:
    each(folder, "scene", lambda one: one.update(name=f"mine {one['name']}"))
    with pytest.raises(SettingsError) as caught:
        opened(folder).rows("train")
    assert "splits.json" in caught.value.hint


def test_hints__speak_of_archives_for_official_versions_alone(tmp_path: Path) -> None:
    for version, said in (("v1.0-mini", "metadata archive"), ("v1.0-mine", "Restore or correct")):
        root = build_nuscenes_folder(tmp_path / version, key_frames=1, sweeps=0, version=version)
        (root / version / "scene.json").write_text(json.dumps([{}]))
        with pytest.raises(DatasetError) as caught:
            NuScenes(root, version).join(lambda count: None)
        assert said in caught.value.hint

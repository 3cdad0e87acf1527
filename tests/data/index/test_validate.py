"""Wrong tables of a data source of one's own are found when the index is made, not in training."""

import dataclasses
import json
import logging
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from occfeat.data.check.check import check
from occfeat.data.formats import sources
from occfeat.data.formats.sources import register_source
from occfeat.data.index.index import Index
from occfeat.data.index.validate import validate
from occfeat.data.source.faults import Fault
from occfeat.data.source.tables import LENS, Joined
from occfeat.errors import DatasetError, KeyFrameError
from occfeat.geometry.lens import PINHOLE, Lens
from occfeat.settings.sections import DataConfig
from tests.support.own_source import Drives, build_drives_folder

NAN = math.nan


class Careless(Drives):
    """Reads JSON, and what it says, without a look."""

    name = "careless"

    def _read(self) -> dict[str, Any]:
        drives: dict[str, Any] = json.loads((self.folder / "drives.json").read_text())
        return drives


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_registered", {})
    register_source(Careless)


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    return build_drives_folder(tmp_path / "drives")


@pytest.fixture
def joined(drives: Path) -> Joined:
    return Careless(drives, "").join(lambda count: None)


def change(drives: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the file of a data folder."""
    document = json.loads((drives / "drives.json").read_text())
    edit(document)
    (drives / "drives.json").write_text(json.dumps(document))


def frame(number: int, **values: object) -> Callable[[dict[str, Any]], object]:
    """What edits one key frame."""
    return lambda document: document["frames"][number].update(values)


def test_validate__sound_tables_are_left_as_they_are(joined: Joined) -> None:
    checked = validate(joined, "file")
    assert checked.cameras.drop_columns("lens") == joined.cameras
    assert checked.sweeps.drop_columns("lidar") == joined.sweeps
    assert checked.boxes.drop_columns("track") == joined.boxes
    assert checked.boxes["track"].unique().to_pylist() == [-1]
    assert checked.faults.of_row == checked.faults.loose_count == {}


@pytest.mark.parametrize(
    ("edit", "kind", "count", "said"),
    [
        (frame(1, ego_pose=[NAN, 0, 0, 1, 0, 0, 0]), "impossible pose", 3, "north-1.*ego_pose.*nan"),
        (frame(1, ego_pose=[0.0] * 7), "impossible pose", 3, "north-1.*ego_pose"),
        (frame(1, token="north/1"), "impossible token", 1, "'north/1' cannot name a file"),
    ],
)
def test_wrong_records__are_faults_of_their_key_frame(
    drives: Path, edit: Callable[[dict[str, Any]], object], kind: str, count: int, said: str
) -> None:
    change(drives, edit)
    problem = next(one for one in check(DataConfig(root=drives)).problems if one.kind == kind)
    assert problem.count == count
    assert re.search(said, problem.first[0])
    assert problem.hint
    index = Index.open(DataConfig(root=drives))
    with pytest.raises(KeyFrameError, match="cannot be used"):
        index.key_frame(1)
    assert index.key_frame(0).token == "north-0"


@pytest.mark.parametrize(
    "values", [{"size_m": [4.0, 0.0, 1.5]}, {"size_m": [1.9e40, 4.0, 1.5]}, {"pose": [0.0] * 7}]
)
def test_wrong_boxes__are_left_out(drives: Path, values: dict[str, Any]) -> None:
    change(drives, lambda document: document["frames"][1]["boxes"][0].update(values))
    report = check(DataConfig(root=drives))
    assert [(problem.kind, problem.count) for problem in report.problems] == [("box left out", 1)]
    assert report.problems[0].first[0].startswith("box north-1-auto is not a box")
    assert Index.open(DataConfig(root=drives)).key_frame(1).boxes.category == ("lorry", "tree")


@pytest.mark.parametrize(
    ("values", "kind"),
    [({"intrinsics": [0.0] * 9}, "singular intrinsics"), ({"calibration": [0.0] * 7}, "impossible pose")],
)
def test_wrong_calibration__of_a_camera_is_found_in_every_key_frame(
    drives: Path, values: dict[str, object], kind: str
) -> None:
    change(drives, lambda document: document["rig"]["back"].update(values))
    report = check(DataConfig(root=drives))
    assert {problem.kind: problem.count for problem in report.problems} == {kind: 4}
    assert report.complete == 0


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (frame(1, token="north-0"), "a token of its own for each key frame, got 'north-0' twice"),
        (frame(1, timestamp_us=-5), "its key frames are not ordered by time: north-1 is before north-0"),
    ],
)
def test_wrong_key_frames__are_refused(
    drives: Path, edit: Callable[[dict[str, Any]], object], said: str
) -> None:
    change(drives, edit)
    with pytest.raises(DatasetError, match=f"data source careless cannot be indexed.*{said}"):
        Index.open(DataConfig(root=drives))


def with_column(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    """A table with one column changed in its first entries."""
    at = table.column_names.index(name)
    old, field = table[name].to_pylist(), table.schema.field(name)
    return table.set_column(at, field, pa.array(values + old[len(values) :], field.type))


@pytest.mark.parametrize("table", ["cameras", "sweeps", "boxes"])
@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("row", -1, "row: expected numbers from 0 to below 4, got -1 to 3"),
        ("row", 4, "row: expected numbers from 0 to below 4, got"),
        ("row", None, "row: expected no nulls"),
        ("token", None, "token: expected no nulls"),
    ],
)
def test_wrong_rows_and_nulls__are_refused(
    joined: Joined, table: str, column: str, value: object, said: str
) -> None:
    wrong = with_column(getattr(joined, table), column, [value])
    with pytest.raises(ValueError, match=f"{table}.{said}"):
        validate(dataclasses.replace(joined, **{table: wrong}), "file")


def test_wrong_columns_and_types__are_refused(joined: Joined) -> None:
    with pytest.raises(ValueError, match=r"cameras: expected columns.*got no height"):
        validate(dataclasses.replace(joined, cameras=joined.cameras.drop_columns("height")), "file")
    broken = with_column(joined.cameras, "intrinsics", [[None] * 9])
    with pytest.raises(ValueError, match=r"cameras.intrinsics: expected no nulls"):
        validate(dataclasses.replace(joined, cameras=broken), "file")
    with pytest.raises(ValueError, match=r"cameras.channel: expected numbers from 0 to below 2"):
        validate(dataclasses.replace(joined, cameras=with_column(joined.cameras, "channel", [2])), "file")
    object.__setattr__(joined, "scene", [0, 0, 1, 1])
    with pytest.raises(ValueError, match="scene: expected an array of 4 whole numbers, got list"):
        validate(joined, "file")
    object.__setattr__(joined, "scene", np.array([0.0, 0, 1, 1]))
    with pytest.raises(ValueError, match="4 whole numbers, got float64"):
        validate(joined, "file")
    object.__setattr__(joined, "scene", np.array([0, 0, 1]))
    with pytest.raises(ValueError, match=r"scene: expected an array .* of shape \(3,\)"):
        validate(joined, "file")


def test_lens__number_that_names_none_is_refused(joined: Joined) -> None:
    number = pa.array([1] + [0] * (len(joined.cameras) - 1), pa.int32())
    wrong = dataclasses.replace(joined, cameras=joined.cameras.append_column(LENS, number))
    with pytest.raises(ValueError, match=r"cameras.lens: expected numbers from 0 to below 1, got 0 to 1"):
        validate(wrong, "file")


def test_lens__without_a_column_all_are_pinholes(joined: Joined) -> None:
    checked = validate(dataclasses.replace(joined, lenses=(Lens("f_theta", (1.0,)),)), "file")
    assert checked.lenses == (PINHOLE,)
    assert set(checked.cameras["lens"].to_pylist()) == {0}


def test_faults__beyond_the_key_frames_are_refused(joined: Joined) -> None:
    joined.faults.add(4, Fault("dangling token", "one"))
    with pytest.raises(ValueError, match="faults: expected key frames below 4, got 4"):
        validate(joined, "file")


def test_key_frame__that_the_source_calls_faulty_gets_no_more_faults(joined: Joined) -> None:
    joined.faults.add(0, Fault("dangling token", "one"))
    wrong = with_column(joined.cameras, "ego_pose", [[NAN] * 7])
    checked = validate(dataclasses.replace(joined, cameras=wrong), "file")
    assert [fault.kind for fault in checked.faults.of_row[0]] == ["dangling token"]


def test_sweep_in_between__that_is_wrong_is_left_out_and_reported(joined: Joined) -> None:
    sweeps = with_column(joined.sweeps, "is_key", [False])
    sweeps = with_column(sweeps, "ego_pose", [[0.0] * 7])
    checked = validate(dataclasses.replace(joined, sweeps=sweeps), "file")
    assert checked.faults.of_row == {}
    assert checked.faults.loose_count == {"impossible pose": 1}
    assert len(checked.sweeps) == len(joined.sweeps) - 1


@pytest.mark.parametrize("content", ["{", "[]", '{"splits": {}}', '{"rig": {}, "frames": 3}'])
def test_reader_of_a_source__that_fails_is_named(
    drives: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (drives / "drives.json").write_text(content)
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(
            DatasetError, match=r"The data source careless cannot join its files: \w+Error: "
        ) as caught,
    ):
        Index.open(DataConfig(root=drives))
    assert caught.value.__cause__ is not None
    (problem,) = check(DataConfig(root=drives)).problems
    assert problem.kind == "unreadable table"


def test_splits_of_a_source__that_cannot_be_read_are_named(
    drives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Careless, "splits", lambda self: {}["learn"])
    with pytest.raises(DatasetError, match="data source careless cannot read its splits: KeyError: 'learn'"):
        Index.open(DataConfig(root=drives))


def test_errors_of_users__pass(drives: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Careless, on_bytes: object) -> Joined:
        raise DatasetError("drives.json is of another version.")

    monkeypatch.setattr(Careless, "join", refuse)
    with pytest.raises(DatasetError, match=r"^drives.json is of another version\.$"):
        Index.open(DataConfig(root=drives))


def test_tables_of_another_kind__are_refused(drives: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Careless, "join", lambda self, on_bytes: None)
    with pytest.raises(DatasetError, match="data source careless"):
        Index.open(DataConfig(root=drives))

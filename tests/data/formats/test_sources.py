"""A data source is chosen by what lies in a folder, and an index is never taken for that of another one."""

import inspect
import json
import logging
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from occfeat.data.check.check import check, quick_check
from occfeat.data.dataset import KeyFrames
from occfeat.data.formats import sources
from occfeat.data.formats.nuscenes.source import ZOE_M, NuScenes
from occfeat.data.formats.sources import find_source, known_sources, register_source
from occfeat.data.index.index import Index
from occfeat.data.index.index_file import map_index
from occfeat.data.labels import require_classes
from occfeat.data.sample.contents import Contents
from occfeat.data.source.source import Taxonomy
from occfeat.errors import DatasetError, SettingsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.settings.sections import DataConfig, ViewConfig
from tests.support.nuscenes_folder import edit_table, read_records
from tests.support.own_source import POINTS, Drives, build_drives_folder

GRID = VoxelGrid((-16.0, -16.0, -1.0), (16.0, 16.0, 3.0), (1.0, 1.0, 1.0))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_registered", dict(sources._registered))
    register_source(Drives)


@pytest.fixture
def drives(tmp_path: Path) -> Path:
    return build_drives_folder(tmp_path / "drives")


def test_own_source__is_short() -> None:
    assert len(inspect.getsource(Drives).splitlines()) <= 60


def test_own_source__index_and_check(drives: Path) -> None:
    index = Index.open(DataConfig(root=drives))
    assert isinstance(index.source, Drives)
    assert index.file.parent == drives
    assert (index.metadata.source, index.channels, index.splits()) == (
        "drives",
        ("front", "back"),
        ("learn", "judge"),
    )
    key_frame = index.key_frame(1)
    assert (key_frame.token, key_frame.scene) == ("north-1", "north")
    assert key_frame.boxes.category == ("auto", "lorry", "tree")
    torch.testing.assert_close(key_frame.boxes.center_ego[0], torch.tensor([3.0, 4.0, 0.75]).double())
    report = check(DataConfig(root=drives), decode=True)
    assert report.problems == report.notes == ()
    assert report.text().startswith(f"{drives} (drives): 4 of 4 key frames")


def test_own_source__samples(drives: Path) -> None:
    key_frames = KeyFrames(
        Index.open(DataConfig(root=drives)),
        ViewConfig(image_size=(24, 40)),
        Contents(points=True, classes=("vehicle",)),
        grid=GRID,
    )
    sample = key_frames[0]
    assert sample.labels is not None
    vehicle = sample.labels.target[0]
    assert vehicle[24, 20]  # the auto
    assert vehicle[30, 20]  # the lorry
    assert not sample.labels.low_visibility.any()  # the format has no levels of visibility
    assert sample.points is not None
    assert len(sample.points) == POINTS
    torch.testing.assert_close(sample.points.points_ego[:, 2], torch.zeros(POINTS), atol=1e-6, rtol=0)


def test_own_source__damage_is_found(drives: Path) -> None:
    (drives / "front" / "north-0.png").unlink()
    (drives / "lidar" / "north-1.npy").write_bytes(b"")
    (drives / "lidar" / "south-0.npy").write_bytes(b"nonsense")
    report = check(DataConfig(root=drives))
    found = {problem.kind: problem for problem in report.problems}
    assert {kind: problem.count for kind, problem in found.items()} == {
        "missing image": 1,
        "damaged LiDAR file": 2,
    }
    assert found["missing image"].first == ("front/north-0.png (file of key frame north-0)",)
    assert "archive" not in report.text()
    (drives / "drives.json").write_text("{")
    (problem,) = check(DataConfig(root=drives)).problems
    assert problem.kind == "unreadable table"
    assert "drives.json" in problem.first[0]


def test_own_source__has_no_class_or_map_that_it_does_not_name(drives: Path) -> None:
    index = Index.open(DataConfig(root=drives))
    places = index.places(index.rows("all"))
    require_classes(index, places, ("vehicle",))
    with pytest.raises(SettingsError, match="format drives have no class 'pedestrian'"):
        require_classes(index, places, ("vehicle", "pedestrian"))
    with pytest.raises(SettingsError, match="format drives have no maps"):
        require_classes(index, places, ("vehicle", "walkway"))


def test_own_source__tables_that_cannot_be_indexed(drives: Path) -> None:
    """Scenes in turns: the key frames are not in the order that an index needs."""
    document = json.loads((drives / "drives.json").read_text())
    document["frames"] = document["frames"][::2] + document["frames"][1::2]
    (drives / "drives.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match="data source drives cannot be indexed: its key frames are not"):
        Index.open(DataConfig(root=drives))


def test_own_source__missing_file_is_named(drives: Path) -> None:
    source = Drives(drives, "")
    (drives / "drives.json").unlink()
    with pytest.raises(DatasetError, match=r"1 of 1 files that the index needs(?s:.*)drives\.json"):
        source.require_files()


def _boxes_in_another_process(index: Index) -> tuple[str, ...]:
    assert "drives" not in known_sources()  # nobody has registered it there
    return index.key_frame(0).boxes.category


def test_index__finds_its_source_in_a_spawned_process(drives: Path) -> None:
    index = Index.open(DataConfig(root=drives))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(_boxes_in_another_process, index).result() == ("auto", "lorry", "tree")


def test_find_source__by_what_lies_in_the_folder(drives: Path, folder: Path) -> None:
    assert isinstance(find_source(drives, None), Drives)
    assert isinstance(find_source(folder, None), NuScenes)
    assert find_source(folder, None).version == "v1.0-mini"


def test_find_source__two_formats_in_one_folder(drives: Path, folder: Path) -> None:
    shutil.copytree(folder / "v1.0-mini", drives / "v1.0-mini")
    with pytest.raises(DatasetError, match=r"(?s)several formats.*nuscenes \(v1\.0-mini\).*drives"):
        find_source(drives, None)
    assert isinstance(find_source(drives, "v1.0-mini"), NuScenes)


@pytest.mark.parametrize("inside", ["v1.0-train", ""])
def test_find_source__nuimages_are_called_that(tmp_path: Path, inside: str) -> None:
    (tmp_path / inside).mkdir(exist_ok=True)
    for name in ("sample", "sample_data", "object_ann", "calibrated_sensor", "category", "log"):
        (tmp_path / inside / f"{name}.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DatasetError) as raised:
        find_source(tmp_path, None)
    assert "It contains nuImages: single images" in raised.value.hint
    assert "give its parent" not in raised.value.hint


def test_check__a_set_of_radars_says_what_it_lacks(folder: Path) -> None:
    edit_table(folder, "sensor", lambda records: [one.update(modality="radar") for one in records])
    (problem,) = check(DataConfig(root=folder)).problems
    assert problem.kind == "unusable data set"
    assert "lists no camera and no LiDAR. " in problem.first[0]
    assert "CAM_FRONT (radar)" in problem.first[0]
    assert "radars are not read" in problem.hint
    with pytest.raises(DatasetError, match="no camera and no LiDAR"):
        Index.open(DataConfig(root=folder))


def test_quick_check__a_set_without_cameras_is_refused(folder: Path) -> None:
    def without_cameras(records: list[dict[str, Any]]) -> None:
        records[:] = [one for one in records if one["modality"] != "camera"]

    tokens = {one["token"] for one in read_records(folder, "sensor") if one["modality"] != "camera"}
    edit_table(folder, "sensor", without_cameras)
    calibrated = [one for one in read_records(folder, "calibrated_sensor") if one["sensor_token"] in tokens]
    edit_table(folder, "calibrated_sensor", lambda records: records.__setitem__(slice(None), calibrated))
    known = {one["token"] for one in calibrated}
    shots = [one for one in read_records(folder, "sample_data") if one["calibrated_sensor_token"] in known]
    edit_table(folder, "sample_data", lambda records: records.__setitem__(slice(None), shots))
    index = Index.open(DataConfig(root=folder))
    with pytest.raises(DatasetError, match="has no cameras"):
        quick_check(index, index.rows("all"), view=ViewConfig(), needs_lidar=True)
    assert "There are no cameras: training is not possible." in check(DataConfig(root=folder)).notes


def test_find_source__of_no_known_format(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError,
        match=r"a data set of a known format \(nuscenes, truckscenes, lyft, t4, argoverse2, drives\)",
    ):
        find_source(tmp_path, None)
    with pytest.raises(DatasetError, match=r"no version 'v2'(?s:.*)Versions in it: none"):
        find_source(tmp_path, "v2")


class Impostor(Drives):
    """Another format of the same name."""


class Successor(Drives):
    """Reads the same files in another way."""

    name = "drives-2"

    @classmethod
    def versions(cls, root: Path) -> list[str]:
        return [""] if (root / "two.txt").is_file() else []


def test_register_source__again_and_under_a_name_that_is_taken() -> None:
    register_source(Drives)
    with pytest.raises(SettingsError, match=r"(?s)name 'drives'.*own_source\.Drives.*test_sources\.Impostor"):
        register_source(Impostor)


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points of made-up installed packages."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(sources, "entry_points", lambda group: EntryPoints(points).select(group=group))
    return points


def test_entry_point__makes_a_source_known(
    drives: Path, entry_points: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_registered", {"nuscenes": NuScenes})
    entry_points.append(EntryPoint("other", "tests.support.own_source:Nothing", "other.group"))
    with pytest.raises(DatasetError, match="known format"):
        find_source(drives, None)
    entry_points.append(EntryPoint("drives", "tests.support.own_source:Drives", "occfeat.sources"))
    assert isinstance(find_source(drives, None), Drives)


@pytest.mark.parametrize(
    "value", ["tests.support.own_source:Nothing", "no_such_module:Drives", "pathlib:Path"]
)
def test_entry_point__that_cannot_be_loaded_is_named(
    drives: Path, entry_points: list[EntryPoint], value: str
) -> None:
    entry_points.append(EntryPoint("broken", value, "occfeat.sources"))
    with pytest.raises(SettingsError, match=f"data source broken .{value}. of an installed package"):
        find_source(drives, None)


def test_index__of_another_source_is_built_again(drives: Path, caplog: pytest.LogCaptureFixture) -> None:
    Index.open(DataConfig(root=drives))
    register_source(Successor)
    (drives / "two.txt").touch()
    del sources._registered["drives"]
    with caplog.at_level(logging.WARNING, logger="occfeat"):
        assert Index.open(DataConfig(root=drives)).metadata.source == "drives-2"
    assert "was built by the data source drives, not drives-2" in caplog.text


def test_index__that_names_no_source_is_taken_as_that_of_nuscenes(folder: Path, index: Index) -> None:
    """One made before there were others: it is used as it is."""
    table, _ = map_index(index.file)
    metadata = json.loads(table.schema.metadata[b"occfeat"])
    assert metadata.pop("source") == "nuscenes"
    table = table.replace_schema_metadata({"occfeat": json.dumps(metadata).encode()})
    index.file.unlink()  # what is mapped into memory must not change
    with pa.ipc.new_file(str(index.file), table.schema) as writer:
        writer.write_table(table)
    before = index.file.stat().st_mtime_ns
    again = Index.open(DataConfig(root=folder))
    assert again.file.stat().st_mtime_ns == before
    assert again.metadata.source == "nuscenes"


@pytest.mark.parametrize("names", [{"classes": {"tree": ("tree",)}}, {"classes": {}, "kinds": {"tree": ()}}])
def test_taxonomy__of_names_that_nobody_knows(names: dict[str, dict[str, tuple[str, ...]]]) -> None:
    with pytest.raises(ValueError, match="got tree"):
        Taxonomy(**names)


def test_nuscenes__knows_the_car_of_official_versions_alone(folder: Path) -> None:
    assert NuScenes(folder, "v1.0-mini").car_m == ZOE_M
    assert NuScenes(folder, "v1.0-own").car_m is None


def test_nuscenes__hints_name_archives_of_official_versions_alone(folder: Path) -> None:
    assert "v1.0-mini_meta" in NuScenes(folder, "v1.0-mini").hints()["dangling token"]
    (folder / "v1.0-mini").rename(folder / "v1.0-own")
    for path in (folder / "samples" / "LIDAR_TOP").iterdir():
        path.unlink()
    report = check(DataConfig(root=folder))
    assert [problem.kind for problem in report.problems] == ["missing LiDAR file"]
    assert "archive" not in report.text()
    assert str(folder) in report.problems[0].hint


def test_read_sweep__returns_plain_arrays(folder: Path, index: Index, drives: Path) -> None:
    sweep = index.source.read_sweep(folder / index.key_frame(0).sweeps[0].path)
    assert (sweep.points.dtype, sweep.points.shape[1]) == (np.float32, 5)
    assert Drives(drives, "").read_sweep(drives / "lidar" / "north-0.npy").points.shape == (POINTS, 3)

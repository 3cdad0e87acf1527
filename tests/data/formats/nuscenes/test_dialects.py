"""Dialects of nuScenes: recognised, checked, and read to the same points, targets and labels as nuScenes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from occfeat.data.check.check import check
from occfeat.data.dataset import KeyFrames
from occfeat.data.formats.nuscenes.dialects import T4
from occfeat.data.formats.sources import find_source
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Sample
from occfeat.errors import DatasetError, KeyFrameError, SettingsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.pretraining.network import TargetMaker
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.settings.sections import DataConfig, PretrainLossConfig, ViewConfig
from occfeat.training.loading.loaders import collate_readable
from tests.support.dialect_folders import (
    PLACES,
    build_lyft,
    build_plain,
    build_t4,
    build_truckscenes,
    plain_with_lens,
)
from tests.support.nuscenes_folder import edit_table

GRID = VoxelGrid((-16.0, -16.0, -1.0), (16.0, 16.0, 3.0), (0.5, 0.5, 1.0))
VIEW = ViewConfig(image_size=(20, 32), sweeps=2)
CONTENTS = Contents(points=True, classes=("vehicle", "pedestrian"))

Build = Callable[[Path], Path]
TWINS: dict[str, tuple[Build, Build]] = {
    "truckscenes": (build_truckscenes, lambda root: build_plain(root, PLACES)),
    "lyft": (build_lyft, lambda root: build_plain(root, {**PLACES, "LIDAR_TOP": (0.9, 0.0, 1.8)})),
    "t4": (build_t4, plain_with_lens),
}
VERSIONS = {"truckscenes": "v1.0-mini", "lyft": "train_data", "t4": "annotation"}


def samples(root: Path) -> list[Sample]:
    key_frames = KeyFrames(Index.open(DataConfig(root=root)), VIEW, CONTENTS, grid=GRID)
    return [key_frames[i] for i in range(len(key_frames))]


def targets(sample: Sample) -> list[torch.Tensor]:
    loaded = collate_readable([sample])
    assert loaded.batch is not None
    maker = TargetMaker(build_objectives(PretrainLossConfig(features=0, unknown="ignore")), GRID)
    return _tensors(maker(loaded.batch))


def _tensors(value: object) -> list[torch.Tensor]:
    """Return the tensors in a value, however deep."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    parts = vars(value).values() if hasattr(value, "__dict__") else parts
    return [tensor for part in parts for tensor in _tensors(part)]


@pytest.mark.parametrize("name", TWINS)
def test_dialect__equals_plain_nuscenes_cell_by_cell(tmp_path: Path, name: str) -> None:
    build, plain = TWINS[name]
    root, twin = build(tmp_path / "dialect"), plain(tmp_path / "plain")
    assert (find_source(root, None).name, find_source(twin, None).name) == (name, "nuscenes")
    found, expected = samples(root), samples(twin)
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        for part in ("points", "cameras"):
            for tensor, twin_tensor in zip(
                _tensors(getattr(one, part)), _tensors(getattr(other, part)), strict=True
            ):
                torch.testing.assert_close(tensor, twin_tensor, rtol=0, atol=0)
        torch.testing.assert_close(one.images, other.images, rtol=0, atol=0)
        assert one.labels is not None
        assert other.labels is not None
        torch.testing.assert_close(one.labels.target, other.labels.target, rtol=0, atol=0)
        hidden = torch.zeros_like(other.labels.low_visibility) if name == "lyft" else None
        expected_low = other.labels.low_visibility if hidden is None else hidden
        torch.testing.assert_close(one.labels.low_visibility, expected_low, rtol=0, atol=0)
        made, twin_made = targets(one), targets(other)
        assert made
        for tensor, twin_tensor in zip(made, twin_made, strict=True):
            torch.testing.assert_close(tensor, twin_tensor, rtol=0, atol=0)
    assert any(one.labels.target[0].any() and one.labels.target[1].any() for one in found)


@pytest.mark.parametrize("name", TWINS)
def test_dialect__check_finds_nothing_wrong(tmp_path: Path, name: str) -> None:
    root = TWINS[name][0](tmp_path)
    report = check(DataConfig(root=root), decode=True)
    assert (report.key_frames, report.complete, report.problems) == (4, 4, ())
    assert report.title == VERSIONS[name]
    assert any("splits.json" in note for note in report.notes)
    assert not any("map expansion" in note for note in report.notes)


@pytest.mark.parametrize("name", TWINS)
def test_dialect__splits_and_maps(tmp_path: Path, name: str) -> None:
    root = TWINS[name][0](tmp_path)
    index = Index.open(DataConfig(root=root))
    assert (index.splits(), len(index.rows("all"))) == ((), 4)
    with pytest.raises(SettingsError, match="has no key frames"):
        index.rows("train")
    (root / "splits.json").write_text('{"train": ["scene-0103"]}')
    assert Index.open(DataConfig(root=root)).rows("train").tolist() == [2, 3]
    with pytest.raises(SettingsError, match="have no maps"):
        index.source.read_map(index.metadata.places[0], ("drivable_area",))


def test_visibility__only_where_a_dialect_has_levels(tmp_path: Path) -> None:
    has = {name: find_source(build(tmp_path / name), None).taxonomy for name, (build, _) in TWINS.items()}
    assert {name: taxonomy.has_visibility for name, taxonomy in has.items()} == {
        "truckscenes": True,
        "lyft": False,
        "t4": True,
    }
    levels = Index.open(DataConfig(root=tmp_path / "t4")).key_frame(0).boxes.visibility
    assert levels.tolist() == [1, 2, 3, 4] * 2
    assert not Index.open(DataConfig(root=tmp_path / "lyft")).key_frame(0).boxes.visibility.any()


def test_truckscenes__has_no_level_without_a_token(tmp_path: Path) -> None:
    root = build_truckscenes(tmp_path)
    edit_table(root, "sample_annotation", lambda rows: [row.update(visibility_token="") for row in rows])
    index = Index.open(DataConfig(root=root))
    assert index.lidars == ("LIDAR_LEFT", "LIDAR_RIGHT")
    assert not index.key_frame(0).boxes.visibility.any()


def test_lyft__tables_beside_plain_folders(tmp_path: Path) -> None:
    root = build_lyft(tmp_path, "v1.02-train")
    assert find_source(root, None).name == "lyft"
    assert check(DataConfig(root=root), decode=True).problems == ()
    assert Index.open(DataConfig(root=root)).lidars == ("LIDAR_TOP", "LIDAR_LEFT", "LIDAR_RIGHT")


def test_lyft__own_sets_with_such_folders_stay_nuscenes(tmp_path: Path) -> None:
    root = build_lyft(tmp_path, "v1.0-mine")
    assert find_source(root, None).name == "nuscenes"


def test_t4__records_that_are_not_valid_are_left_out(tmp_path: Path) -> None:
    root = build_t4(tmp_path)
    key_frame = Index.open(DataConfig(root=root)).key_frame(0)
    assert [camera.channel for camera in key_frame.cameras] == ["CAM_FRONT", "CAM_BACK"]
    assert "lost" not in {camera.token for camera in key_frame.cameras}


def distort(root: Path, coefficients: list[object]) -> None:
    """Give every sensor the same distortion."""

    def change(rows: list[dict[str, object]]) -> None:
        for row in rows:
            row["camera_distortion"] = coefficients

    edit_table(root, "calibrated_sensor", change, "annotation")


def test_t4__without_distortion_are_pinholes(tmp_path: Path) -> None:
    root = build_t4(tmp_path)
    distort(root, [0.0] * 5)
    index = Index.open(DataConfig(root=root))
    assert {camera.lens.model for camera in index.key_frame(0).cameras} == {"pinhole"}
    distort(root, [0.1, "x"])
    problems = {problem.kind: problem.count for problem in check(DataConfig(root=root)).problems}
    assert set(problems) == {"impossible lens"}


@pytest.mark.parametrize(
    "content", ["", "[]", '{"num_pts_feats": 0}', '{"num_pts_feats": "7"}', '{"num_pts_feats": 6}']
)
def test_t4__wrong_information_on_points_is_an_error(tmp_path: Path, content: str) -> None:
    root = build_t4(tmp_path)
    index = Index.open(DataConfig(root=root))
    path = root / index.key_frame(0).sweeps[0].path
    values = index.source.read_sweep(path).points
    assert values.shape[1] == 7
    info = root / "data" / "LIDAR_CONCAT_INFO" / f"{path.name.removesuffix('.pcd.bin')}.json"
    info.write_text(content)
    with pytest.raises(KeyFrameError):
        index.source.read_sweep(path)
    assert check(DataConfig(root=root), decode=True).complete == 3
    info.write_text(json.dumps({}))
    values[:, :5].tofile(path)
    np.testing.assert_array_equal(index.source.read_sweep(path).points, values[:, :5])


def test_t4__advice_names_the_version(tmp_path: Path) -> None:
    build_t4(tmp_path / "0")
    assert T4.advice(tmp_path).endswith(f"such as {tmp_path / '0'}.")
    with pytest.raises(DatasetError) as caught:
        find_source(tmp_path, None)
    assert "annotation" in caught.value.hint

"""Categories that are not known are named and counted, and mapped to classes by a setting."""

import dataclasses
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest

from occfeat.cli import main
from occfeat.commands.sets import require_boxes, require_categories, require_labels
from occfeat.data.check.check import check
from occfeat.data.dataset import KeyFrames
from occfeat.data.formats.nuscenes.source import NuScenes
from occfeat.data.index.index import Index
from occfeat.data.index.sets import DataSets
from occfeat.data.sample.contents import Contents
from occfeat.errors import DatasetError, SettingsError
from occfeat.geometry.grid import build_grid
from occfeat.settings.sections import DataConfig, GridConfig, ViewConfig
from tests.support.nuscenes_folder import build_nuscenes_folder, edit_table

NAMES = {"vehicle.car": "car", "vehicle.truck": "lorry", "human.pedestrian.adult": "person"}
MAPPED = {"car": "vehicle", "lorry": "vehicle", "person": "pedestrian"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_nuscenes_folder(tmp_path / "drives", key_frames=2, channels=("CAM_FRONT",), sweeps=0)


def rename(folder: Path, *names: str) -> None:
    """Give categories the names of another format."""

    def change(records: list[dict[str, object]]) -> None:
        for one in records:
            if one["name"] in names:
                one["name"] = NAMES[str(one["name"])]

    edit_table(folder, "category", change)


def sets_of(folder: Path, **categories: str) -> DataSets:
    return DataSets.open((DataConfig(root=folder, categories=categories),))  # type: ignore[arg-type]


def test_check__no_box_is_a_label(folder: Path) -> None:
    rename(folder, *NAMES)
    (problem,) = check(DataConfig(root=folder)).problems
    assert (problem.kind, problem.count) == ("unknown category", 3)
    assert problem.first == ("car: 8 boxes", "lorry: 8 boxes", "person: 8 boxes")
    assert "--labels.categories" in problem.hint
    assert check(DataConfig(root=folder, categories=MAPPED)).problems == ()  # type: ignore[arg-type]


def test_check__some_boxes_are_labels(folder: Path) -> None:
    rename(folder, "vehicle.car")
    report = check(DataConfig(root=folder))
    assert report.problems == ()
    assert any(
        "8 boxes have categories that are not known" in note and "car (8)" in note for note in report.notes
    )


def test_count_categories__of_some_key_frames(folder: Path) -> None:
    index = Index.open(DataConfig(root=folder))
    chosen = np.array([3, 1])
    boxes = [index.key_frame(row).boxes.category for row in chosen]
    expected = {name: sum(one.count(name) for one in boxes) for name in set(boxes[0] + boxes[1])}
    assert index.count_categories(chosen) == expected
    assert index.count_categories(chosen[:0]) == {}


def test_finetune__refuses_a_class_that_may_be_among_unknown_categories(folder: Path) -> None:
    rename(folder, *NAMES)
    sets = sets_of(folder)
    with pytest.raises(DatasetError, match=r"No box of .* is a vehicle") as caught:
        require_labels(sets, sets.rows(["all"]), ("vehicle",))
    assert "car (8)" in caught.value.first
    assert "--labels.categories car vehicle" in caught.value.hint
    mapped = sets_of(folder, **MAPPED)
    require_labels(mapped, mapped.rows(["all"]), ("vehicle", "pedestrian"))


def test_finetune__names_unknown_categories(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rename(folder, "vehicle.car")
    sets = sets_of(folder)
    with caplog.at_level(logging.WARNING):
        require_labels(sets, sets.rows(["all"]), ("vehicle",))
    assert "car (8)" in caplog.text


def test_finetune__refuses_key_frames_without_a_box_of_a_class(tmp_path: Path) -> None:
    folder = build_nuscenes_folder(tmp_path, key_frames=1, boxes=1, sweeps=0)
    sets = sets_of(folder)
    require_boxes(sets, sets.rows(["all"]), ("vehicle", "drivable_area"))
    with pytest.raises(DatasetError, match="no box of pedestrian"):
        require_boxes(sets, sets.rows(["all"]), ("vehicle", "pedestrian"))


def test_require_categories__refuses_one_that_is_nowhere(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"no category .vehicle\.cat.") as caught:
        require_categories(sets_of(folder), {"vehicle.cat": "vehicle"})
    assert "Did you mean vehicle.car?" in caught.value.hint


def test_labels__follow_the_mapping(folder: Path) -> None:
    """What is mapped is drawn as its class alone, in other processes, too."""
    grid, contents = build_grid(GridConfig()), Contents(classes=("vehicle", "pedestrian"))

    def labels(index: Index) -> list[int]:
        labels = KeyFrames(index, ViewConfig(), contents, grid=grid)[0].labels
        assert labels is not None
        return labels.target.sum((1, 2)).tolist()

    plain = labels(Index.open(DataConfig(root=folder)))
    rename(folder, *NAMES)
    assert labels(Index.open(DataConfig(root=folder))) == [0, 0]
    index = Index.open(DataConfig(root=folder, categories=MAPPED))  # type: ignore[arg-type]
    assert labels(index) == plain
    assert labels(pickle.loads(pickle.dumps(index))) == plain


def test_taxonomy__a_whole_name_is_above_beginnings() -> None:
    taxonomy = dataclasses.replace(NuScenes.taxonomy, named={"vehicle.bicycle": "pedestrian"})
    assert taxonomy.class_of("vehicle.bicycle") == "pedestrian"
    assert taxonomy.class_of("vehicle.bicycle.rider") == "vehicle"
    assert [taxonomy.knows(name) for name in ("animal", "static_object.bicycle_rack", "car")] == [
        True,
        True,
        False,
    ]


def test_check_command__takes_the_mapping(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rename(folder, *NAMES)
    assert main(["check", str(folder)]) == 2
    flags = [word for pair in MAPPED.items() for word in pair]
    assert main(["check", str(folder), "--labels.categories", *flags]) == 0
    assert "No problems found." in capsys.readouterr().out

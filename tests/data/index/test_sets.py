"""Key frames of several data sets, numbered through."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from occfeat.data.index.sets import DataSets
from occfeat.errors import DatasetError, KeyFrameError, SettingsError
from occfeat.settings.sections import DataConfig
from tests.support.nuscenes_folder import build_nuscenes_folder


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders: 6 key frames of six cameras, 4 of three, all of equal tokens."""
    home = tmp_path_factory.mktemp("sets")
    small = {"boxes": 2, "returns": 20, "sweeps": 0, "image_size": (36, 64)}
    one = build_nuscenes_folder(home / "one", **small)
    two = build_nuscenes_folder(home / "two", key_frames=2, channels=("A", "B", "C"), seed=1, **small)
    return one, two


@pytest.fixture
def sets(roots: tuple[Path, Path]) -> DataSets:
    return DataSets.open([DataConfig(root=root) for root in roots])


def test_sets__number_key_frames_through(sets: DataSets) -> None:
    rows = sets.rows(("mini_val", "mini_val"))
    assert rows.tolist() == [3, 4, 5, 8, 9]
    parts = [(one.name, of_set.tolist()) for one, of_set in sets.parts(rows[::-1])]
    assert parts == [("one", [5, 4, 3]), ("two", [3, 2])]
    assert sets.number_of(np.arange(10)).tolist() == [0] * 6 + [1] * 4
    assert sets.token(8) == f"two/{sets.each[1].index.token(2)}"
    assert sets.names == ("one", "two")
    assert sets.fingerprint == {one.name: one.index.fingerprint for one in sets.each}


def test_sets__none_takes_no_key_frame(sets: DataSets) -> None:
    assert sets.rows((None, "mini_val")).tolist() == [8, 9]
    assert [one.name for one, _ in sets.parts(np.array([8, 9]))] == ["two"]


def test_sets__are_the_same_in_another_process(sets: DataSets) -> None:
    other = pickle.loads(pickle.dumps(sets))
    assert other.fingerprint == sets.fingerprint
    assert other.rows(("all", "all")).tolist() == list(range(10))


def test_sets__a_single_one_has_the_rows_of_its_index(roots: tuple[Path, Path]) -> None:
    sets = DataSets.open([DataConfig(root=roots[1])])
    index = sets.each[0].index
    assert sets.names == ()
    assert sets.fingerprint == index.fingerprint
    assert sets.rows(("mini_val",)).tolist() == index.rows("mini_val").tolist()
    assert sets.token(2) == index.token(2)


def test_sets__a_copy_is_refused(roots: tuple[Path, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(roots[0], tmp_path / "copy"))
    with pytest.raises(DatasetError, match="The data sets one and copy are the same"):
        DataSets.open([DataConfig(root=roots[0]), DataConfig(root=copy)])


def test_sets__a_split_that_one_lacks_is_named(sets: DataSets) -> None:
    with pytest.raises(SettingsError) as caught:
        sets.rows(("mini_val", "learn"))
    assert "Data set two: Split 'learn' has no key frames" in str(caught.value)
    assert "Give one split per data set" in str(caught.value)


def test_errors__begin_with_the_name_of_the_set(sets: DataSets) -> None:
    with pytest.raises(KeyFrameError) as caught, sets.each[1].named_in_errors():
        raise KeyFrameError("A file is damaged.", first=["a"], hint="Restore it.")
    assert str(caught.value) == "Data set two: A file is damaged.\n  a\nHint: Restore it."

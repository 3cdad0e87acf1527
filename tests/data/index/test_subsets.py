import numpy as np
import pytest

from occfeat.data.index.index import Index
from occfeat.data.index.subsets import (
    EveryKthScene,
    LabelDraw,
    RandomKeyFrames,
    label_subset,
    lines_of,
    spread,
)
from occfeat.errors import SettingsError
from occfeat.settings.sections import DataConfig
from tests.support.nuscenes_folder import build_nuscenes_folder


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Ten scenes of two key frames."""
    scenes = [f"scene-{i:04d}" for i in range(10)]
    root = build_nuscenes_folder(
        tmp_path_factory.mktemp("ten"),
        scenes=scenes,
        key_frames=2,
        channels=("CAM_FRONT",),
        lidars={},
        boxes=0,
    )
    return Index.open(DataConfig(root=root))


@pytest.mark.parametrize(
    ("fraction", "seed", "scenes"),
    [(0.5, 0, [0, 2, 4, 6, 8]), (0.2, 3, [3, 8]), (0.1, 9, [9]), (0.01, 4, [4])],
)
def test_label_subset__every_kth_scene(ten: Index, fraction: float, seed: int, scenes: list[int]) -> None:
    rows = label_subset(ten, ten.rows("all"), fraction, EveryKthScene(seed))
    assert rows.tolist() == [row for scene in scenes for row in (2 * scene, 2 * scene + 1)]


def test_label_subset__counts_the_scenes_it_is_given(ten: Index) -> None:
    rows = ten.rows("all")[::-1][:8]
    assert label_subset(ten, rows, 0.5, EveryKthScene()).tolist() == [19, 18, 15, 14]


def test_label_subset__key_frames(ten: Index) -> None:
    rows = ten.rows("all")
    chosen = label_subset(ten, rows, 0.3, RandomKeyFrames(5))
    assert len(chosen) == 6
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, label_subset(ten, rows, 0.3, RandomKeyFrames(5)))
    assert chosen.tolist() != label_subset(ten, rows, 0.3, RandomKeyFrames(6)).tolist()


def test_label_subset__all(ten: Index) -> None:
    rows = ten.rows("all")
    for draw in (EveryKthScene(7), RandomKeyFrames(7)):
        assert label_subset(ten, rows, 1.0, draw).tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("fraction", "draw", "said", "warned"),
    [
        (1.0, EveryKthScene(), "Labels: 20 of 20 key frames (100 %).", ""),
        (0.3, RandomKeyFrames(), "Labels: 6 of 20 key frames (30 %).", ""),
        (0.33, EveryKthScene(), "Labels: 8 of 20 key frames (40 %).", ""),
        (0.01, EveryKthScene(), "Labels: 2 of 20 key frames (10 %).", "10.0 times the label fraction 0.01"),
    ],
)
def test_label_subset__says_what_it_drew(
    ten: Index,
    caplog: pytest.LogCaptureFixture,
    fraction: float,
    draw: LabelDraw,
    said: str,
    warned: str,
) -> None:
    with caplog.at_level("INFO", logger="occfeat"):
        label_subset(ten, ten.rows("all"), fraction, draw)
    assert said in caplog.messages
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == bool(warned)
    assert all(warned in warning for warning in warnings)


@pytest.mark.parametrize("fraction", [0.0, -0.5, 2.0, float("nan")])
def test_label_subset__impossible_fraction(ten: Index, fraction: float) -> None:
    with pytest.raises(SettingsError, match="label fraction"):
        label_subset(ten, ten.rows("all"), fraction, EveryKthScene())


def test_label_subset__nothing_left(ten: Index) -> None:
    with pytest.raises(SettingsError, match="leaves none"):
        label_subset(ten, ten.rows("all"), 0.01, RandomKeyFrames())
    with pytest.raises(SettingsError, match="leaves none"):
        label_subset(ten, ten.rows("all"), 0.01, EveryKthScene(50))


@pytest.mark.parametrize("fraction", [0.99, 0.85, 0.75, 0.6, 0.35])
def test_label_subset__a_fraction_that_scenes_cannot_give(ten: Index, fraction: float) -> None:
    with pytest.raises(SettingsError, match="Expected 1/k"):
        label_subset(ten, ten.rows("all"), fraction, EveryKthScene())


@pytest.mark.parametrize("fraction", [1 / 3, 0.333, 0.33])
def test_label_subset__a_rounded_third(ten: Index, fraction: float) -> None:
    chosen = ten.scene_of(label_subset(ten, ten.rows("all"), fraction, EveryKthScene()))
    assert set(chosen.tolist()) == {f"scene-000{number}" for number in (0, 3, 6, 9)}


def test_label_subset__more_seeds_than_ways(ten: Index) -> None:
    with pytest.raises(SettingsError, match="below 10 to draw scenes, got 10"):
        label_subset(ten, ten.rows("all"), 0.1, EveryKthScene(10))


def test_lines_of() -> None:
    assert lines_of(token for token in ("a", "b")) == "a\nb\n"


@pytest.mark.parametrize(
    ("count", "chosen"),
    [(0, []), (1, [10]), (2, [10, 19]), (4, [10, 13, 16, 19]), (10, range(10, 20)), (99, range(10, 20))],
)
def test_spread__takes_the_first_and_the_last(count: int, chosen: list[int]) -> None:
    assert spread(np.arange(10, 20), count).tolist() == list(chosen)
    assert spread(np.arange(0), count).tolist() == []

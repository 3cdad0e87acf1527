"""Parts of scenes as scenes of their own."""

import json
from pathlib import Path

import pytest

from occfeat.data.check.check import check
from occfeat.data.index.index import Index
from occfeat.settings.sections import DataConfig
from tests.experiments.scripts import load
from tests.support.nuscenes_folder import build_nuscenes_folder

parts = load("harness.scene_parts")
Part, parse = parts.Part, parts.Part.parse
VERSION = "v1.0-mini"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two scenes of eleven key frames, 5 m apart."""
    return build_nuscenes_folder(tmp_path_factory.mktemp("whole") / "data", key_frames=11, returns=200)


def _times(root: Path, split: str) -> list[int]:
    """Times of the key frames of a split, in microseconds since the first of their data set."""
    index = Index.open(DataConfig(root=root))
    times = index.column("timestamp_us").to_numpy()
    return [int(times[row] - times.min()) for row in index.rows(split)]


def test_parse__reads_shares_and_refuses_others() -> None:
    assert parse("scene-1") == Part("scene-1", 0, 1)
    assert parse("scene-1:0.2-0.5") == Part("scene-1", 0.2, 0.5)
    for wrong in ("scene-1:0.5-0.2", "scene-1:0-2", ":0-1", "scene-1:x-1", "scene-1:0.5"):
        with pytest.raises(ValueError, match=r"expected SCENE|could not convert"):
            parse(wrong)


def test_pieces__lie_within_or_outside_of_every_part() -> None:
    wanted = [parse("a:0-0.6"), parse("a:0.2-0.8"), parse("b"), parse("a:0.9-1")]
    cut = parts.pieces(wanted)
    assert cut == [
        parse("a:0-0.2"),
        parse("a:0.2-0.6"),
        parse("a:0.6-0.8"),
        parse("a:0.9-1"),
        parse("b"),
    ]
    assert all(part.holds(piece) != (not part.meets(piece)) for part in wanted for piece in cut)


def test_write_parts__gives_splits_of_a_scene_that_share_nothing(root: Path, tmp_path: Path) -> None:
    splits = {
        "pretrain": [parse("scene-0061:0-0.6"), parse("scene-0103")],
        "labels": [parse("scene-0061:0.2-0.6")],
        "test": [parse("scene-0061:0.7-1")],
    }
    out = tmp_path / "parts"
    parts.write_parts(root, VERSION, splits, out)
    index = Index.open(DataConfig(root=out))
    rows = {split: set(index.rows(split).tolist()) for split in splits}
    assert (len(rows["pretrain"]), len(rows["labels"]), len(rows["test"])) == (6 + 11, 4, 4)
    assert rows["labels"] < rows["pretrain"]
    assert not rows["test"] & rows["pretrain"]
    assert _times(out, "test") == [500_000 * step for step in (7, 8, 9, 10)]
    whole = Index.open(DataConfig(root=root))
    for row in rows["test"]:
        ours, theirs = index.key_frame(row), whole.key_frame(whole.row_of(index.token(row)))
        assert repr(ours.cameras) == repr(theirs.cameras)  # files, poses and intrinsics
        assert len(ours.boxes) == len(theirs.boxes)
    assert check(DataConfig(root=out)).problems == check(DataConfig(root=root)).problems


def test_write_parts__links_lead_nowhere_outside_a_piece(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    parts.write_parts(root, VERSION, {"test": [parse("scene-0061:0.3-0.5"), parse("scene-0061:0.5-1")]}, out)
    samples = json.loads((out / VERSION / "sample.json").read_text())
    scene_of = {sample["token"]: sample["scene_token"] for sample in samples}
    ends = 0
    for sample in samples:
        for link in ("prev", "next"):
            ends += not sample[link]
            assert not sample[link] or scene_of[sample[link]] == sample["scene_token"]
    assert ends == 4


def test_write_parts__leaves_out_what_is_near_a_labelled_key_frame(root: Path, tmp_path: Path) -> None:
    splits = {"labels": [parse("scene-0061:0-0.6")], "test": [parse("scene-0061:0.6-1")]}
    for apart_m, left in ((0, [6, 7, 8, 9, 10]), (12, [8, 9, 10])):
        out = tmp_path / f"parts-{apart_m}"
        parts.write_parts(root, VERSION, splits, out, apart_m=apart_m)
        assert _times(out, "test") == [500_000 * step for step in left]


def test_write_parts__is_all_or_nothing(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    with pytest.raises(ValueError, match="scene-9 is not a scene"):
        parts.write_parts(root, VERSION, {"test": [parse("scene-9")]}, out)
    with pytest.raises(ValueError, match=r"scene-0061:0.51-0.52 has no key frame"):
        parts.write_parts(root, VERSION, {"test": [parse("scene-0061:0.51-0.52")]}, out)
    assert not out.exists()

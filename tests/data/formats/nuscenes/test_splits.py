import json
from pathlib import Path

import pytest

from occfeat.data.formats.nuscenes.splits import OFFICIAL, official_scenes, read_splits
from occfeat.errors import DatasetError


def test_official_scenes() -> None:
    counts = {split: len(official_scenes(split)) for split in OFFICIAL}
    assert counts == {"train": 700, "val": 150, "test": 150, "mini_train": 8, "mini_val": 2}
    assert official_scenes("mini_val") == ("scene-0103", "scene-0916")
    assert not set(official_scenes("train")) & set(official_scenes("val"))
    assert set(official_scenes("mini_train")) < {*official_scenes("train"), *official_scenes("val")}
    assert all(len(set(official_scenes(split))) == count for split, count in counts.items())


def test_read_splits__own(tmp_path: Path) -> None:
    (tmp_path / "v1.0-mini").mkdir()
    (tmp_path / "splits.json").write_text(json.dumps({"night": ["b", "a"]}))
    assert read_splits(tmp_path, "v1.0-mini") == {"night": ("b", "a")}
    (tmp_path / "v1.0-mini" / "splits.json").write_text(json.dumps({"day": ["c"]}))
    assert read_splits(tmp_path, "v1.0-mini") == {"day": ("c",)}


def test_read_splits__with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_bytes(b'\xef\xbb\xbf{"night": ["a"]}')
    assert read_splits(tmp_path, "v1.0-mini") == {"night": ("a",)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"train": "scene-1"}',
        '{"train": [1]}',
        '{"all": []}',
        '{"a": ["s", "t", "s"]}',
        '{"a": ["s"], "a": ["t"]}',
    ],
)
def test_read_splits__bad(tmp_path: Path, text: str) -> None:
    (tmp_path / "splits.json").write_text(text)
    with pytest.raises(DatasetError, match=r"splits\.json"):
        read_splits(tmp_path, "v1.0-mini")

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occfeat.data.formats.nuscenes import base_map
from occfeat.data.formats.nuscenes.base_map import read_base_map
from occfeat.errors import DatasetError
from tests.support.map_files import write_base_map

METRE = np.eye(3)
"""Cells of one metre, the first at the origin of the map."""


def checked(height: int = 60, width: int = 83) -> np.ndarray:
    """Noise in squares of a metre; rows go up from the origin."""
    white = np.random.default_rng(0).random((height // 10 + 1, width // 10 + 1)) < 0.5
    enlarged: np.ndarray = np.kron(white, np.ones((10, 10), dtype=bool))[:height, :width]
    return enlarged


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P"])
@pytest.mark.parametrize("strip_px", [512, 7])
def test_draw__cells_whose_centre_is_white(
    tmp_path: Path, mode: str, strip_px: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first index runs along x, the second along y; the origin is the lower left corner."""
    monkeypatch.setattr(base_map, "_STRIP_PX", strip_px)
    up = checked()
    read = read_base_map(write_base_map(tmp_path / "map.png", up[::-1], mode))
    mask = read.draw("drivable_area", METRE, (8, 6))
    np.testing.assert_array_equal(mask, up[5::10, 5::10].T[:8, :6])


def test_draw__outside_there_is_nothing(tmp_path: Path) -> None:
    read = read_base_map(write_base_map(tmp_path / "map.png", np.ones((50, 30), dtype=bool)))
    shifted = np.array([[1.0, 0, 4], [0, 1, 2], [0, 0, 1]])
    mask = read.draw("drivable_area", shifted, (20, 20))
    assert mask[4:7, 2:7].all()
    assert mask.sum() == 3 * 5
    assert not read.draw("drivable_area", shifted + np.array([[0, 0, 1e9], [0] * 3, [0] * 3]), (9, 9)).any()


def test_draw__turned(tmp_path: Path) -> None:
    """A car that looks along the map's y sees what lies at larger y ahead."""
    white = np.zeros((100, 100), dtype=bool)
    white[:50] = True  # the upper half: y above 5 m
    read = read_base_map(write_base_map(tmp_path / "map.png", white))
    looking_up = np.array([[0.0, 1, 0], [-1, 0, 10], [0, 0, 1]])
    mask = read.draw("drivable_area", looking_up, (10, 10))
    assert mask[5:].all()
    assert not mask[:5].any()


def test_draw__has_one_layer(tmp_path: Path) -> None:
    read = read_base_map(write_base_map(tmp_path / "map.png", checked()))
    with pytest.raises(ValueError, match="walkway"):
        read.draw("walkway", METRE, (3, 3))


def test_read__larger_than_pillow_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real base maps have up to 1.2 billion pixels; Pillow refuses what has twice its limit."""
    path = write_base_map(tmp_path / "map.png", checked())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(base_map, "_STRIP_PX", 5)
    assert read_base_map(path).width_px == 83


@pytest.mark.parametrize(("mode", "limit"), [("L", 83 * 60 - 1), ("RGB", 4 * 83 * 60 - 1)])
def test_read__too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, limit: int) -> None:
    path = write_base_map(tmp_path / "map.png", checked(), mode)
    monkeypatch.setattr(base_map, "MAX_BYTES", limit)
    with pytest.raises(DatasetError, match=r"83 x 60 pixels of kind \w+, which is refused"):
        read_base_map(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_read__cut_short(tmp_path: Path, share: float) -> None:
    path = write_base_map(tmp_path / "map.png", np.random.default_rng(0).random((300, 300)) < 0.5)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DatasetError, match=r"map\.png cannot be read"):
        read_base_map(path)


def test_read__no_picture(tmp_path: Path) -> None:
    for content in (b"GIF89a" + b"x" * 99, b"", b"\x89PNG\r\n\x1a\n" + b"\0" * 99):
        path = tmp_path / f"{len(content)}.png"
        path.write_bytes(content)
        with pytest.raises(DatasetError):
            read_base_map(path)
    with pytest.raises(DatasetError):
        read_base_map(tmp_path / "missing.png")

"""Images that cannot be are named by their camera; where nothing is wrong, nothing is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from occfeat.data.check.check import check, require_plausible
from occfeat.data.check.pixels import look_at_images
from occfeat.data.index.index import Index
from occfeat.errors import DatasetError
from occfeat.settings.sections import DataConfig, ViewConfig
from tests.support.nuscenes_folder import build_nuscenes_folder, edit_table, read_records

CHANNELS = ("CAM_FRONT", "CAM_BACK")
SIZE = (90, 160)
Draw = Callable[[int], np.ndarray]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return build_nuscenes_folder(tmp_path, channels=CHANNELS, sweeps=0, boxes=0, image_size=SIZE)


def found(root: Path) -> list[tuple[str, str]]:
    index = Index.open(DataConfig(root=root))
    return list(look_at_images(index, index.rows("all"), index.default_channels))


def images_of(root: Path, channel: str) -> list[Path]:
    records = read_records(root, "sample_data")
    names = [one["filename"] for one in sorted(records, key=lambda one: one["timestamp"])]
    return [root / name for name in names if f"/{channel}/" in name]


def draw_all(root: Path, channel: str, draw: Draw, every: int = 1) -> None:
    """Write the images of a camera again, in whatever format their levels need."""
    for number, path in enumerate(images_of(root, channel)):
        if number % every == 0:
            levels = draw(number)
            Image.fromarray(levels).save(path, "JPEG" if levels.dtype == np.uint8 else "PNG")


def noise(number: int, scale: float, mean: float = 0.0) -> np.ndarray:
    """Return what a sensor behind a cap sees."""
    levels = np.random.default_rng(number).normal(mean, scale, (*SIZE, 3))
    return levels.clip(0, 255).astype(np.uint8)


def street(number: int, bits: int = 8) -> np.ndarray:
    """Return coarse levels of some bits, other ones for each number."""
    coarse = np.random.default_rng(number).integers(0, 256, (6, 8), dtype=np.uint8)
    grey = np.array(Image.fromarray(coarse).resize(SIZE[::-1]))
    return grey if bits == 8 else (grey.astype(np.uint16) << (bits - 8)).astype(np.uint16)


def test_look_at_images__is_content_with_sound_ones(folder: Path) -> None:
    assert found(folder) == []
    assert check(DataConfig(root=folder)).problems == ()


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda number: np.zeros((*SIZE, 3), np.uint8), "CAM_BACK shows nothing in 6 of 6 images"),
        (lambda number: np.full((*SIZE, 3), 200, np.uint8), "they are grey 200 of 255"),
        (lambda number: noise(number, 4.0, 30.0), "they are grey 30 of 255"),
        (lambda number: street(number) // 20, "CAM_BACK is nearly black: of 6 images, none is brighter than"),
        (lambda number: street(number, 12), "CAM_BACK holds levels of 12 bits in files of 16 bits"),
        (lambda number: street(number, 10), "CAM_BACK holds levels of 10 bits in files of 16 bits"),
        (lambda number: street(number, 14), "CAM_BACK holds levels of 14 bits in files of 16 bits"),
    ],
)
def test_look_at_images__names_a_camera_that_shows_nothing(folder: Path, draw: Draw, said: str) -> None:
    draw_all(folder, "CAM_BACK", draw)
    ((kind, text),) = found(folder)
    assert kind == "implausible images"
    assert said in text
    assert text.startswith("CAM_BACK ")


@pytest.mark.parametrize("draw", [lambda number: street(number, 16), street])
def test_look_at_images__takes_all_levels_of_16_bits(folder: Path, draw: Draw) -> None:
    draw_all(folder, "CAM_BACK", draw)
    assert found(folder) == []


def test_look_at_images__takes_single_images_that_show_nothing(folder: Path) -> None:
    draw_all(folder, "CAM_BACK", lambda number: np.zeros((*SIZE, 3), np.uint8), every=3)
    assert found(folder) == []


def test_look_at_images__names_a_camera_that_is_frozen(folder: Path) -> None:
    draw_all(folder, "CAM_FRONT", lambda number: street(1))
    ((kind, text),) = found(folder)
    assert kind == "implausible images"
    assert text.startswith("CAM_FRONT shows the same image in 6 of 6 key frames, such as ")


def test_look_at_images__takes_a_car_that_stands(folder: Path) -> None:
    """Nothing moves, so that all images of a camera are the same."""
    pose = read_records(folder, "ego_pose")[0]
    keep = {one: pose[one] for one in ("translation", "rotation")}
    edit_table(folder, "ego_pose", lambda records: [one.update(keep) for one in records])
    for number, channel in enumerate(CHANNELS):
        for at, path in enumerate(images_of(folder, channel)):
            Image.fromarray(street(number + 10 * (at // 3))).save(path)  # three key frames in each scene
    assert found(folder) == []


def test_look_at_images__names_poses_of_a_car_that_stands_while_images_change(folder: Path) -> None:
    edit_table(
        folder,
        "ego_pose",
        lambda records: [one.update(translation=[0, 0, 0], rotation=[1, 0, 0, 0]) for one in records],
    )
    said = found(folder)
    assert [kind for kind, _ in said] == ["implausible poses"] * 2
    assert "images change as those of a moving car do where its poses say that it stands" in said[0][1]


def test_look_at_images__names_cameras_that_show_the_same(folder: Path) -> None:
    for ours, theirs in zip(*(images_of(folder, channel) for channel in CHANNELS), strict=True):
        ours.write_bytes(theirs.read_bytes())
    ((kind, text),) = found(folder)
    assert kind == "implausible images"
    assert text == "CAM_BACK shows the same images as CAM_FRONT, in 6 of 6 key frames"


def test_training__refuses_a_camera_that_shows_nothing(folder: Path) -> None:
    draw_all(folder, "CAM_BACK", lambda number: np.zeros((*SIZE, 3), np.uint8))
    index = Index.open(DataConfig(root=folder))
    with pytest.raises(DatasetError, match="cannot be what it says") as caught:
        require_plausible(index, index.rows("all"), view=ViewConfig(), needs_lidar=False)
    assert caught.value.first[0].startswith("CAM_BACK shows nothing")
    assert "--engine.implausible warn" in caught.value.hint
    require_plausible(index, index.rows("all"), view=ViewConfig(cameras=("CAM_FRONT",)), needs_lidar=False)


@pytest.mark.data
def test_look_at_images__is_content_with_real_key_frames(nuscenes_root: Path) -> None:
    assert found(nuscenes_root) == []

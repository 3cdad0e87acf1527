import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from occfeat.errors import RunError
from occfeat.report.pictures.embedded import image_uri, numbers_uri, picture_uri, probability_uri, truth_uri
from occfeat.report.pictures.palette import CLASS_COLORS, EGO_COLOR, HEIGHT_COLORS
from tests.report.scene import GRID, far_front_left


def pixels(uri: str) -> np.ndarray:
    head, content = uri.split(",", 1)
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def where(picture: np.ndarray, color: str) -> np.ndarray:
    return np.argwhere((np.abs(picture - np.array(to_rgb(color)) * 255) <= 12).all(axis=-1))


def test_truth_uri__asymmetric_scene_lands_up_left() -> None:
    mask = far_front_left()
    picture = pixels(truth_uri(mask, torch.zeros_like(mask), "vehicle", GRID))
    things, ego = where(picture, CLASS_COLORS["vehicle"]), where(picture, EGO_COLOR)
    up_px, left_px = ego.mean(axis=0) - things.mean(axis=0)
    scale = len(picture) / GRID.shape[0]
    assert up_px == pytest.approx(12 * scale, abs=3)
    assert left_px == pytest.approx(9 * scale, abs=3)


def test_truth_uri__low_visibility_is_paler() -> None:
    mask = far_front_left()
    picture = pixels(truth_uri(mask, mask, "vehicle", GRID))
    assert len(where(picture, CLASS_COLORS["vehicle"])) == 0


def test_probability_uri__is_dark_at_0_and_light_at_1() -> None:
    mask = far_front_left()
    picture = pixels(probability_uri(mask.float(), torch.zeros_like(mask), GRID)).sum(axis=-1)
    assert picture[: len(picture) // 2, : len(picture) // 2].max() > 500
    assert picture[-5:, -5:].max() < 200


def test_probability_uri__has_a_line_around_what_is_true() -> None:
    mask, nothing = far_front_left(), torch.zeros(GRID.shape)
    picture = pixels(probability_uri(nothing, mask, GRID))
    scale = len(picture) // GRID.shape[0]
    ahead = picture[: 18 * scale]  # without the car itself
    line = np.argwhere(ahead.sum(axis=-1) > 700)
    assert line.min(axis=0).tolist() == [4 * scale, 8 * scale]
    rows, columns = np.ptp(line, axis=0) + 1
    assert (rows, columns) == (8 * scale, 6 * scale)
    assert len(line) == rows * columns - (rows - 4) * (columns - 4)


def test_numbers_uri__leaves_what_is_unknown_empty() -> None:
    values = np.full(GRID.shape, np.nan)
    values[0, 0] = 3.0  # behind, to the right
    picture = pixels(numbers_uri(values, GRID, colors=HEIGHT_COLORS, limits=(0.0, 3.0)))
    assert picture[0, 0].tolist() == [244, 244, 244]
    assert picture[-1, -1].tolist() != [244, 244, 244]


def test_image_uri__is_small() -> None:
    noise = torch.randint(0, 256, (3, 900, 1600), generator=torch.Generator().manual_seed(0))
    uri = image_uri(noise.to(torch.uint8))
    assert pixels(uri).shape[:2] == (270, 480)
    assert len(uri) < 200_000


def test_picture_uri__that_is_no_picture_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"no picture")
    with pytest.raises(RunError, match=r"a\.png cannot be read"):
        picture_uri(file)

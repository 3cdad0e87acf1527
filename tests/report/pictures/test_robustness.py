from pathlib import Path

import numpy as np
import pytest
import torch

from occfeat.report.pictures.palette import SERIES_COLORS
from occfeat.report.pictures.robustness import Radar, draw_corruptions, draw_radar
from tests.report.scene import find, size_of

NAMES = ("Brightness", "LowLight", "Fog", "Snow")
OURS, BASELINE = SERIES_COLORS[:2]


def test_draw_radar__first_name_is_up_and_the_next_is_right(tmp_path: Path) -> None:
    """One network that only stands the first corruption, one that only stands the second."""
    nothing = [0.0] * 3
    ours = Radar("this run", 0.0, [[0.5] * 3, nothing, nothing, nothing])
    theirs = Radar("baseline", 0.0, [nothing, [0.5] * 3, nothing, nothing])
    draw_radar(tmp_path / "new" / "radar.png", [ours, theirs], NAMES, title="vehicle_iou/visible")
    up, right = (_of_plot(tmp_path / "new" / "radar.png", color) for color in (OURS, BASELINE))
    assert np.ptp(up[:, 0]) > 5 * np.ptp(up[:, 1])
    assert np.ptp(right[:, 1]) > 5 * np.ptp(right[:, 0])
    assert up[:, 0].min() < right[:, 0].min() - 50


def _of_plot(path: Path, color: str) -> np.ndarray:
    """Pixels of a colour in the upper part, where the legend is not."""
    pixels = find(path, color)
    return pixels[pixels[:, 0] < 0.85 * size_of(path)[1]]


@pytest.mark.parametrize("unknown", [[float("nan")] * 3, [0.1, float("nan"), 0.2]])
def test_draw_radar__what_is_not_known_leaves_a_gap(tmp_path: Path, unknown: list[float]) -> None:
    network = Radar("this run", float("nan"), [[0.2, 0.3, 0.1], unknown, [0.2, 0.2, 0.2], unknown])
    draw_radar(tmp_path / "radar.png", [network], NAMES)
    assert len(find(tmp_path / "radar.png", OURS)) > 20


def test_draw_corruptions__a_row_each_and_a_column_per_severity(tmp_path: Path) -> None:
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 255)]
    clean, *severities = (
        torch.tensor(color, dtype=torch.uint8)[:, None, None].repeat(1, 40, 60) for color in colors
    )
    path = tmp_path / "corruptions.png"
    draw_corruptions(path, clean, {"Fog": severities, "Snow": severities[::-1]}, ("easy", "mid", "hard"))
    left_to_right = [find(path, f"#{r:02x}{g:02x}{b:02x}") for r, g, b in colors]
    middle = size_of(path)[1] / 2
    columns = [pixels[pixels[:, 0] < middle][:, 1].mean() for pixels in left_to_right]
    assert columns == sorted(columns)
    second_row = [pixels[pixels[:, 0] > middle][:, 1].mean() for pixels in left_to_right]
    assert second_row[0] < second_row[3] < second_row[2] < second_row[1]

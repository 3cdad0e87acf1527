"""Bars of several groups can be told apart."""

from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from occfeat.report.pictures.analysis import BAR_COLORS, draw_bars


def test_draw_bars__every_group_has_a_colour_of_its_own(tmp_path: Path) -> None:
    metrics = {"near": 0.9, "far": 0.8}
    draw_bars(
        tmp_path / "bars.png", {"iou": metrics, "recall": metrics, "precision": metrics}, title="", label=""
    )
    pixels = np.asarray(Image.open(tmp_path / "bars.png").convert("RGB")).reshape(-1, 3).astype(int)
    for color in BAR_COLORS:
        wanted = np.round(255 * np.array(to_rgb(color)))
        assert (np.abs(pixels - wanted).max(axis=1) <= 2).mean() > 0.02

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from occfeat.data.sample.sample import Labels
from occfeat.errors import RunError
from occfeat.report.pictures import plots
from occfeat.report.pictures.palette import (
    CLASS_COLORS,
    EGO_COLOR,
    HEIGHT_COLORS,
    OTHER_COLOR,
    PROBABILITY_COLORS,
)
from tests.report.scene import GRID, VOXELS, box_corners, far_front_left, find, rig_looking_at, size_of

IMAGES = torch.zeros(3, 3, 40, 60, dtype=torch.uint8)
RIG = rig_looking_at(0.0, 90.0, 180.0)
CHANNELS = ("FRONT", "LEFT", "BACK")
VEHICLE = CLASS_COLORS["vehicle"]


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "DOTS_PER_INCH", 110)


def assert_up_left(things: np.ndarray, ego: np.ndarray) -> None:
    """Pixels lie where 12 m ahead and 9 m to the left belong, seen from the car's own marker."""
    up_px, left_px = ego.mean(axis=0) - things.mean(axis=0)
    assert up_px > 10
    assert left_px > 10
    assert up_px / left_px == pytest.approx(12 / 9, rel=0.1)


def split_at(pixels: np.ndarray, column: float) -> tuple[np.ndarray, np.ndarray]:
    left = pixels[:, 1] < column
    return pixels[left], pixels[~left]


def test_draw_prediction__asymmetric_scene_lands_up_left(tmp_path: Path) -> None:
    mask = far_front_left()
    path = tmp_path / "new" / "prediction.png"
    plots.draw_prediction(path, IMAGES, RIG, CHANNELS, mask.float(), GRID, target=mask, low_visibility=~mask)
    ego = find(path, EGO_COLOR)
    true_ego, predicted_ego = split_at(ego, ego[:, 1].mean())
    assert_up_left(find(path, VEHICLE), true_ego)
    bright = find(path, to_hex(colormaps[PROBABILITY_COLORS](1.0)))
    bright = bright[bright[:, 0] < predicted_ego[:, 0].min()]  # not the colour bar below
    assert_up_left(bright, predicted_ego)


def test_draw_prediction__without_truth(tmp_path: Path) -> None:
    path = tmp_path / "prediction.png"
    plots.draw_prediction(path, IMAGES, RIG, CHANNELS, torch.zeros(GRID.shape), GRID, title="nothing there")
    ego = find(path, EGO_COLOR)
    assert len(ego) > 10
    assert np.ptp(ego, axis=0).max() < 15  # one BEV panel, so one marker


def test_draw_calibration__labels_land_up_left(tmp_path: Path) -> None:
    mask = far_front_left()[None]
    path = tmp_path / "calibration.png"
    labels = Labels(classes=("vehicle",), target=mask, low_visibility=torch.zeros_like(mask))
    no_boxes = torch.zeros(0, 8, 3)
    plots.draw_calibration(path, IMAGES, RIG, CHANNELS, None, no_boxes, (), labels, GRID)
    ego = find(path, EGO_COLOR)
    things = find(path, VEHICLE)
    assert_up_left(things[things[:, 0] < ego[:, 0].mean()], ego)  # not the legend below


def test_draw_calibration__boxes_and_points_on_the_images(tmp_path: Path) -> None:
    path = tmp_path / "calibration.png"
    mask = torch.zeros(1, *GRID.shape, dtype=torch.bool)
    labels = Labels(classes=("pedestrian",), target=mask, low_visibility=mask)
    corners_ego = torch.stack(
        [box_corners((8.0, 0.0, 1.0), (4.0, 2.0, 2.0)), box_corners((-8.0, 0.0, 1.0), (1.0, 1.0, 2.0))]
    )
    categories = ("vehicle.car", "movable_object.barrier")
    points_ego = torch.tensor([[8.0, -2.0, 1.0], [0.0, 8.0, 0.5], [float("nan"), 0.0, 0.0]])
    draw = (path, IMAGES, RIG, CHANNELS, points_ego, corners_ego, categories, labels, GRID)
    plots.draw_calibration(*draw)
    car, barrier = find(path, VEHICLE), find(path, OTHER_COLOR)
    assert len(car) > 20
    assert len(barrier) > 10
    assert car[:, 0].max() < barrier[:, 0].min()  # the front camera is in the upper row, the back one below
    plots.draw_calibration(path, IMAGES, replace(RIG, present=torch.zeros(3, dtype=torch.bool)), *draw[3:])
    assert len(find(path, VEHICLE)) == 0


def test_draw_occupancy__heights_and_features(tmp_path: Path) -> None:
    occupied = torch.zeros(VOXELS.shape, dtype=torch.bool)
    occupied[28:36, 26:32, 3] = True
    cells = occupied.nonzero()
    features = torch.randn(len(cells), 8, generator=torch.Generator().manual_seed(0))
    with_features, without = tmp_path / "both.png", tmp_path / "occupancy.png"
    plots.draw_occupancy(
        with_features,
        occupied.float(),
        occupied,
        VOXELS,
        cells=cells,
        teacher_features=features,
        predicted_features=features,
    )
    plots.draw_occupancy(without, occupied.float(), occupied, VOXELS)
    assert size_of(with_features)[1] > 1.5 * size_of(without)[1]
    ego = find(without, EGO_COLOR)
    high = find(without, to_hex(colormaps[HEIGHT_COLORS]((2.5 + 1) / 4)))
    middle = ego[:, 1].mean()
    for marker in split_at(ego, middle):  # the true and the predicted one
        near = np.abs(high[:, 1] - marker[:, 1].mean()) < (ego[:, 1].max() - ego[:, 1].min()) / 2
        assert_up_left(high[near], marker)


@pytest.mark.parametrize("count", [0, 2])
def test_draw_occupancy__too_few_voxels_for_a_basis(tmp_path: Path, count: int) -> None:
    path = tmp_path / "occupancy.png"
    nothing = torch.zeros(VOXELS.shape)
    cells, features = torch.zeros(count, 3, dtype=torch.long), torch.ones(count, 8)
    plots.draw_occupancy(
        path,
        nothing,
        nothing.bool(),
        VOXELS,
        cells=cells,
        teacher_features=features,
        predicted_features=features,
    )
    assert len(find(path, EGO_COLOR)) > 10


def test_draw_curves__one_panel_per_figure(tmp_path: Path) -> None:
    rows = [{"step": step, "loss": 1 / step, "iou": None if step < 3 else 0.5} for step in range(1, 9)]
    plots.draw_curves(tmp_path / "two.png", rows)
    plots.draw_curves(tmp_path / "one.png", [{"step": 1, "loss": 1.0}])
    plots.draw_curves(tmp_path / "none.png", [])
    widths = {name: size_of(tmp_path / f"{name}.png")[0] for name in ("none", "one", "two")}
    assert widths["two"] == 2 * widths["one"]
    assert widths["none"] == widths["one"]


@pytest.mark.parametrize("values", [(0, 0.1, 30), (0, 0, 0)])
def test_draw_curves__factors_are_drawn_on_a_logarithmic_axis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: tuple[float, ...]
) -> None:
    drawn: dict[str, str] = {}

    def keep(figure: Figure, path: Path) -> None:
        drawn.update({axes.get_title(): axes.get_yscale() for axes in figure.axes})

    monkeypatch.setattr(plots, "save_figure", keep)
    rows = [{"step": step, "loss": 1.0, "ratio/features": value} for step, value in enumerate(values)]
    plots.draw_curves(tmp_path / "curves.png", rows)
    assert drawn["loss"] == "linear"
    assert drawn["ratio/features"] == ("log" if any(values) else "linear")


def test_save__says_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        plots.draw_curves(tmp_path / "file" / "curves.png", [])

"""The picture of a window of sweeps, and returns with their times."""

from pathlib import Path

import pytest
import torch
from matplotlib.colors import to_hex

from occfeat.cli import main
from occfeat.data.index.index import Index
from occfeat.data.sample.lidar import EMPTY, IN_CONFLICT, OCCUPIED
from occfeat.data.sweeps.by_time import read_by_time
from occfeat.data.sweeps.points import read_points
from occfeat.report.pictures.camera_images import by_time
from occfeat.report.pictures.palette import EGO_COLOR, TIME_COLORS
from occfeat.report.pictures.window import STATE_COLORS, draw_window, state_colors
from occfeat.settings.sections import DataConfig, ViewConfig
from tests.report.scene import find
from tests.support.rigs import GRID


@pytest.fixture
def opened(folder: Path) -> Index:
    return Index.open(DataConfig(root=folder))


def test_read_by_time__are_the_returns_of_each_sweep(opened: Index) -> None:
    points_ego, after_s = read_by_time(opened, ViewConfig(), 1, 0.45)
    assert after_s.unique().tolist() == pytest.approx([-0.1, -0.05, 0, 0.4, 0.45])
    own = read_points(opened.source, opened.key_frame(1).sweeps, ViewConfig().ego_radius_m).points_ego
    assert torch.equal(points_ego[after_s == 0], own)
    assert len(points_ego) == len(after_s) > 4 * len(own)


def test_by_time__the_key_frame_is_in_the_middle_of_the_colours() -> None:
    colors = by_time(torch.tensor([-0.5, 0.0, 0.2]))
    assert (colors.limits, colors.colors) == ((-0.5, 0.5), TIME_COLORS)
    assert by_time(torch.zeros(0)).limits[1] > 0


def test_state_colors__show_what_matters_most_in_a_column() -> None:
    states = torch.zeros(GRID.shape, dtype=torch.uint8)
    states[0, 0, 1], states[1, 0, :2] = EMPTY, torch.tensor([EMPTY, OCCUPIED], dtype=torch.uint8)
    states[2, 0, 1:3] = torch.tensor([OCCUPIED, EMPTY | IN_CONFLICT], dtype=torch.uint8)
    names = list(STATE_COLORS)
    found = [to_hex(color).upper() for color in state_colors(states)[:4, 0]]
    assert found == [STATE_COLORS[name].upper() for name in (names[1], names[2], names[3], names[0])]


def test_draw_window__states_land_up_left(tmp_path: Path) -> None:
    states = torch.zeros(GRID.shape, dtype=torch.uint8)
    states[10:15, 10:15, 1] = OCCUPIED | IN_CONFLICT
    points_ego, after_s = torch.tensor([[5.0, 5.0, 0.0], [-5.0, -5.0, 0.0]]), torch.tensor([-0.5, 0.5])
    draw_window(tmp_path / "window.png", points_ego, after_s, torch.zeros_like(states), states, GRID)
    drawn = find(tmp_path / "window.png", STATE_COLORS["in conflict"])
    ego = find(tmp_path / "window.png", EGO_COLOR)
    square = drawn[drawn[:, 0] < ego[:, 0].max()]  # without the legend
    last_panel = ego[ego[:, 1] > drawn[:, 1].min() - 50]
    assert len(square) > 100
    assert square[:, 0].max() < last_panel[:, 0].mean()
    assert square[:, 1].max() < last_panel[:, 1].mean()


def test_view__draws_the_window_on_the_images(opened: Index, tmp_path: Path) -> None:
    words = ["view", "--data", str(opened.root), "--calibration", "--view.image-size", "90", "160"]
    for name, more in (("one.png", []), ("all.png", ["--window-s", "0.5"])):
        assert main([*words, "--out", str(tmp_path / name), *more]) == 0
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "all.png").read_bytes()

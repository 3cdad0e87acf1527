import numpy as np
from matplotlib.figure import Figure

from occfeat.report.pictures.bev import bev_axes, for_display
from tests.report.scene import GRID


def test_for_display__ahead_is_up_and_left_is_left() -> None:
    cells = np.arange(6).reshape(2, 3)
    shown = for_display(cells)
    assert shown[0, 0] == cells[1, 2]
    assert shown[-1, -1] == cells[0, 0]
    assert shown[0, -1] == cells[1, 0]


def test_bev_axes__are_in_metres_and_y_grows_to_the_left() -> None:
    axes = Figure().add_subplot()
    bev_axes(axes, GRID, "title")
    assert axes.get_xlim() == (20.0, -20.0)
    assert axes.get_ylim() == (-20.0, 20.0)

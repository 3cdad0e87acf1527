"""The sweeps around a key frame as a picture: their returns by time, and the voxels that they make known.

Axes: `P` returns, `X Y Z` voxels.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from occfeat.data.sample.lidar import EMPTY, IN_CONFLICT, OCCUPIED
from occfeat.geometry.grid import VoxelGrid
from occfeat.report.pictures import bev, camera_images
from occfeat.report.pictures.palette import BACKGROUND, CLASS_COLORS, SERIES_COLORS
from occfeat.report.pictures.plots import PANEL_IN, save_figure

STATE_COLORS = {
    "unknown": BACKGROUND,
    "empty": SERIES_COLORS[4],
    "occupied": CLASS_COLORS["divider"],
    "in conflict": SERIES_COLORS[3],
}
"""Colour of each state of a column of voxels."""


def draw_window(
    path: Path,
    points_ego: Float[Tensor, "P 3"],
    after_s: Float[Tensor, " P"],
    alone: UInt8[Tensor, "X Y Z"],
    together: UInt8[Tensor, "X Y Z"],
    grid: VoxelGrid,
) -> None:
    """Draw the sweeps around a key frame from above.

    Args:
        path: PNG file to write.
        points_ego: Returns of all sweeps, in metres.
        after_s: Time of each return after the key frame.
        alone: States of the voxels from the key frame's own sweep, as in `Window`.
        together: States from all sweeps.
        grid: The voxels.
    """
    figure = Figure(figsize=(3.2 * PANEL_IN, 1.25 * PANEL_IN), layout="constrained")
    first, *others = figure.subplots(1, 3)
    bev.bev_axes(first, grid.bev, "LiDAR returns by time")
    colors = camera_images.by_time(after_s)
    x, y, _ = points_ego.unbind(-1)
    style = {"cmap": colors.colors, "vmin": colors.limits[0], "vmax": colors.limits[1]}
    first.scatter(y.numpy(), x.numpy(), c=after_s.numpy(), s=0.5, linewidths=0, **style)
    scale = ScalarMappable(Normalize(*colors.limits), colors.colors)
    figure.colorbar(scale, ax=first, location="bottom", shrink=0.6, label=colors.label)
    titles = ("Voxels: the key frame's own sweep", "Voxels: all sweeps together")
    for axes, states, title in zip(others, (alone, together), titles, strict=True):
        bev.bev_axes(axes, grid.bev, title)
        bev.show_cells(axes, state_colors(states), grid.bev)
        bev.explain(axes, STATE_COLORS)
    save_figure(figure, path)


def state_colors(states: UInt8[Tensor, "X Y Z"]) -> Float[np.ndarray, "X Y 3"]:
    """Return the colour of each column: in conflict before occupied, before empty, before unknown."""
    bits = torch.stack([(states & bit != 0).any(dim=2) for bit in (EMPTY, OCCUPIED, IN_CONFLICT)])
    number = torch.where(bits[2], 3, torch.where(bits[1], 2, bits[0].long()))
    colors = np.array([to_rgb(color) for color in STATE_COLORS.values()])
    picture: np.ndarray = colors[number.numpy()]
    return picture

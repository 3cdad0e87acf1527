"""The map under the car, and the position of a key frame's grid on it.

The map is planar: only x, y and yaw of the car's pose are used. The data source chooses the map file of a
place and the layers that it has.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from torch import Tensor

from occfeat.data.keyframe import KeyFrame
from occfeat.data.maps.masks import LAYERS
from occfeat.data.source.place import Place
from occfeat.data.source.source import DataSource, LayerMap
from occfeat.geometry.grid import BevGrid


@dataclass(frozen=True)
class Ground:
    """The map under the car."""

    map: LayerMap
    global_from_ego: Float[Tensor, "4 4"]

    def draw(self, layer: str, new_ego_from_ego: Float[Tensor, "4 4"], grid: BevGrid) -> Bool[Tensor, "X Y"]:
        """Return a mask of the cells that a layer covers.

        Args:
            layer: One of `LAYERS`.
            new_ego_from_ego: The BEV augmentation, or the identity.
            grid: Cells in the augmented ego frame.
        """
        cells = cells_from_global(self.global_from_ego, new_ego_from_ego, grid)
        return torch.from_numpy(self.map.draw(layer, cells, grid.shape))


def cells_from_global(
    global_from_ego: Float[Tensor, "4 4"], new_ego_from_ego: Float[Tensor, "4 4"], grid: BevGrid
) -> Float64[ndarray, "3 3"]:
    """Return the matrix from map (x, y, 1) in metres to cells; the corner of cell (0, 0) is at 0."""
    yaw = math.atan2(float(global_from_ego[1, 0]), float(global_from_ego[0, 0]))
    global_from_flat = np.eye(3)  # the ego frame without roll and pitch
    global_from_flat[:2, :2] = [(math.cos(yaw), -math.sin(yaw)), (math.sin(yaw), math.cos(yaw))]
    global_from_flat[:2, 2] = global_from_ego[:2, 3].numpy()
    new_from_flat = np.eye(3)
    new_from_flat[:2, :2] = new_ego_from_ego[:2, :2].numpy()
    new_from_flat[:2, 2] = new_ego_from_ego[:2, 3].numpy()
    cells_from_new = np.diag((*(1 / np.array(grid.cell_m)), 1.0))
    cells_from_new[:2, 2] = -np.array(grid.lower_m) / np.array(grid.cell_m)
    cells: ndarray = cells_from_new @ new_from_flat @ np.linalg.inv(global_from_flat)
    return cells


def find_ground(source: DataSource, key_frame: KeyFrame, classes: Sequence[str]) -> Ground | None:
    """Return the map under the car of a key frame; None if no class is a map layer.

    Raises:
        DatasetError: The map is damaged, or its name leads out of the data folder.
        SettingsError: No map has these layers.
    """
    layers = layers_of(classes)
    return Ground(source.read_map(key_frame.place, layers), key_frame.global_from_ego) if layers else None


def require_maps(source: DataSource, places: Iterable[Place], classes: Sequence[str]) -> None:
    """Read the maps of some places, to find problems early.

    They stay in memory and are shared with processes that are forked later.

    Raises:
        DatasetError: A map is damaged, or its name leads out of the data folder.
        SettingsError: No map has these layers.
    """
    if layers := layers_of(classes):
        for place in places:
            source.read_map(place, layers)


def layers_of(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the map layers among some classes."""
    return tuple(name for name in classes if name in LAYERS)

"""Map layers as BEV labels: which file they come from, and where the grid of a key frame lies on it.

All six layers come from the map expansion, `maps/expansion/LOCATION.json`. Where it is missing,
`drivable_area` alone comes from the base map. The map is planar: of the pose of the car x, y and yaw count.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray
from torch import Tensor

from occfeat.data.index.index import Index
from occfeat.data.keyframe import KeyFrame
from occfeat.data.maps.masks import AREAS, Expansion
from occfeat.data.nuscenes.base_map import BaseMap, read_base_map
from occfeat.data.nuscenes.map_expansion import read_expansion
from occfeat.data.paths import resolve
from occfeat.data.place import Place
from occfeat.errors import DatasetError, SettingsError
from occfeat.geometry.grid import BevGrid

LAYERS = (*AREAS, "divider")
"""Map layers that can be segmented, each a binary task of its own."""

ON_BASE_MAP = "drivable_area"
"""The layer that a base map shows."""


@dataclass(frozen=True)
class Ground:
    """The map under the car."""

    map: Expansion | BaseMap
    global_from_ego: Float[Tensor, "4 4"]

    def draw(self, layer: str, new_ego_from_ego: Float[Tensor, "4 4"], grid: BevGrid) -> Bool[Tensor, "X Y"]:
        """Cells that a layer covers.

        Args:
            layer: One of `LAYERS`.
            new_ego_from_ego: The BEV augmentation; identity for none.
            grid: Cells in the augmented ego frame.
        """
        cells = cells_from_global(self.global_from_ego, new_ego_from_ego, grid)
        return torch.from_numpy(self.map.draw(layer, cells, grid.shape))


def cells_from_global(
    global_from_ego: Float[Tensor, "4 4"], new_ego_from_ego: Float[Tensor, "4 4"], grid: BevGrid
) -> Float64[ndarray, "3 3"]:
    """Takes (x, y, 1) on the map, in metres, to cells of the grid; the corner of cell (0, 0) is at 0."""
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


def find_ground(index: Index, key_frame: KeyFrame, classes: Sequence[str]) -> Ground | None:
    """The map under the car of a key frame; None if no map layer is among the classes.

    Raises:
        DatasetError: The map is damaged, or a name in the tables leads out of the data folder.
        SettingsError: There is no map that has these layers.
    """
    layers = layers_of(classes)
    return Ground(_read_map(index, key_frame.place, layers), key_frame.global_from_ego) if layers else None


def require_maps(index: Index, rows: Int64[ndarray, " n"], classes: Sequence[str]) -> None:
    """Make sure that the maps of some key frames can be read, before anything is computed.

    They stay in memory, where processes that are forked later share them.

    Raises:
        DatasetError: A map is damaged, or a name in the tables leads out of the data folder.
        SettingsError: There is no map that has these layers.
    """
    if layers := layers_of(classes):
        for place in index.places(rows):
            _read_map(index, place, layers)


def without_expansion(index: Index, rows: Int64[ndarray, " n"]) -> list[str]:
    """Locations of some key frames that have no map expansion, by name."""
    places = (place for place in index.places(rows) if place.location)
    return sorted({one.location for one in places if not _has_expansion(index, one)})


def layers_of(classes: Sequence[str]) -> tuple[str, ...]:
    """The map layers among some classes."""
    return tuple(name for name in classes if name in LAYERS)


def _read_map(index: Index, place: Place, layers: tuple[str, ...]) -> Expansion | BaseMap:
    if not place.location:
        raise SettingsError(
            f"For {', '.join(layers)} the tables must say where each scene was recorded, and do not.",
            hint=f"Put log.json and map.json into {index.root / index.version}; the `log_token` of each "
            "scene names a log. `occfeat check` says what is wrong with them.",
        )
    path = _expansion_file(index, place)
    name = f"maps/expansion/{path.name}"
    if _is_file(path):
        return read_expansion(path)
    if set(layers) == {ON_BASE_MAP} and place.base_map is not None:
        path = resolve(index.root, place.base_map)
        if _is_file(path):
            return read_base_map(path)
        name += f" and {place.base_map}"
    raise SettingsError(
        f"{', '.join(layers)}: there is no map of {place.location}, looked for in {index.root}: {name}.",
        hint="Download the map expansion of version 1.3 from nuscenes.org and extract it into "
        f"{index.root / 'maps'}. Without it only {ON_BASE_MAP} can be segmented, from the base map.",
    )


def _has_expansion(index: Index, place: Place) -> bool:
    try:
        return _is_file(_expansion_file(index, place))
    except DatasetError:  # a name that leads out of the data folder
        return False


def _expansion_file(index: Index, place: Place) -> Path:
    return resolve(index.root, f"maps/expansion/{place.location}.json")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for any file
        return False

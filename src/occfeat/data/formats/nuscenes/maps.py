"""The map file of a place in a nuScenes folder.

All six layers come from the map expansion, `maps/expansion/LOCATION.json`. If it is missing, only
`drivable_area` is available, from the base map.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from occfeat.data.formats.nuscenes.base_map import BaseMap, read_base_map
from occfeat.data.formats.nuscenes.map_expansion import read_expansion
from occfeat.data.maps.masks import ShapeMap
from occfeat.data.source.paths import resolve
from occfeat.data.source.place import Place
from occfeat.errors import DatasetError, SettingsError

ON_BASE_MAP = "drivable_area"
"""The layer of a base map."""


def read_map(root: Path, folder: Path, place: Place, layers: Sequence[str]) -> ShapeMap | BaseMap:
    """Return the map of a place, cached for the rest of the process.

    Args:
        root: The data folder.
        folder: Folder of its tables.
        place: Place where a scene was recorded.
        layers: Layers that the map must have.

    Raises:
        DatasetError: The map is damaged, or a name in the tables leads out of the data folder.
        SettingsError: No map has these layers.
    """
    if not place.location:
        raise SettingsError(
            f"{', '.join(layers)}: expected a location for each scene in the tables, got none.",
            hint=f"Put log.json and map.json into {folder}, and name a log in the `log_token` of each scene. "
            "`occfeat check` reports their problems.",
        )
    path = _expansion_file(root, place)
    name = f"maps/expansion/{path.name}"
    if _is_file(path):
        return read_expansion(path)
    if set(layers) == {ON_BASE_MAP} and place.base_map is not None:
        path = resolve(root, place.base_map)
        if _is_file(path):
            return read_base_map(path)
        name += f" and {place.base_map}"
    raise SettingsError(
        f"{', '.join(layers)}: no map of {place.location} found; expected {name} in {root}.",
        hint="Download the map expansion, version 1.3, from nuscenes.org and extract it into "
        f"{root / 'maps'}. Without it only {ON_BASE_MAP} can be segmented, from the base map.",
    )


def without_expansion(root: Path, places: Iterable[Place]) -> list[str]:
    """Return the names of the locations that have no map expansion."""
    known = (place for place in places if place.location)
    return sorted({one.location for one in known if not _has_expansion(root, one)})


def _has_expansion(root: Path, place: Place) -> bool:
    """Return whether a place has a map expansion."""
    try:
        return _is_file(_expansion_file(root, place))
    except DatasetError:  # a name that leads out of the data folder
        return False


def _expansion_file(root: Path, place: Place) -> Path:
    """Return the path of the map expansion of a place."""
    return resolve(root, f"maps/expansion/{place.location}.json")


def _is_file(path: Path) -> bool:
    """Return whether a file exists."""
    try:
        return path.is_file()
    except OSError:  # the name is too long for a file
        return False

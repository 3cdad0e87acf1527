"""Which map file of a nuScenes folder shows a place.

All six layers come from the map expansion, `maps/expansion/LOCATION.json`. Where it is missing,
`drivable_area` alone comes from the base map.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from occfeat.data.maps.masks import ShapeMap
from occfeat.data.nuscenes.base_map import BaseMap, read_base_map
from occfeat.data.nuscenes.map_expansion import read_expansion
from occfeat.data.paths import resolve
from occfeat.data.source.place import Place
from occfeat.errors import DatasetError, SettingsError

ON_BASE_MAP = "drivable_area"
"""The layer that a base map shows."""


def read_map(root: Path, folder: Path, place: Place, layers: Sequence[str]) -> ShapeMap | BaseMap:
    """Return the map of a place; it is kept for the rest of the process.

    Args:
        root: The data folder.
        folder: Where its tables are.
        place: Where a scene was recorded.
        layers: What is to be drawn from the map.

    Raises:
        DatasetError: The map is damaged, or a name in the tables leads out of the data folder.
        SettingsError: There is no map that has these layers.
    """
    if not place.location:
        raise SettingsError(
            f"For {', '.join(layers)} the tables must say where each scene was recorded, and do not.",
            hint=f"Put log.json and map.json into {folder}; the `log_token` of each scene names a log. "
            "`occfeat check` says what is wrong with them.",
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
        f"{', '.join(layers)}: there is no map of {place.location}, looked for in {root}: {name}.",
        hint="Download the map expansion of version 1.3 from nuscenes.org and extract it into "
        f"{root / 'maps'}. Without it only {ON_BASE_MAP} can be segmented, from the base map.",
    )


def without_expansion(root: Path, places: Iterable[Place]) -> list[str]:
    """Return the locations among some places that have no map expansion, by name."""
    known = (place for place in places if place.location)
    return sorted({one.location for one in known if not _has_expansion(root, one)})


def _has_expansion(root: Path, place: Place) -> bool:
    """Return whether there is a map expansion of a place."""
    try:
        return _is_file(_expansion_file(root, place))
    except DatasetError:  # a name that leads out of the data folder
        return False


def _expansion_file(root: Path, place: Place) -> Path:
    """Return where the map expansion of a place lies."""
    return resolve(root, f"maps/expansion/{place.location}.json")


def _is_file(path: Path) -> bool:
    """Return whether a file is there."""
    try:
        return path.is_file()
    except OSError:  # a name too long for any file
        return False

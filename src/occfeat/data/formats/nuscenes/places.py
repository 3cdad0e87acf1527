"""Where each scene was recorded: the location and the base map of its log.

The tables `log` and `map` are optional; only map layers need them.
"""

import logging

from occfeat.data.formats.nuscenes.json_tables import Record, texts
from occfeat.data.formats.nuscenes.tables import Tables, dangling
from occfeat.data.source.faults import Faults
from occfeat.data.source.place import Place
from occfeat.data.source.source import hash_file
from occfeat.errors import DatasetError

_log = logging.getLogger(__name__)


def read_places(tables: Tables, scenes: list[Record], faults: Faults) -> tuple[Place, ...]:
    """Return the place of each scene.

    A scene with an unknown log is a fault without a key frame, because its key frames can be used for
    everything except map layers.
    """
    locations = _locations(tables)
    base_maps = _base_maps(tables)
    places = []
    for scene in scenes:
        log, has_poses = scene.get("log_token"), scene.get("has_poses") is not False
        if not isinstance(log, str) or log not in locations:
            if locations and log is not None:
                faults.add(-1, dangling("scene", scene["token"], "log", str(log)))
            places.append(Place(has_poses=has_poses))
        else:
            places.append(Place(locations[log], base_maps.get(log), has_poses))
    return tuple(places)


def _locations(tables: Tables) -> dict[str, str]:
    """Return the location of each log token."""
    records = _optional_records(tables, "log")
    return dict(zip(texts(records, "token"), texts(records, "location"), strict=True))


def _base_maps(tables: Tables) -> dict[str, str]:
    """Return the base map file of each log token."""
    return {
        log: record["filename"]
        for record in _optional_records(tables, "map")
        for log in _texts_of(record.get("log_tokens"))
    }


def _texts_of(value: object) -> list[str]:
    """Return the strings of a list; nothing for other values."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _optional_records(tables: Tables, name: str) -> list[Record]:
    """Return the records of a table; none if it is missing or damaged."""
    path = tables.path(name)
    if not path.is_file():
        return []
    try:
        return tables.records(name)
    except DatasetError as error:
        _log.warning("%s The locations of scenes are unknown.", error.message)
        tables.hashes[name] = hash_file(path)
        return []

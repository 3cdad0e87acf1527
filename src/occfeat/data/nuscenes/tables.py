"""The tables of one nuScenes folder while an index is made of them."""

from collections.abc import Callable, Iterator
from pathlib import Path

from occfeat.data.nuscenes.json_tables import Record, read_table
from occfeat.data.source.faults import Fault
from occfeat.data.source.source import new_hash

NEEDED_TABLES = (
    "sensor",
    "calibrated_sensor",
    "scene",
    "sample",
    "sample_data",
    "ego_pose",
    "category",
    "instance",
    "sample_annotation",
)
"""Tables the index is made of."""

PLACE_TABLES = ("log", "map")
"""Tables that say where scenes were recorded, read if they are there."""

OTHER_TABLES = ("attribute", *PLACE_TABLES, "visibility")
"""Tables that belong to a complete nuScenes set, too."""


class Tables:
    """The tables of one folder, hashed while they are read."""

    def __init__(self, folder: Path, on_bytes: Callable[[int], object]) -> None:
        self.folder = folder
        self.hashes: dict[str, str] = {}
        self._on_bytes = on_bytes

    def path(self, name: str) -> Path:
        """Return the file of a table."""
        return self.folder / f"{name}.json"

    def batches(self, name: str) -> Iterator[list[Record]]:
        """Return the records of a table, some ten thousand at a time."""
        digest = new_hash()

        def count(piece: bytes) -> None:
            """Hash a piece of the file and say that it was read."""
            digest.update(piece)
            self._on_bytes(len(piece))

        yield from read_table(self.path(name), on_bytes=count)
        self.hashes[name] = digest.hexdigest()

    def records(self, name: str) -> list[Record]:
        """Return all records of a small table."""
        return [record for batch in self.batches(name) for record in batch]


def dangling(table: str, token: str, target: str, missing: str) -> Fault:
    """Return the fault of a record that names another one that does not exist."""
    return Fault("dangling token", f"{table}.json: record {token} names {missing!r}, not in {target}.json")

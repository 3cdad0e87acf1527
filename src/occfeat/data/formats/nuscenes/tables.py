"""The tables of one nuScenes folder, while an index is built from them."""

from collections.abc import Callable, Iterator
from pathlib import Path

from occfeat.data.formats.nuscenes.json_tables import Record, read_table
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
"""Tables that the index is built from."""

PLACE_TABLES = ("log", "map")
"""Optional tables, which give the places of scenes."""

OTHER_TABLES = ("attribute", *PLACE_TABLES, "visibility")
"""Further tables of a complete nuScenes data set."""


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
        """Return the records of a table in batches."""
        digest = new_hash()

        def count(piece: bytes) -> None:
            """Hash some bytes of the file and report their number."""
            digest.update(piece)
            self._on_bytes(len(piece))

        yield from read_table(self.path(name), on_bytes=count)
        self.hashes[name] = digest.hexdigest()

    def records(self, name: str) -> list[Record]:
        """Return all records of a small table."""
        return [record for batch in self.batches(name) for record in batch]


def dangling(table: str, token: str, target: str, missing: str) -> Fault:
    """Return the fault of a record that names an unknown record."""
    return Fault("dangling token", f"{table}.json: record {token} names {missing!r}, not in {target}.json")

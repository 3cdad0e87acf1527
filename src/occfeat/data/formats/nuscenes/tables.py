"""The tables of one nuScenes folder, while an index is built from them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from occfeat.data.formats.nuscenes.json_tables import (
    FLAG,
    NAME,
    TEXT,
    TIME,
    Kind,
    Record,
    no_usable_record,
    read_table,
    usable_records,
)
from occfeat.data.source.faults import Fault, Faults
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

FIELDS: Mapping[str, Mapping[str, Kind]] = {
    "sensor": {"token": TEXT, "channel": NAME, "modality": TEXT},
    "calibrated_sensor": {"token": TEXT, "sensor_token": TEXT},
    "scene": {"token": TEXT, "name": TEXT},
    "sample": {"token": TEXT, "scene_token": TEXT, "timestamp": TIME},
    "sample_data": {
        **dict.fromkeys(("token", "sample_token", "ego_pose_token", "calibrated_sensor_token"), TEXT),
        "is_key_frame": FLAG,
        "timestamp": TIME,
        "filename": TEXT,
    },
    "ego_pose": {"token": TEXT},
    "category": {"token": TEXT, "name": TEXT},
    "instance": {"token": TEXT, "category_token": TEXT},
    "sample_annotation": {"token": TEXT, "sample_token": TEXT, "instance_token": TEXT},
    "log": {"token": TEXT, "location": TEXT},
    "map": {"filename": TEXT},
    "visibility": {"token": TEXT, "level": TEXT},
}
"""Fields without which a record is of no use. It is left out then, and so is what refers to it."""


class Tables:
    """The tables of one folder, hashed while they are read."""

    def __init__(self, folder: Path, on_bytes: Callable[[int], object]) -> None:
        self.folder = folder
        self.hashes: dict[str, str] = {}
        self.repeated: dict[str, dict[str, bool]] = {}
        """Tokens that a small table has more than once, by table; whether their records differ."""
        self.faults = Faults()
        """Faults of records; those that are left out are among them."""
        self._on_bytes = on_bytes

    def path(self, name: str) -> Path:
        """Return the file of a table."""
        return self.folder / f"{name}.json"

    def batches(self, name: str) -> Iterator[list[Record]]:
        """Return the usable records of a table in batches.

        Raises:
            DatasetError: The table cannot be read, or no record is usable.
        """
        digest = new_hash()

        def count(piece: bytes) -> None:
            """Hash some bytes of the file and report their number."""
            digest.update(piece)
            self._on_bytes(len(piece))

        number, first = 0, ""
        for records in read_table(self.path(name), on_bytes=count):
            usable, lost = usable_records(records, FIELDS.get(name, {}))
            for what in lost:
                self.faults.add(-1, Fault("record left out", f"{name}.json: {what}"))
            number, first = number + len(usable), first or "".join(lost[:1])
            yield usable
        if first and not number:
            raise no_usable_record(self.path(name), first)
        self.hashes[name] = digest.hexdigest()

    def records(self, name: str) -> list[Record]:
        """Return the records of a small table; of several with one token, the first."""
        first: dict[str, Record] = {}
        kept, repeated = [], self.repeated.setdefault(name, {})
        for record in (record for batch in self.batches(name) for record in batch):
            token = record.get("token")
            if not isinstance(token, str):
                kept.append(record)
            elif token not in first:
                first[token] = record
                kept.append(record)
            else:
                repeated[token] = repeated.get(token, False) or record != first[token]
        return kept

    def ambiguous(self, name: str) -> frozenset[str]:
        """Return the tokens that records of a small table share although they differ."""
        return frozenset(token for token, differ in self.repeated.get(name, {}).items() if differ)


def repeated(table: str, token: str, differ: bool = False) -> Fault:
    """Return the fault of a token that a table has more than once."""
    and_how = ", with different values" if differ else ""
    return Fault("duplicate record", f"{table}.json: record {token} is there twice{and_how}")


def dangling(table: str, token: str, target: str, missing: str) -> Fault:
    """Return the fault of a record that names an unknown record."""
    return Fault("dangling token", f"{table}.json: record {token} names {missing!r}, not in {target}.json")

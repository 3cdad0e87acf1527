"""The tables of one folder while an index is made of them, and the faults found in them."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from occfeat.data.nuscenes.json_tables import Record, read_table
from occfeat.errors import DatasetError

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


@dataclass(frozen=True)
class Fault:
    """Something wrong in the tables."""

    kind: str
    """Sort of problem, such as `dangling token`."""
    message: str
    """Table, token and what is wrong."""


FARTHEST_M = 1e9
"""Coordinates beyond this are taken for nonsense."""

MAX_FAULTS = 50
"""Faults of one key frame, and examples of a kind, that are kept: a set whose every record dangles must not
fill the memory."""


@dataclass
class Faults:
    """Faults by key-frame row, and those that belong to no key frame."""

    of_row: dict[int, list[Fault]] = field(default_factory=dict)
    loose_count: dict[str, int] = field(default_factory=dict)
    loose_first: dict[str, list[str]] = field(default_factory=dict)

    def add(self, row: int, fault: Fault) -> None:
        """Note a fault of a key frame; a row below 0 means none."""
        if row >= 0:
            known = self.of_row.setdefault(row, [])
            if len(known) < MAX_FAULTS:
                known.append(fault)
            return
        self.loose_count[fault.kind] = self.loose_count.get(fault.kind, 0) + 1
        examples = self.loose_first.setdefault(fault.kind, [])
        if len(examples) < MAX_FAULTS:
            examples.append(fault.message)


class Tables:
    """The tables of one folder, hashed while they are read."""

    def __init__(self, folder: Path, on_bytes: Callable[[int], object]) -> None:
        self.folder = folder
        self.hashes: dict[str, str] = {}
        self._on_bytes = on_bytes

    def path(self, name: str) -> Path:
        """File of a table."""
        return self.folder / f"{name}.json"

    def batches(self, name: str) -> Iterator[list[Record]]:
        """Records of a table, some ten thousand at a time."""
        digest = new_hash()

        def count(piece: bytes) -> None:
            digest.update(piece)
            self._on_bytes(len(piece))

        yield from read_table(self.path(name), on_bytes=count)
        self.hashes[name] = digest.hexdigest()

    def records(self, name: str) -> list[Record]:
        """All records of a small table."""
        return [record for batch in self.batches(name) for record in batch]


def new_hash() -> "hashlib.blake2b":
    """The hash that tells tables apart by their content."""
    return hashlib.blake2b(digest_size=16)


def hash_table(path: Path) -> str:
    """Hash of the content of a table.

    Raises:
        OSError: It cannot be read.
    """
    digest = new_hash()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def indexed_tables(folder: Path) -> tuple[str, ...]:
    """Tables of a folder that its index is made of, the optional ones among them that are there."""
    return (*NEEDED_TABLES, *(name for name in PLACE_TABLES if (folder / f"{name}.json").is_file()))


def require_tables(folder: Path) -> None:
    """Make sure that every table the index needs is there, or name all that are not."""
    missing = [f"{name}.json" for name in NEEDED_TABLES if not (folder / f"{name}.json").is_file()]
    if missing:
        raise DatasetError(
            f"{len(missing)} of {len(NEEDED_TABLES)} tables are missing in {folder}.",
            first=missing,
            hint=f"Extract the metadata archive of {folder.name} (for nuScenes: {folder.name}_meta) there.",
        )


def dangling(table: str, token: str, target: str, missing: str) -> Fault:
    """The fault of a record that names another one that does not exist."""
    return Fault("dangling token", f"{table}.json: record {token} names {missing!r}, not in {target}.json")


def is_pose(pose: Float64[ndarray, "n 7"]) -> Bool[ndarray, " n"]:
    """Which poses (translation, quaternion) are finite, on this planet, and have a rotation at all."""
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.linalg.norm(pose[:, 3:], axis=1)
        near = (np.abs(pose[:, :3]) < FARTHEST_M).all(axis=1)
        usable: ndarray = near & np.isfinite(length) & (length > 1e-6)
    return usable

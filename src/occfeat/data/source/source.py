"""A data source: all that this package must know of one format of recorded drives.

Index, check, labels, maps, metrics and analysis see a data set through a `DataSource` alone. A format of your
own is a class that derives from it and is made known by `occfeat.data.sources.register_source`. This module
imports no torch.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Float64
from numpy import ndarray

from occfeat.data.source.place import Place
from occfeat.data.source.tables import Joined
from occfeat.errors import DatasetError, KeyFrameError, SettingsError

OBJECT_CLASSES = ("vehicle", "pedestrian")
"""Classes of objects that can be segmented."""

OBJECT_KINDS = ("car", "truck", "bus", "trailer", "two-wheeler", "pedestrian", "barrier")
"""Kinds of objects that the analysis of a pretrained network tells apart."""


@dataclass(frozen=True)
class Taxonomy:
    """What the category names and visibility levels of a format mean.

    A category belongs to a class or kind if its name begins with one of the texts that are given for it.
    """

    classes: Mapping[str, tuple[str, ...]]
    """Beginnings of the category names of each of `OBJECT_CLASSES` that the format has."""
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Beginnings of the category names of each of `OBJECT_KINDS` that the format has."""
    low_visibility: int | None = None
    """Level of objects that `/visible` protocols ignore; None for a format that has none."""

    def __post_init__(self) -> None:
        for names, known in ((self.classes, OBJECT_CLASSES), (self.kinds, OBJECT_KINDS)):
            if unknown := [name for name in names if name not in known]:
                raise ValueError(f"expected names among {', '.join(known)}, got {', '.join(unknown)}")


@runtime_checkable
class LayerMap(Protocol):
    """A map of one place, from which layers can be drawn."""

    def draw(
        self, layer: str, cells_from_global: Float64[ndarray, "3 3"], shape: tuple[int, int]
    ) -> Bool[ndarray, "X Y"]:
        """Return the cells that a layer covers.

        Args:
            layer: One of `occfeat.data.maps.masks.LAYERS`.
            cells_from_global: Takes (x, y, 1) in metres to cells of the grid, the corner of cell (0, 0) at 0.
            shape: Number of cells along x and y.
        """


class DataSource(ABC):
    """One data set on disk, read in its own format.

    A source holds nothing but its root and version. It is pickled with the index to the processes that load
    samples, so its class must be importable there.

    Args:
        root: The data folder, to which all file names are relative.
        version: Folder in it that holds the tables; empty if they lie in the data folder itself.
    """

    name: ClassVar[str]
    """Name of the format; the index keeps it."""
    taxonomy: ClassVar[Taxonomy]
    """What category names and visibility levels mean."""
    record: ClassVar[str] = "record"
    """What the tokens of images and sweeps name, in messages such as `record TOKEN`."""
    optional_files: ClassVar[frozenset[str]] = frozenset()
    """Names in `files` without which an index can be made; caches stay valid when these change."""

    def __init__(self, root: Path, version: str) -> None:
        self.root, self.version = root, version

    @property
    def folder(self) -> Path:
        """Folder of the tables, where the index is written if it can be."""
        return self.root / self.version

    @property
    def title(self) -> str:
        """What messages call the set: its version, or the name of the format."""
        return self.version or self.name

    @classmethod
    @abstractmethod
    def versions(cls, root: Path) -> Sequence[str]:
        """Return the versions of this format that a data folder holds, going by the names of files.

        An empty text stands for the data folder itself. Nothing is returned for another format.

        Raises:
            OSError: The folder cannot be read.
        """

    @classmethod
    def advice(cls, root: Path) -> str:
        """Return what to do about a folder that holds no version; empty if there is nothing to say."""
        return ""

    @abstractmethod
    def files(self) -> dict[str, Path]:
        """Return the files whose change makes an index stale, by name; optional ones only if present."""

    @abstractmethod
    def splits(self) -> dict[str, tuple[str, ...]]:
        """Return the names of the scenes of each split, in their order.

        Raises:
            DatasetError: They cannot be read.
        """

    @abstractmethod
    def join(self, on_bytes: Callable[[int], object]) -> Joined:
        """Read all files and join them to the neutral tables.

        Args:
            on_bytes: Called with the number of bytes just read, for a progress bar.

        Raises:
            DatasetError: A file cannot be read at all. Single wrong records become faults instead.
        """

    @abstractmethod
    def read_sweep(self, path: Path) -> Float[ndarray, "P C"]:
        """Return the points of one LiDAR file: x, y, z in metres in the sensor's frame, then anything.

        Raises:
            KeyFrameError: The file is missing or damaged.
        """

    def check_bytes(self, path: Path, size: int) -> None:
        """Refuse a LiDAR file whose size in bytes cannot be right.

        Raises:
            KeyFrameError: It is.
        """
        if size == 0:
            raise KeyFrameError(f"LiDAR file {path} is empty.")

    def read_map(self, place: Place, layers: Sequence[str]) -> LayerMap:
        """Return a map of a place that has some layers. It should be kept for the rest of the process.

        Raises:
            DatasetError: The map is damaged, or its name leads out of the data folder.
            SettingsError: There is no map that has these layers.
        """
        raise SettingsError(
            f"{', '.join(layers)}: data in the format {self.name} have no maps.",
            hint=f"Choose among the classes of objects: {', '.join(self.taxonomy.classes)}.",
        )

    def notes(self, places: Iterable[Place]) -> tuple[str, ...]:
        """Return what is worth knowing about some places, but not wrong, for `occfeat check`."""
        return ()

    def problems(self) -> Iterator[tuple[str, str]]:
        """Find what is wrong with files that the index does not need, as kind and description."""
        yield from ()

    def index_problems(self) -> Iterator[tuple[str, str]]:
        """Find what is wrong with files that the index needs; asked when none can be made."""
        yield from ()

    def hints(self) -> Mapping[str, str]:
        """Return what to do about each kind of problem that this format knows better than others."""
        return {}

    @property
    def token_file(self) -> Path:
        """File that lists the tokens of all key frames, for messages."""
        return next(iter(self.files().values()))

    def require_files(self) -> None:
        """Make sure that every file the index needs is present.

        Raises:
            DatasetError: Some are missing; all are named.
        """
        needed = [path for name, path in self.files().items() if name not in self.optional_files]
        if missing := [path.name for path in needed if not path.is_file()]:
            raise DatasetError(
                f"{len(missing)} of {len(needed)} files that the index needs are missing in {self.folder}.",
                first=missing,
                hint=self.hints().get("missing table", ""),
            )

    def hash_files(self) -> dict[str, str]:
        """Return the hash of the content of each file whose change makes an index stale.

        Raises:
            DatasetError: One cannot be read.
        """
        return {name: hash_file(path) for name, path in self.files().items()}


def new_hash() -> "hashlib.blake2b":
    """Return the hash that tells files apart by their content, of nothing yet."""
    return hashlib.blake2b(digest_size=16)


def hash_file(path: Path) -> str:
    """Return the hash of the content of a file.

    Raises:
        DatasetError: It cannot be read.
    """
    digest = new_hash()
    try:
        with path.open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
    return digest.hexdigest()

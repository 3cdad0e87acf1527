"""Data sources: everything specific to one format of recorded drives.

Index, check, labels, maps, metrics and analysis access a data set only through its `DataSource`. To support
another format, derive a class and call `occfeat.data.formats.sources.register_source`. This module imports
no torch.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Bool, Float64
from numpy import ndarray

from occfeat.data.source.place import Place
from occfeat.data.source.sweep import Sweep
from occfeat.data.source.tables import Joined
from occfeat.errors import DatasetError, KeyFrameError, SettingsError

OBJECT_CLASSES = ("vehicle", "pedestrian")
"""Object classes that can be segmented."""

OBJECT_KINDS = ("car", "truck", "bus", "trailer", "two-wheeler", "pedestrian", "barrier")
"""Kinds of objects that the analysis of a pretrained network distinguishes."""


Footprint = tuple[tuple[float, float], tuple[float, float]]
"""Back right and front left corner of a car, as (x, y) in metres of its ego frame."""


@dataclass(frozen=True)
class Taxonomy:
    """Meaning of the category names and visibility levels of a format.

    A category belongs to a class or kind if its name starts with one of the prefixes given for it.
    """

    classes: Mapping[str, tuple[str, ...]]
    """Prefixes of the category names of each available class of `OBJECT_CLASSES`."""
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Prefixes of the category names of each available kind of `OBJECT_KINDS`."""
    others: tuple[str, ...] = ()
    """Prefixes of further category names that the format knows and that belong to no class."""
    named: Mapping[str, str] = field(default_factory=dict)
    """Class of some categories by their whole name, above the prefixes; from `labels.categories`."""
    low_visibility: int | None = None
    """Visibility level that `/visible` protocols ignore; None if the format has none."""

    @property
    def has_visibility(self) -> bool:
        """Whether the format has visibility levels."""
        return self.low_visibility is not None

    def class_of(self, category: str) -> str | None:
        """Return the class that a category belongs to, if any."""
        if category in self.named:
            return self.named[category]
        found = (name for name, prefixes in self.classes.items() if category.startswith(prefixes))
        return next(found, None)

    def knows(self, category: str) -> bool:
        """Return whether a category belongs to a class or kind, or is known to belong to none."""
        prefixes = (*self.others, *chain.from_iterable(self.kinds.values()))
        return self.class_of(category) is not None or category.startswith(prefixes)

    def __post_init__(self) -> None:
        for names, known in ((self.classes, OBJECT_CLASSES), (self.kinds, OBJECT_KINDS)):
            if unknown := [name for name in names if name not in known]:
                raise ValueError(f"expected names among {', '.join(known)}, got {', '.join(unknown)}")


@runtime_checkable
class LayerMap(Protocol):
    """A map of one place with layers that can be drawn."""

    def draw(
        self, layer: str, cells_from_global: Float64[ndarray, "3 3"], shape: tuple[int, int]
    ) -> Bool[ndarray, "X Y"]:
        """Return a mask of the cells that a layer covers.

        Args:
            layer: One of `occfeat.data.maps.masks.LAYERS`.
            cells_from_global: Matrix from (x, y, 1) in metres to cells; the corner of cell (0, 0) is at 0.
            shape: Number of cells along x and y.
        """


class DataSource(ABC):
    """One data set on disk, in its own format.

    The state of a source is its root and version. It is pickled to loader processes together with the index,
    so its class must be importable there.

    Args:
        root: The data folder, to which all file names are relative.
        version: Folder of the tables in it; empty if they are in the data folder itself.
    """

    name: ClassVar[str]
    """Name of the format, stored in the index."""
    taxonomy: ClassVar[Taxonomy]
    """Meaning of category names and visibility levels."""
    record: ClassVar[str] = "record"
    """Noun for the tokens of images and sweeps, in messages such as `record TOKEN`."""
    optional_files: ClassVar[frozenset[str]] = frozenset()
    """Names in `files` that an index does not require; caches stay valid when these change."""
    extra_channels: ClassVar[frozenset[str]] = frozenset()
    """Cameras that are used only where `view.cameras` names them."""

    def __init__(self, root: Path, version: str) -> None:
        self.root, self.version = root, version

    @property
    def folder(self) -> Path:
        """Folder of the tables, to which the index is written if possible."""
        return self.root / self.version

    @property
    def title(self) -> str:
        """Name of the data set in messages: its version, or else its format."""
        return self.version or self.name

    @property
    def car_m(self) -> Footprint | None:
        """Footprint of the car that recorded the drives; None if it is not known."""
        return None

    @classmethod
    @abstractmethod
    def versions(cls, root: Path) -> Sequence[str]:
        """Return the versions of this format in a data folder, according to file names.

        An empty string means the data folder itself. The result is empty for another format.

        Raises:
            OSError: The folder cannot be read.
        """

    @classmethod
    def advice(cls, root: Path) -> str:
        """Return a hint for a folder without a version; empty if there is none."""
        return ""

    @abstractmethod
    def files(self) -> dict[str, Path]:
        """Return the files on which the index depends, by name; optional ones only if present."""

    @abstractmethod
    def splits(self) -> dict[str, tuple[str, ...]]:
        """Return the scene names of each split, in order.

        Raises:
            DatasetError: They cannot be read.
        """

    @abstractmethod
    def join(self, on_bytes: Callable[[int], object]) -> Joined:
        """Read all files and join them to the neutral tables.

        Args:
            on_bytes: Called with the number of bytes after each read, for a progress bar.

        Raises:
            DatasetError: A file cannot be read at all. Faulty records become faults instead.
        """

    @abstractmethod
    def read_sweep(self, path: Path) -> Sweep:
        """Read one LiDAR file.

        Raises:
            KeyFrameError: The file is missing or damaged.
        """

    def check_bytes(self, path: Path, size: int) -> None:
        """Refuse a LiDAR file of an impossible size.

        Raises:
            KeyFrameError: The size is impossible.
        """
        if size == 0:
            raise KeyFrameError(f"LiDAR file {path} is empty.")

    def read_map(self, place: Place, layers: Sequence[str]) -> LayerMap:
        """Return a map of a place that has some layers. It should be cached for the rest of the process.

        Raises:
            DatasetError: The map is damaged, or its name leads out of the data folder.
            SettingsError: No map has these layers.
        """
        raise SettingsError(
            f"{', '.join(layers)}: data sets in the format {self.name} have no maps.",
            hint=f"Choose object classes: {', '.join(self.taxonomy.classes)}.",
        )

    def notes(self, places: Iterable[Place]) -> tuple[str, ...]:
        """Return notes on some places for `occfeat check`, which are not problems."""
        return ()

    def problems(self) -> Iterator[tuple[str, str]]:
        """Find problems of files that the index does not need, as kind and description."""
        yield from ()

    def index_problems(self) -> Iterator[tuple[str, str]]:
        """Find problems of files that the index needs; called when no index can be built."""
        yield from ()

    def hints(self) -> Mapping[str, str]:
        """Return the hints of this format by kind of problem, in place of the defaults."""
        return {}

    @property
    def token_file(self) -> Path:
        """File that lists the tokens of all key frames, for messages."""
        return next(iter(self.files().values()))

    def require_files(self) -> None:
        """Check that every file the index needs is present.

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
        """Return the hash of each file on which the index depends.

        Raises:
            DatasetError: One cannot be read.
        """
        return {name: hash_file(path) for name, path in self.files().items()}


def new_hash() -> "hashlib.blake2b":
    """Return an empty hash object for the contents of files."""
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

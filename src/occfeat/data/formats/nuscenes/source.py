"""The nuScenes format as a data source. This module imports no torch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from occfeat.data.formats.nuscenes.dialect import NUIMAGES, NUSCENES, Dialect, dialect_of, has_tables
from occfeat.data.formats.nuscenes.join import join
from occfeat.data.formats.nuscenes.json_tables import read_table
from occfeat.data.formats.nuscenes.splits import read_splits
from occfeat.data.formats.nuscenes.tables import NEEDED_TABLES, OTHER_TABLES, PLACE_TABLES, Tables, repeated
from occfeat.data.formats.points.files import check_points_file, read_points_file
from occfeat.data.formats.points.floats import WIDTHS
from occfeat.data.source.place import Place
from occfeat.data.source.source import DataSource, Footprint, LayerMap, Taxonomy
from occfeat.data.source.sweep import Sweep
from occfeat.data.source.tables import Joined
from occfeat.errors import DatasetError

_ARCHIVES = {
    "v1.0-trainval": ("v1.0-trainval01_blobs_lidar to v1.0-trainval10_blobs_lidar", "..._blobs_camera"),
    "v1.0-test": ("v1.0-test_blobs_lidar", "v1.0-test_blobs_camera"),
    "v1.0-mini": ("v1.0-mini", "v1.0-mini"),
}
"""LiDAR and camera archives of each official version."""

ZOE_M = ((-0.657, -0.865), (3.427, 0.865))
"""Footprint of nuScenes' Renault Zoe. The origin is the middle of its rear axle."""

_HINTS = {
    "missing table": "Extract the metadata archive again ({meta}).",
    "unreadable table": "Extract the metadata archive again ({meta}).",
    "dangling token": "Tables of different versions may be mixed: extract {meta} again.",
    "impossible token": "Correct the record, or extract {meta} again.",
    "impossible pose": "Correct the record, or extract {meta} again.",
    "record left out": "Correct the record, or extract {meta} again. What refers to it is left out, too.",
    "box left out": "Correct the record, or extract {meta} again. The other boxes are used.",
    "singular intrinsics": "Correct the record, or extract {meta} again.",
    "missing LiDAR file": "Extract the LiDAR archives ({lidar}) into {root}. Fine-tuning and evaluation work "
    "without them.",
    "missing image": "Extract the camera archives ({camera}) into {root}.",
    "damaged LiDAR file": "Extract it again from the LiDAR archives ({lidar}).",
    "damaged image": "Extract it again from the camera archives ({camera}).",
    "image of another size": "The tables belong to other images: extract {meta} and the camera archives "
    "({camera}) again.",
    "duplicate record": "Remove one of them, or extract {meta} again.",
    "no key frames": "Give another version, or extract {meta} again.",
}
"""Hints for problems of an official version."""


class NuScenes(DataSource):
    """A folder in nuScenes format: `VERSION/*.json` and the files that these tables name."""

    name = "nuscenes"
    taxonomy = Taxonomy(
        classes={"vehicle": ("vehicle.",), "pedestrian": ("human.pedestrian",)},
        kinds={
            "car": ("vehicle.car", "vehicle.emergency.police"),
            "truck": ("vehicle.truck", "vehicle.construction", "vehicle.emergency.ambulance"),
            "bus": ("vehicle.bus",),
            "trailer": ("vehicle.trailer",),
            "two-wheeler": ("vehicle.bicycle", "vehicle.motorcycle"),
            "pedestrian": ("human.pedestrian",),
            "barrier": ("movable_object.barrier", "movable_object.trafficcone"),
        },
        others=("animal", "human.", "movable_object.", "static_object.", "vehicle."),
        low_visibility=1,  # 0-40 %
    )
    record = "sample_data"
    optional_files = frozenset((*PLACE_TABLES, "visibility"))
    needed_tables: ClassVar[tuple[str, ...]] = NEEDED_TABLES
    """Tables that the index is built from."""
    other_tables: ClassVar[tuple[str, ...]] = OTHER_TABLES
    """Further tables of a complete data set."""
    widths: ClassVar[tuple[int, ...]] = WIDTHS
    """Possible numbers of float32 per return of `.bin` files."""

    @property
    def dialect(self) -> Dialect:
        """How the tables differ from nuScenes."""
        return NUSCENES

    @classmethod
    def versions(cls, root: Path) -> Sequence[str]:
        """Return the names of the folders with at least one table, unless they are of another dialect."""
        folders = (folder for folder in root.iterdir() if folder.is_dir() and has_tables(folder))
        return sorted(folder.name for folder in folders if dialect_of(folder) == cls.name)

    @classmethod
    def advice(cls, root: Path) -> str:
        """Return a hint which folder to give."""
        inside = (folder for folder in root.iterdir() if folder.is_dir())
        if any(dialect_of(folder) == NUIMAGES for folder in (root, *inside)):
            return (
                "It contains nuImages: single images with boxes in them, without LiDAR, scenes and boxes "
                "in space. OccFeat learns from drives, such as nuScenes'."
            )
        if has_tables(root):
            return f"It contains nuScenes tables itself: give its parent folder, {root.parent}."
        return "For nuScenes, give the folder of `v1.0-trainval` (or another version), `samples` etc."

    def files(self) -> dict[str, Path]:
        """Return the tables that the index is built from; optional ones only if present."""
        needed = {name: self._table(name) for name in self.needed_tables}
        optional = (*PLACE_TABLES, *(("visibility",) if self.dialect.has_visibility else ()))
        return needed | {name: path for name in optional if (path := self._table(name)).is_file()}

    def splits(self) -> dict[str, tuple[str, ...]]:
        """Return the splits of `splits.json`, or the official ones."""
        return read_splits(self.root, self.version)

    def join(self, on_bytes: Callable[[int], object]) -> Joined:
        """Read and join the tables."""
        return join(self.folder, on_bytes, self.dialect)

    def read_sweep(self, path: Path) -> Sweep:
        """Return the content of a LiDAR file, by its ending."""
        return read_points_file(path, self.widths)

    def check_bytes(self, path: Path, size: int) -> None:
        """Refuse a LiDAR file of an impossible size."""
        check_points_file(path, size, self.widths)

    def read_map(self, place: Place, layers: Sequence[str]) -> LayerMap:
        """Return the map expansion of a place, or its base map if that is sufficient."""
        from occfeat.data.formats.nuscenes.maps import read_map

        return read_map(self.root, self.folder, place, layers)

    def notes(self, places: Iterable[Place]) -> tuple[str, ...]:
        """Return a note on places without a map expansion."""
        from occfeat.data.formats.nuscenes.maps import without_expansion

        if not (mapless := without_expansion(self.root, places)):
            return ()
        named = ", ".join(mapless)
        return (f"{named} without a map expansion: drivable_area is the only map layer there.",)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Find problems of tables that a complete data set has but this package does not need."""
        yield from self._table_problems(self.other_tables)
        for name in self.other_tables:
            if name not in self.files() and self._table(name).is_file():
                yield from self._repeated_records(name)

    def index_problems(self) -> Iterator[tuple[str, str]]:
        """Find required tables that are missing or not JSON."""
        yield from self._table_problems(self.needed_tables)

    def hints(self) -> Mapping[str, str]:
        """Return which official archive to extract again; nothing for other data sets."""
        if self.version not in _ARCHIVES:
            return {}
        lidars, cameras = _ARCHIVES[self.version]
        words = {"root": self.root, "meta": f"{self.version}_meta", "lidar": lidars, "camera": cameras}
        return {kind: hint.format(**words) for kind, hint in _HINTS.items()}

    @property
    def car_m(self) -> Footprint | None:
        """Footprint of nuScenes' car, for official versions."""
        return ZOE_M if self.version in _ARCHIVES else None

    @property
    def token_file(self) -> Path:
        """The table of key frames."""
        return self._table("sample")

    def _table(self, name: str) -> Path:
        """Return the file of a table."""
        return self.folder / f"{name}.json"

    def _repeated_records(self, name: str) -> Iterator[tuple[str, str]]:
        """Find the tokens that a table has more than once."""
        tables = Tables(self.folder, on_bytes=lambda count: None)
        try:
            tables.records(name)
        except DatasetError:
            return
        for token, differ in tables.repeated[name].items():
            fault = repeated(name, token, differ)
            yield fault.kind, fault.message

    def _table_problems(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Find tables that are missing or not JSON."""
        for path in map(self._table, names):
            try:
                for _ in read_table(path):
                    pass
            except DatasetError as error:
                yield "unreadable table" if path.is_file() else "missing table", error.message

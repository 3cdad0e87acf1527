"""The index: the content of a data set's tables, in one memory-mapped file that opens in milliseconds.

It is built on first use and written beside the tables, or to a cache folder if that is read-only. It is
rebuilt when its layout or the tables have changed. This module imports no torch, which keeps processes that
only open an index small.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from operator import index
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Int64
from numpy import ndarray

from occfeat.data.formats.sources import find_source
from occfeat.data.index.arrow import SCHEMA_VERSION as INDEX_SCHEMA_VERSION
from occfeat.data.index.index_file import blaming, map_index, open_or_build
from occfeat.data.source.paths import is_plain_name, resolve
from occfeat.data.source.place import Place
from occfeat.data.source.source import DataSource
from occfeat.data.source.splits import ALL
from occfeat.errors import DatasetError, KeyFrameError, SettingsError
from occfeat.settings.sections import DataConfig

if TYPE_CHECKING:
    from occfeat.data.keyframe import EgoPath, KeyFrame, SweepRecord

__all__ = ["INDEX_SCHEMA_VERSION", "Index"]

_log = logging.getLogger(__name__)

NO_CATEGORIES: Mapping[str, str] = MappingProxyType({})
FIRST_TOKENS = 3
"""Number of tokens that an error shows as examples."""


class Index:
    """Key frames of a data set, by row: scenes in the order of the tables, key frames by time.

    Only the pages that are read are in memory, and all processes share them. A pickled index opens the same
    file again.
    """

    def __init__(self, file: Path, source: DataSource, categories: Mapping[str, str] = NO_CATEGORIES) -> None:
        """Map a file that is known to be current; use `open` instead."""
        self.file = file
        self.source = source
        self.taxonomy = replace(source.taxonomy, named=dict(categories))
        self._table, self.metadata = map_index(file)
        with blaming(source, "cannot read its splits", "Restore the files if they are damaged."):
            self._splits = source.splits()

    @classmethod
    def open(cls, data: DataConfig, *, rebuild: bool = False) -> "Index":
        """Open the index of a data folder; build it first if it is missing or stale.

        Args:
            data: The folder, and the version if it contains several.
            rebuild: Build it even if it is current.

        Raises:
            DatasetError: The folder or a table is missing or damaged, or the index cannot be written.
            SettingsError: The folder contains several versions and none was chosen.
        """
        source = find_source(data.root, data.version)
        return cls(open_or_build(source, rebuild=rebuild), source, data.categories)

    def __reduce__(self) -> tuple[object, ...]:
        return _reopen, (self.file, self.source, self.fingerprint, self.taxonomy.named)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def root(self) -> Path:
        """The data folder."""
        return self.source.root

    @property
    def version(self) -> str:
        """Folder of the tables, relative to the data folder; empty if it is the data folder itself."""
        return self.source.version

    @property
    def fingerprint(self) -> str:
        """Hash of the contents of the tables, the same for every copy of a data set."""
        return self.metadata.fingerprint

    @property
    def channels(self) -> tuple[str, ...]:
        """All cameras of the data set, clockwise from the front."""
        return self.metadata.channels

    @property
    def default_channels(self) -> tuple[str, ...]:
        """The cameras that are used where `view.cameras` names none."""
        return tuple(name for name in self.channels if name not in self.source.extra_channels)

    @property
    def lidars(self) -> tuple[str, ...]:
        """All LiDARs of the data set, the reference first."""
        return self.metadata.lidars

    def require_poses(self, rows: Int64[ndarray, " n"], *, setting: str) -> None:
        """Refuse to join sweeps of key frames whose ego poses are not known.

        Args:
            rows: The key frames.
            setting: What asks for other sweeps than their own, such as `view.sweeps=4`.

        Raises:
            SettingsError: There are such key frames.
        """
        if lost := int((~self.has_poses(rows)).sum()):
            hint = f"Leave out {setting}, or leave their scenes out of the split."
            what = f"The ego poses of {lost} key frames are not known: their sweeps cannot be joined."
            raise SettingsError(what, hint=hint)

    def has_poses(self, rows: Int64[ndarray, " n"]) -> Bool[ndarray, " n"]:
        """Return a mask of the key frames whose ego poses are known."""
        known = np.array([place.has_poses for place in self.metadata.places], dtype=bool)
        mask: ndarray = known[self._scene_numbers()[rows]]
        return mask

    def require_lidars(self, names: Iterable[str]) -> None:
        """Refuse LiDARs that the data set does not have.

        Raises:
            SettingsError: Some do not exist.
        """
        if unknown := [name for name in names if name not in self.lidars]:
            hint = f"LiDARs of the data set: {', '.join(self.lidars) or 'none'}."
            raise SettingsError(f"The data set has no LiDAR {', '.join(unknown)}.", hint=hint)

    def splits(self) -> tuple[str, ...]:
        """Return the splits that have at least one key frame in this data set."""
        present = self._present_scenes()
        return tuple(split for split, scenes in self._splits.items() if not present.keys().isdisjoint(scenes))

    def rows(self, split: str) -> Int64[ndarray, " n"]:
        """Return the key frames of a split: scenes in the split's order, key frames by time.

        `all` means every key frame.

        Raises:
            SettingsError: The split does not exist or has no key frames in this data set.
            DatasetError: The data set has no key frames.
        """
        if len(self) == 0:
            hint = "Choose another version, or restore the tables."
            raise DatasetError(f"{self.source.folder} contains no key frames.", hint=hint)
        if split == ALL:
            return np.arange(len(self), dtype=np.int64)
        known = self.splits()
        if split not in known:
            raise SettingsError(
                f"Split {split!r} has no key frames in {self.source.folder}.",
                hint=f"Splits with key frames: {', '.join((*known, ALL))}."
                + ("" if known else " Name the scenes of each split in a splits.json beside the tables."),
            )
        numbers, total = self._present_scenes(), len(self._splits[split])
        present = [numbers[name] for name in self._splits[split] if name in numbers]
        if len(present) < total:
            _log.info("Split %s: %d of its %d scenes are in this data set.", split, len(present), total)
        scene = self._scene_numbers()
        bounds = [np.searchsorted(scene, (one, one + 1)) for of_name in present for one in of_name]
        return np.concatenate([np.arange(begin, end, dtype=np.int64) for begin, end in bounds])

    def scene_of(self, rows: Int64[ndarray, " n"]) -> ndarray:
        """Return the scene name of each of some key frames."""
        names: ndarray = np.array(self.metadata.scenes)[self._scene_numbers()[rows]]
        return names

    def places(self, rows: Int64[ndarray, " n"]) -> tuple[Place, ...]:
        """Return the places where some key frames were recorded, without duplicates."""
        numbers = np.unique(self._scene_numbers()[rows])
        return tuple(dict.fromkeys(self.metadata.places[number] for number in numbers))

    def first_of_scene(self, rows: Int64[ndarray, " n"]) -> Int64[ndarray, " n"]:
        """Return the first key frame of each key frame's scene."""
        scene = self._scene_numbers()
        first: ndarray = np.searchsorted(scene, scene[rows])
        return first

    def token(self, row: SupportsIndex) -> str:
        """Return the token of a key frame."""
        return str(self._table["token"][index(row)])

    def row_of(self, token: str) -> int:
        """Return the row of a key frame.

        Raises:
            DatasetError: The key frame does not exist; the hint gives examples.
        """
        row = pc.index(self._table["token"], token).as_py()
        if row < 0:
            first = self._table["token"][:FIRST_TOKENS].to_pylist()
            hint = f"The first tokens are {', '.join(first)}; {self.source.token_file} lists all."
            raise DatasetError(f"There is no key frame {token!r} in {self.source.folder}.", hint=hint)
        return int(row)

    def timestamp_us(self, row: SupportsIndex) -> int:
        """Return the time of a key frame."""
        return int(self._table["timestamp_us"][index(row)].as_py())

    def has_lidar_file(self, row: SupportsIndex) -> bool:
        """Return whether a key frame has LiDAR records whose files exist."""
        sweeps = self.key_frame(row).sweeps
        try:
            return bool(sweeps) and all(resolve(self.root, sweep.path).is_file() for sweep in sweeps)
        except KeyFrameError:
            return False

    def column(self, name: str) -> pa.Array:
        """Return a column of the memory-mapped table, see `arrow.assemble`."""
        chunks = self._table[name]
        return chunks.chunk(0) if chunks.num_chunks else pa.array([], chunks.type)

    def count_categories(self, rows: Int64[ndarray, " n"]) -> dict[str, int]:
        """Return the number of annotated boxes of each category in some key frames, without those of none."""
        numbers = self._of_boxes("category", rows)
        counts = np.bincount(numbers, minlength=len(self.metadata.categories)).tolist()
        return {name: n for name, n in zip(self.metadata.categories, counts, strict=True) if n}

    def count_unknown_visibility(self, rows: Int64[ndarray, " n"]) -> int:
        """Return the number of annotated boxes in some key frames whose visibility is not known."""
        return int((self._of_boxes("visibility", rows) == 0).sum())

    def knows_motion(self, rows: Int64[ndarray, " n"]) -> bool:
        """Return whether the speed of any annotated box in some key frames is known, or there is no box."""
        speed_mps = self._of_boxes("speed_mps", rows)
        return len(speed_mps) == 0 or bool(np.isfinite(speed_mps).any())

    def _of_boxes(self, name: str, rows: Int64[ndarray, " n"]) -> ndarray:
        """Return a number of each annotated box in some key frames, in the order of the index."""
        numbers: ndarray = self.column("boxes").values.field(name).to_numpy()[self.entries("boxes", rows)]
        return numbers

    def entries(self, name: str, rows: Int64[ndarray, " n"]) -> Bool[ndarray, " entries"]:
        """Return a mask of the entries of a column of lists that belong to some key frames."""
        count = np.diff(self.column(name).offsets.to_numpy())
        chosen = np.zeros(len(count), dtype=bool)
        chosen[rows] = True
        return np.repeat(chosen, count)

    def faults_of(self, row: SupportsIndex) -> list[tuple[str, str]]:
        """Return (kind, message) of every fault of a key frame in the tables."""
        return [(fault["kind"], fault["message"]) for fault in self.column("faults")[index(row)].as_py()]

    def key_frame(self, row: SupportsIndex, *, sweeps: int = 1, lidars: tuple[str, ...] = ()) -> "KeyFrame":
        """Return a key frame: its cameras, sweeps and boxes.

        Args:
            row: Its row.
            sweeps: Largest number of sweeps of each LiDAR: the key frame's own and earlier ones of the scene.
            lidars: LiDARs whose sweeps are returned. Empty: all.

        Raises:
            KeyFrameError: The tables have faults that make it unusable.
        """
        row = index(row)
        self._require_usable(row)
        from occfeat.data.index.reading import read_key_frame

        first = int(self.first_of_scene(np.array([row]))[0])
        return read_key_frame(
            self._table, self.metadata, row, first_of_scene=first, sweeps=sweeps, lidars=lidars
        )

    def sweeps_within(
        self, row: SupportsIndex, window_s: float, lidars: tuple[str, ...] = ()
    ) -> tuple["SweepRecord", ...]:
        """Return the sweeps of a key frame's scene near it in time, past and future, ordered by time.

        The key frame's own sweeps and those of its neighbours are among them. Sweeps after the last key frame
        of a scene are not in the index.

        Args:
            row: Its row.
            window_s: Largest distance in time from the key frame, in seconds.
            lidars: LiDARs whose sweeps are returned. Empty: all.

        Raises:
            KeyFrameError: The tables have faults that make the key frame unusable.
            SettingsError: Its ego pose is not known.
        """
        row = index(row)
        self._require_usable(row)
        self.require_poses(np.array([row]), setting="the window of sweeps")
        from occfeat.data.index.reading import read_sweeps_within

        return read_sweeps_within(
            self._table,
            self.metadata,
            row,
            scene_rows=self._rows_of_scene(row),
            window_us=round(window_s * 1e6),
            lidars=lidars,
        )

    def _require_usable(self, row: int) -> None:
        """Refuse a row that does not exist or whose records are faulty."""
        if not 0 <= row < len(self):
            raise IndexError(f"expected a row below {len(self)}, got {row}")
        if faults := self.faults_of(row):
            raise KeyFrameError(
                f"Key frame {self._table['token'][row]} cannot be used: its records are faulty.",
                first=[message for _, message in faults[:3]],
                hint=f"Run `occfeat check` on {self.root} for a list of all faults.",
            )
        if not is_plain_name(self.token(row)):  # the tables were checked, but the index file may be anyone's
            raise KeyFrameError(f"Key frame {self.token(row)!r} of {self.root} cannot name a file.")

    def path(self, row: SupportsIndex, window_s: float) -> "EgoPath":
        """Return the poses of the car in a key frame's scene near it in time, in its ego frame.

        They are those of the key frames and of the sweeps between them, each time once.

        Args:
            row: Its row.
            window_s: Largest distance in time from the key frame, in seconds.

        Raises:
            SettingsError: The ego poses of its scene are not known.
        """
        row = index(row)
        self.require_poses(np.array([row]), setting="the path of the car")
        from occfeat.data.index.reading import read_path

        return read_path(
            self._table, row, scene_rows=self._rows_of_scene(row), window_us=round(window_s * 1e6)
        )

    def rows_within(self, row: SupportsIndex, window_s: float) -> tuple[int, ...]:
        """Return the key frames of a key frame's scene near it in time: itself, then the others by time.

        Args:
            row: Its row.
            window_s: Largest distance in time from the key frame, in seconds.
        """
        row = index(row)
        begin, end = self._rows_of_scene(row)
        time_us = self.column("timestamp_us").slice(begin, end - begin).to_numpy()
        near = begin + np.flatnonzero(np.abs(time_us - time_us[row - begin]) <= round(window_s * 1e6))
        return (row, *(int(other) for other in near if other != row))

    def _rows_of_scene(self, row: int) -> tuple[int, int]:
        """Return the first row of a key frame's scene, and the one after its last."""
        scene = self._scene_numbers()
        begin, end = np.searchsorted(scene, (scene[row], scene[row] + 1))
        return int(begin), int(end)

    def scenes_of(self, split: str) -> frozenset[str]:
        """Return the names of the scenes of a split that have key frames; nothing for an unknown split."""
        return frozenset(self._splits.get(split, ())).intersection(self._present_scenes())

    def _present_scenes(self) -> dict[str, list[int]]:
        """Return the numbers of the scenes that have key frames, by name, of which two may share one."""
        numbers: dict[str, list[int]] = {}
        for number in np.unique(self._scene_numbers()).tolist():
            numbers.setdefault(self.metadata.scenes[number], []).append(number)
        return numbers

    def _scene_numbers(self) -> ndarray:
        """Return the scene number of every key frame."""
        numbers: ndarray = self.column("scene").to_numpy()
        return numbers


def _reopen(file: Path, source: DataSource, fingerprint: str, categories: Mapping[str, str]) -> Index:
    """Reopen an index in another process."""
    opened = Index(file, source, categories)
    if opened.fingerprint != fingerprint:
        raise DatasetError(f"The index {file} was rebuilt while it was in use.", hint="Start again.")
    return opened

"""One component of a segment: a parquet file, read with bounded memory.

Source: class and column names of `waymo_open_dataset.v2`.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Int64
from numpy import ndarray

from occfeat.data.recordings.waymo.rows import Rows
from occfeat.errors import DatasetError

CLASSES = {
    "vehicle_pose": "VehiclePoseComponent",
    "camera_image": "CameraImageComponent",
    "camera_calibration": "CameraCalibrationComponent",
    "camera_hkp": "CameraHumanKeypointsComponent",
    "lidar": "LiDARComponent",
    "lidar_calibration": "LiDARCalibrationComponent",
    "lidar_pose": "LiDARPoseComponent",
    "lidar_box": "LiDARBoxComponent",
    "stats": "StatsComponent",
}
"""Class of each component that is read; it stands in front of its columns."""
TIME = "key.frame_timestamp_micros"
SEGMENT = "key.segment_context_name"

MAX_ROWS = 1_000_000
"""Largest number of rows; a segment of 20 s has about 20 000 boxes."""
MAX_VALUES = 16_000_000
"""Largest mean number of values of a column per row; poses of the largest range image are 12 million."""
BATCH_ROWS = 1
"""Rows that are decoded together; a row is an image, or a range image of 5 MB."""
BUFFER_BYTES = 1 << 20


class Component:
    """A component of a segment.

    Args:
        path: Its file, named like the segment.
        tag: Its kind, one of `CLASSES`.

    Raises:
        DatasetError: It is not a parquet file, or belongs to another segment.
    """

    def __init__(self, path: Path, tag: str) -> None:
        self.path, self.tag = path, tag
        with _readable(path):
            self._file = pq.ParquetFile(path, buffer_size=BUFFER_BYTES)
            self._columns = frozenset(self._file.schema_arrow.names)
            paths = [self._file.schema.column(i).path for i in range(self._file.metadata.num_columns)]
            self._owners = [_owner_of(path, self._columns) for path in paths]
            groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._group_ends = np.cumsum([0, *groups])
        if (
            not 0 <= self._file.metadata.num_rows == self._group_ends[-1] <= MAX_ROWS
            or min(groups, default=0) < 0
        ):
            what = f"{path}: expected up to {MAX_ROWS:,} rows, got {self._file.metadata.num_rows:,}."
            raise DatasetError(what, hint="Download the file again.")
        self._require_segment()

    def read(self, names: Sequence[str]) -> Rows:
        """Return some columns of all rows; only for components without images and range images.

        Raises:
            DatasetError: A column is missing, or the file is damaged.
        """
        groups = list(range(self._file.num_row_groups))
        with _readable(self.path):
            for group in groups:
                next(self._batches(names, [group], BATCH_ROWS), None)  # refuses what would not fit
            batches = list(self._batches(names, groups, MAX_ROWS))
            if not batches:
                raise DatasetError(f"{self.path} has no rows.", hint="Download the file again.")
            return Rows(pa.concat_batches(batches), str(self.path))

    def times_us(self) -> Int64[ndarray, " n"]:
        """Return the time of the frame of each row."""
        return self.read((TIME,)).integers(TIME)

    def frames(
        self, names: Sequence[str], sensor: str, times_us: Int64[ndarray, " t"]
    ) -> Iterator[tuple[int, Iterator[Rows]]]:
        """Yield the rows of each frame in order of time.

        A row is decoded when it is asked for, and those of a frame can be asked for until the next frame is.
        Who makes something else of each row at once therefore finds it in the processor's cache.
        Rows are read in the order of the file. If that is not the order of time, the rows of each sensor are
        read on their own.

        Args:
            names: Columns.
            sensor: Key that names the sensor of a row.
            times_us: The frames to read.

        Raises:
            DatasetError: A column is missing, the rows of a sensor are out of order, or the file is damaged.
        """
        keys = self.read((TIME, sensor))
        time_us, wanted = keys.integers(TIME), np.isin(keys.integers(TIME), times_us)
        masks = [wanted]
        if (np.diff(time_us[wanted]) < 0).any():
            owners = np.array(keys.texts(sensor))
            masks = [wanted & (owners == owner) for owner in np.unique(owners)]
        if any((np.diff(time_us[mask]) < 0).any() for mask in masks):
            raise DatasetError(f"{self.path}: the rows of one sensor are not in order of time.")
        rows = heapq.merge(*(self._rows(names, mask, time_us) for mask in masks), key=itemgetter(0))
        for frame_us, group in groupby(rows, key=itemgetter(0)):
            yield frame_us, (row for _, row in group)

    def _rows(
        self, names: Sequence[str], mask: Bool[ndarray, " n"], time_us: Int64[ndarray, " n"]
    ) -> Iterator[tuple[int, Rows]]:
        """Yield time and content of the rows of a mask, in the order of the file."""
        spans = list(zip(self._group_ends[:-1], self._group_ends[1:], strict=True))
        groups = [i for i, (start, end) in enumerate(spans) if mask[start:end].any()]
        order = np.concatenate([np.arange(*spans[i]) for i in groups]) if groups else np.zeros(0, dtype=int)
        done = 0
        batches = self._batches(names, groups, BATCH_ROWS)
        while True:
            with _readable(self.path):
                batch = next(batches, None)
            if batch is None:
                break
            for i, row in enumerate(order[done : done + batch.num_rows]):
                if mask[row]:
                    yield int(time_us[row]), Rows(batch.slice(i, 1), str(self.path))
            done += batch.num_rows

    def _batches(self, names: Sequence[str], groups: list[int], size: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of some row groups; their columns have the given names."""
        full = [name if name.startswith("key.") else f"[{CLASSES[self.tag]}].{name}" for name in names]
        if missing := [name for name in full if name not in self._columns]:
            hint = f"Expected the component {self.tag} of Waymo Open Dataset v2: download it again."
            raise DatasetError(f"{self.path} has {len(missing)} columns too few.", first=missing, hint=hint)
        ends, done = np.cumsum(np.diff(self._group_ends)[groups]), 0
        for batch in self._file.iter_batches(size, groups, full, use_threads=False):
            done += batch.num_rows
            reached = min(int(np.searchsorted(ends, done)), len(groups) - 1)
            self._require_plausible(groups[reached], full)
            yield batch.select(full).rename_columns(list(names))

    def _require_plausible(self, number: int, names: list[str]) -> None:
        """Refuse a row group with an absurd number of values, which would not fit into memory.

        Only once a row has been read: that turns damaged metadata of its columns into an error. Looking at
        them before ends the process, because pyarrow does not catch what its C++ throws there.
        """
        group = self._file.metadata.row_group(number)
        columns = (group.column(i) for i in range(group.num_columns) if self._owners[i] in names)
        values = max((column.num_values for column in columns), default=0)
        if values > MAX_VALUES * group.num_rows:
            what = f"{self.path}: expected up to {MAX_VALUES:,} values per row, got {values:,}"
            raise DatasetError(f"{what} in {group.num_rows:,} rows.", hint="Download the file again.")

    def _require_segment(self) -> None:
        """Refuse rows of another segment than the one that the file is named after."""
        if others := sorted(set(self.read((SEGMENT,)).texts(SEGMENT)) - {self.path.stem}):
            hint = "Components of different segments are mixed: download the file again."
            raise DatasetError(f"{self.path} has rows of other segments.", first=others[:10], hint=hint)


def _owner_of(path: str, columns: Iterable[str]) -> str:
    """Return the column to which a leaf of the schema belongs; lists have leaves below them."""
    return next((name for name in columns if path == name or path.startswith(f"{name}.")), "")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn errors of pyarrow into errors that name the file."""
    try:
        yield
    except DatasetError:
        raise
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{path} cannot be read: {what}.", hint="Download the file again.") from error

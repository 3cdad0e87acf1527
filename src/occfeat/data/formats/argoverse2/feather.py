"""Read feather files: Arrow's IPC files, whose columns may be compressed with LZ4 or Zstandard.

Arrow trusts the files that it maps. Every table is therefore validated before its values are used.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64
from numpy import ndarray

from occfeat.errors import DatasetError

MAX_BYTES = 500_000_000
"""Largest size of a file in bytes; the annotations of a log have 600 kB and a sweep has 1 MB."""

_IS = {
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "integer": pa.types.is_integer,
    "number": lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
}
"""What each kind of column may hold."""

Kinds = Mapping[str, str]
"""The kind of each column by its name: `text`, `integer` or `number`."""


def read_table(path: Path, kinds: Kinds) -> pa.Table:
    """Read some columns of a feather file.

    Args:
        path: The file, which is mapped into memory.
        kinds: The columns to read.

    Returns:
        The columns in the order of `kinds`, validated, each as one array.

    Raises:
        DatasetError: The file is missing, damaged or too large, or has other columns.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DatasetError(f"{path} has more than {MAX_BYTES:,} bytes.")
        with pa.memory_map(str(path)) as file:
            schema = pa.ipc.open_file(file).schema
            _require_columns(path, schema, kinds)
            chosen = sorted(schema.get_field_index(name) for name in kinds)
            options = pa.ipc.IpcReadOptions(included_fields=chosen)
            table = pa.ipc.open_file(file, options=options).read_all()
        table.validate(full=True)
        table = table.select(list(kinds)).combine_chunks()
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing.") from error
    except (OSError, ValueError, KeyError, MemoryError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read: {_first_line(error)}.") from error
    for name, kind in kinds.items():
        if kind != "number" and table[name].null_count:
            raise DatasetError(f"{path}: expected a value in every row of column {name}, got none in some.")
    return table


def numbers(table: pa.Table, *names: str) -> Float64[ndarray, "n k"]:
    """Return some columns as a matrix; a missing value is NaN."""
    columns = [table[name].to_numpy().astype(np.float64) for name in names]
    return np.stack(columns, axis=1).reshape(len(table), len(names))


def integers(table: pa.Table, name: str) -> Int64[ndarray, " n"]:
    """Return a column of whole numbers."""
    values: ndarray = table[name].to_numpy().astype(np.int64)
    return values


def _require_columns(path: Path, schema: pa.Schema, kinds: Kinds) -> None:
    """Refuse a file without some columns, or with columns of other types."""
    if missing := [name for name in kinds if schema.get_field_index(name) < 0]:
        found = ", ".join(schema.names[:20]) or "none"
        raise DatasetError(f"{path}: expected columns {', '.join(missing)}, got {found}.")
    for name, kind in kinds.items():
        if not _IS[kind](schema.field(name).type):
            raise DatasetError(
                f"{path}: expected column {name} of type {kind}, got {schema.field(name).type}."
            )


def _first_line(error: BaseException) -> str:
    """Return the beginning of a message; Arrow's go on for lines."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]

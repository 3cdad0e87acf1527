"""Rows of a component, and their columns as arrays.

A column is named by its path in the component, such as `pose.transform`. A key is named in full, such as
`key.camera_name`. Axes: `n` rows, `k` numbers of a row.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float64, Int64, Real
from numpy import ndarray

from occfeat.errors import DatasetError


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a component. Every method raises a DatasetError if a column holds something else."""

    table: pa.RecordBatch
    """Columns by path."""
    where: str
    """File of the rows, for messages."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def row(self, number: int) -> "Rows":
        """Return one of the rows."""
        return Rows(self.table.slice(number, 1), self.where)

    def integers(self, name: str) -> Int64[ndarray, " n"]:
        """Return a column of whole numbers."""
        column = self._complete(name)
        if not pa.types.is_integer(column.type):
            raise self._wrong(name, "whole numbers", column.type)
        return np.asarray(column.to_numpy(zero_copy_only=False)).astype(np.int64)

    def numbers(self, name: str) -> Float64[ndarray, " n"]:
        """Return a column of numbers."""
        column = self._complete(name)
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise self._wrong(name, "numbers", column.type)
        return np.asarray(column.to_numpy(zero_copy_only=False)).astype(np.float64)

    def vectors(self, name: str, width: int) -> Float64[ndarray, "n k"]:
        """Return a column of `width` numbers each."""
        column = self._complete(name)
        if not _is_list(column.type):
            raise self._wrong(name, f"lists of {width} numbers", column.type)
        inside = column.flatten()
        if len(inside) != width * len(self):
            raise DatasetError(f"{self.where}: {name}: expected lists of {width} numbers.")
        return self._numeric(name, inside).astype(np.float64).reshape(-1, width)

    def texts(self, name: str) -> list[str]:
        """Return a column of names, which may also be whole numbers."""
        column = self._complete(name)
        if not (pa.types.is_string(column.type) or pa.types.is_integer(column.type)):
            raise self._wrong(name, "names", column.type)
        try:
            return [str(one) for one in column.to_pylist()]
        except UnicodeDecodeError as error:
            raise DatasetError(f"{self.where}: {name} is not text: {error}.") from error

    def one_list(self, name: str) -> Real[ndarray, " k"] | None:
        """Return the numbers of the only row as they are stored; None for a null."""
        column = self.table.column(name)
        if column.null_count:
            return None
        if not _is_list(column.type):
            raise self._wrong(name, "lists of numbers", column.type)
        return self._numeric(name, column.flatten())

    def one_binary(self, name: str) -> bytes:
        """Return the bytes of the only row."""
        column = self._complete(name)
        if not pa.types.is_binary(column.type):
            raise self._wrong(name, "bytes", column.type)
        return bytes(column[0].as_py())

    def _complete(self, name: str) -> pa.Array:
        """Return a column without nulls."""
        column = self.table.column(name)
        if column.null_count:
            raise DatasetError(f"{self.where}: {name} is empty in {column.null_count} of {len(self)} rows.")
        return column

    def _numeric(self, name: str, inside: pa.Array) -> ndarray:
        """Return the numbers of lists."""
        if inside.null_count or not (pa.types.is_floating(inside.type) or pa.types.is_integer(inside.type)):
            raise self._wrong(name, "lists of numbers", inside.type)
        return np.asarray(inside.to_numpy(zero_copy_only=False))

    def _wrong(self, name: str, expected: str, got: pa.DataType) -> DatasetError:
        """Return the error for a column of another type."""
        return DatasetError(f"{self.where}: {name}: expected {expected}, got the type {got}.")


def _is_list(kind: pa.DataType) -> bool:
    """Return whether a type is one of lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))

"""The data sets of a run, with their key frames numbered through. Imports no torch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import index
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.index.index import Index
from occfeat.errors import DatasetError, OccFeatError, SettingsError
from occfeat.settings.sections import DataConfig
from occfeat.settings.several import names_of


@dataclass(frozen=True)
class DataSet:
    """One of the data sets of a run."""

    name: str
    """Name of its folder, with parent folders where two are equal; empty for the only data set of a run."""
    index: Index
    first: int
    """Number of its first key frame among those of all sets."""

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Begin errors with the name of the data set, unless it is the only one."""
        try:
            yield
        except OccFeatError as error:
            if not self.name:
                raise
            message = f"Data set {self.name}: {error.message}"
            raise type(error)(message, first=error.first, hint=error.hint) from error


class DataSets:
    """One or more data sets. A row counts through the key frames of all sets, in their order.

    The rows of a single data set are those of its index.

    Args:
        each: The indices.
        names: Their names, all different; empty for a single data set.
    """

    def __init__(self, each: Sequence[Index], names: Sequence[str]) -> None:
        firsts = np.cumsum([0, *map(len, each)]).tolist()
        self.each = tuple(
            DataSet(name, one, first) for name, one, first in zip(names, each, firsts[:-1], strict=True)
        )
        self._ends = np.array(firsts[1:])

    @classmethod
    def open(cls, sources: Sequence[DataConfig]) -> "DataSets":
        """Open the index of each data set.

        Raises:
            DatasetError: One cannot be read, or two are the same.
            SettingsError: A folder contains several versions and none was chosen.
        """
        each = [Index.open(source) for source in sources]
        if len(each) == 1:
            return cls(each, [""])
        roots = [one.root for one in each]
        names = names_of([one.source.folder if roots.count(one.root) > 1 else one.root for one in each])
        known: dict[str, str] = {}
        for name, one in zip(names, each, strict=True):
            if (other := known.setdefault(one.fingerprint, name)) != name:
                raise DatasetError(
                    f"The data sets {other} and {name} are the same: their tables are equal.",
                    hint="Name each data set once. To draw one more often, change --set-exponent.",
                )
        return cls(each, names)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each data set; nothing for a single one."""
        return tuple(one.name for one in self.each if one.name)

    @property
    def fingerprint(self) -> str | dict[str, str]:
        """Fingerprint of the data set, or those of several by their names."""
        if len(self.each) == 1:
            return self.each[0].index.fingerprint
        return {one.name: one.index.fingerprint for one in self.each}

    def rows(self, splits: Sequence[str | None]) -> Int64[ndarray, " n"]:
        """Return the key frames of a split of each data set; None takes none of it.

        Raises:
            SettingsError: A split does not exist or has no key frames in its data set.
        """
        return self.join(
            [
                np.zeros(0, dtype=np.int64) if split is None else self._rows_of(one, split)
                for one, split in zip(self.each, splits, strict=True)
            ]
        )

    def _rows_of(self, one: DataSet, split: str) -> Int64[ndarray, " n"]:
        """Return the key frames of a split of one data set, as rows of its index."""
        try:
            with one.named_in_errors():
                return one.index.rows(split)
        except SettingsError as error:
            more = f" Give one split per data set, or one that all {len(self.each)} have." if one.name else ""
            raise SettingsError(error.message, first=error.first, hint=f"{error.hint}{more}") from error

    def join(self, rows: Sequence[Int64[ndarray, " _"]]) -> Int64[ndarray, " n"]:
        """Return the numbers of key frames that are given as rows of each index."""
        return np.concatenate([one.first + of_set for one, of_set in zip(self.each, rows, strict=True)])

    def parts(self, rows: Int64[ndarray, " n"]) -> list[tuple[DataSet, Int64[ndarray, " _"]]]:
        """Return the data sets of some key frames, each with the rows of its own index, in their order."""
        number = self.number_of(rows)
        parts = [(one, rows[number == place] - one.first) for place, one in enumerate(self.each)]
        return [(one, of_set) for one, of_set in parts if len(of_set)]

    def has_visibility(self, rows: Int64[ndarray, " n"]) -> dict[str, bool]:
        """Return whether boxes have levels of visibility: in each data set of some key frames, by its name.

        The empty name stands for all of them together.
        """
        levels = {one.name: one.index.taxonomy.has_visibility for one, _ in self.parts(rows)}
        return {"": all(levels.values())} | levels

    def number_of(self, rows: Int64[ndarray, " n"]) -> Int64[ndarray, " n"]:
        """Return the position in `each` of the data set of each key frame."""
        return np.searchsorted(self._ends, rows, side="right")

    def token(self, row: SupportsIndex) -> str:
        """Return the token of a key frame; of several data sets, with the name of its own before it."""
        row = index(row)
        one = self.each[int(self.number_of(np.array([row]))[0])]
        token = one.index.token(row - one.first)
        return f"{one.name}/{token}" if one.name else token

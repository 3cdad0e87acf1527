"""Settings with one value for all data sets of a run, or one value per data set. Imports no torch."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer

Value = TypeVar("Value")


def _several(value: Any) -> Any:
    """Return a value that stands alone as a tuple of one."""
    return value if isinstance(value, tuple | list) else (value,)


def _alone(values: tuple[Any, ...]) -> Any:
    """Return the only value of a tuple as it was written, or all values."""
    return values[0] if len(values) == 1 else values


PerSet = Annotated[tuple[Value, ...], Field(min_length=1), BeforeValidator(_several), PlainSerializer(_alone)]
"""One value for all data sets, or one value per data set. A value that stands alone is written alone."""


def for_each(values: tuple[Value, ...], count: int) -> tuple[Value, ...]:
    """Return one value per data set."""
    return values * count if len(values) == 1 else values


def names_of(folders: Sequence[Path]) -> list[str]:
    """Return names of folders: as many of their last parts as tell them apart."""
    most = max(len(folder.parts) for folder in folders)
    for count in range(1, most + 1):
        names = ["/".join(folder.parts[-count:]) for folder in folders]
        if len(set(names)) == len(names):
            break
    return names


def name_of_splits(splits: Iterable[str | None]) -> str:
    """Return the name of the splits of all data sets, such as `val` or `val-mini_val`."""
    return "-".join(dict.fromkeys(split for split in splits if split is not None))

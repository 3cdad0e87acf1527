"""Settings of commands that read several data sets: one value for all, or one for each. Imports no torch."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from occfeat.settings.sections import DataConfig, ObjectClass
from occfeat.settings.strict import Expert, InputPath, Strict

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


class UsesSets(Strict):
    """Settings of a command that reads one data set or several."""

    data: PerSet[InputPath]
    """Folder of the data set, or of several. For nuScenes, the one that contains `v1.0-trainval`, `samples`
    and so on."""
    version: PerSet[str | None] = (None,)
    """Name of the folder of tables, such as `v1.0-mini`; one for all data sets, or one per data set. None:
    the only one."""

    @property
    def sources(self) -> tuple[DataConfig, ...]:
        """The data sets that these settings name."""
        each = zip(self.data, self.each(self.version), strict=True)
        categories = self.categories
        return tuple(DataConfig(root=root, version=version, categories=categories) for root, version in each)

    @property
    def categories(self) -> dict[str, ObjectClass]:
        """Class of categories that the formats do not know; nothing for a command that reads no labels."""
        return {}

    def each(self, values: tuple[Value, ...]) -> tuple[Value, ...]:
        """Return the value of a setting for each data set."""
        return for_each(values, len(self.data))

    @model_validator(mode="after")
    def _check_sets(self) -> "UsesSets":
        """Refuse a data set that is named twice, and values that are neither one nor one per data set."""
        count = len(self.data)
        for name in ("version", "split", "val_split", "teacher_cache", "image_cache"):
            given = getattr(self, name, (None,))
            if len(given) not in (1, count):
                raise ValueError(f"expected one {name}, or {count} for {count} data sets, got {len(given)}")
        named = list(zip(self.data, self.each(self.version), strict=True))
        if twice := [
            str(data) for place, (data, version) in enumerate(named) if (data, version) in named[:place]
        ]:
            raise ValueError(f"expected each data set once, got {twice[0]} twice")
        return self


class TrainsOnSets(UsesSets):
    """Settings of a command that trains on one data set or several."""

    out: Path
    """Folder of this run; must be new or empty."""
    set_exponent: Expert[Annotated[float, Field(ge=0, le=1)]] = 0.5
    """Several data sets are drawn in proportion to their key frames to this power: 1 draws all key frames
    equally often, 0 all data sets."""
    image_cache: PerSet[InputPath | None] = (None,)
    """Folder written by `occfeat cache --images`, one per data set: what the student learns from is read
    there. None: read the image files."""

    @model_validator(mode="after")
    def _check_caches(self) -> "TrainsOnSets":
        """Refuse caches of only some of the data sets."""
        for name in ("teacher_cache", "image_cache"):
            caches = [path for path in getattr(self, name, ()) if path is not None]
            if caches and len(caches) < len(self.data):
                raise ValueError(f"expected {len(self.data)} {name}, one per data set, got {len(caches)}")
        return self


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

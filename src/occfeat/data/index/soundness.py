"""Whether an index can be trusted: in a damaged one, Arrow would read beyond its memory.

Arrow maps a file without looking at what is in it. Everything that is taken for granted later is looked at
here, whole columns at once.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from occfeat.data.index.arrow import SCHEMA


def require_sound(table: pa.Table) -> None:
    """Refuse a table that no index can be, whatever its metadata say.

    Raises:
        ArrowException: Its lists or texts lead beyond its memory.
        ValueError: It has other columns, nulls, or more than one piece.
    """
    if not table.schema.equals(SCHEMA):
        raise ValueError("its columns are not those of an index")
    table.validate(full=True)
    for name in table.column_names:
        if table[name].num_chunks > 1:
            raise ValueError(f"{name} is in several pieces")
        if any(map(_has_nulls, table[name].chunks)):
            raise ValueError(f"{name} has holes")


def require_numbers(table: pa.Table, *, scenes: int, channels: int, categories: int) -> None:
    """Refuse a sound table whose numbers name what its metadata do not have.

    Raises:
        ValueError: They do, or its key frames are not in the order of their scenes.
    """
    if not len(table):
        return
    scene = table["scene"].chunk(0).to_numpy()
    if (np.diff(scene) < 0).any():
        raise ValueError("its scenes are out of order")
    _require_below(table["scene"].chunk(0), scenes, "scene")
    _require_below(table["cameras"].chunk(0).values.field("channel"), channels, "camera")
    _require_below(table["boxes"].chunk(0).values.field("category"), categories, "category")
    for name in ("height", "width"):
        _require_below(table["cameras"].chunk(0).values.field(name), 2**31, name)


def _require_below(numbers: pa.Array, end: int, what: str) -> None:
    if not len(numbers):
        return
    found: dict[str, int] = pc.min_max(numbers).as_py()
    if found["min"] < 0 or found["max"] >= end:
        raise ValueError(f"it names {what} {found['min']} to {found['max']} of {end}")


def _has_nulls(array: Any) -> bool:
    """Whether a column or anything inside it has nulls."""
    if array.null_count:
        return True
    if isinstance(array, pa.StructArray):
        return any(_has_nulls(array.field(number)) for number in range(array.type.num_fields))
    return isinstance(array, pa.ListArray | pa.FixedSizeListArray) and _has_nulls(array.values)

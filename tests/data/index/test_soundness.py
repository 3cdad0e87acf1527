"""An index that is damaged is found out before anything of it is read, and built again."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from occfeat.data.index.index import Index
from occfeat.data.index.index_file import map_index, require_numbers, require_sound
from occfeat.settings.sections import DataConfig

COUNTS = {"scenes": 2, "channels": 6, "lenses": 1, "lidars": 1, "categories": 4}


def table_of(index: Index) -> pa.Table:
    return map_index(index.file)[0]


def test_index__is_sound(index: Index) -> None:
    table, metadata = map_index(index.file)
    require_sound(table)
    require_numbers(table, **{**COUNTS, "categories": len(metadata.categories)})


def changed(table: pa.Table, name: str, column: Any) -> pa.Table:
    column_index = table.column_names.index(name)
    return table.set_column(column_index, table.schema.field(name), column)


def test_lists__that_lead_beyond_the_memory_are_found(index: Index) -> None:
    boxes = table_of(index)["boxes"].chunk(0)
    offsets = boxes.offsets.to_numpy().copy()
    offsets[1] = 10**9
    far = pa.ListArray.from_buffers(
        boxes.type, len(boxes), [None, pa.py_buffer(offsets)], children=[boxes.values]
    )
    with pytest.raises(pa.ArrowInvalid):
        require_sound(changed(table_of(index), "boxes", far))


def test_holes_pieces_and_other_columns_are_found(index: Index) -> None:
    table = table_of(index)
    with pytest.raises(ValueError, match="scene has nulls"):
        require_sound(changed(table, "scene", pa.array([None] * len(table), pa.int32())))
    with pytest.raises(ValueError, match="in one chunk, got several"):
        require_sound(pa.concat_tables([table, table]))
    with pytest.raises(ValueError, match="columns are not those"):
        require_sound(table.drop_columns("faults"))


NOTHING = [{"scenes": 1}, {"lenses": 0}, {"lidars": 0}, {"channels": 5}, {"categories": 1}]


@pytest.mark.parametrize("counts", NOTHING)
def test_numbers__that_name_nothing_are_found(index: Index, counts: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected numbers from 0 to below"):
        require_numbers(table_of(index), **{**COUNTS, **counts})


def test_scenes__out_of_order_are_found(index: Index) -> None:
    table = table_of(index)
    backwards = pa.array(table["scene"].to_numpy()[::-1].copy())
    with pytest.raises(ValueError, match="not ordered by scene"):
        require_numbers(changed(table, "scene", backwards), **COUNTS)


def test_open__a_damaged_index_is_built_again(
    folder: Path, index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    content = index.file.read_bytes()
    offsets = table_of(index)["boxes"].chunk(0).offsets.to_numpy().tobytes()
    assert content.count(offsets) == 1
    far = np.frombuffer(offsets, np.int32).copy()
    far[2] += 10**9
    index.file.write_bytes(content.replace(offsets, far.tobytes()))
    with caplog.at_level(logging.WARNING, logger="occfeat"):
        again = Index.open(DataConfig(root=folder))
    assert "is damaged" in caplog.text
    assert index.file.read_bytes() == content
    assert len(again.key_frame(1).boxes.tokens) == 8

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occfeat.data.formats.nuscenes.json_tables import (
    FLAG,
    NAME,
    TEXT,
    TIME,
    Kind,
    flags,
    read_table,
    texts,
    times,
    usable_records,
    vectors,
)
from occfeat.errors import DatasetError

AWKWARD = st.text(alphabet='{}[],:"\\ a\né', max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e6, 1e6) | AWKWARD
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(AWKWARD, AWKWARD, max_size=1)
RECORDS = st.lists(st.dictionaries(AWKWARD, VALUES, max_size=2), max_size=5)


def read(path: Path, chunk_bytes: int = 1 << 20) -> list[dict[str, Any]]:
    return [record for batch in read_table(path, chunk_bytes=chunk_bytes) for record in batch]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables") / "sample.json"


@settings(deadline=None, max_examples=60)
@given(records=RECORDS, chunk_bytes=st.integers(64, 256), indent=st.sampled_from((None, 0, 2)))
def test_read_table__any_records_any_chunks(
    path: Path, records: list[dict[str, Any]], chunk_bytes: int, indent: int | None
) -> None:
    """Cutting a file anywhere gives what parsing it whole gives, if records are no longer than two chunks."""
    text = json.dumps(records, indent=indent, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    longest = max((len(json.dumps(one, indent=4).encode()) for one in records), default=0)
    assert read(path, max(chunk_bytes, 2 * longest)) == records


@settings(deadline=None, max_examples=100)
@given(data=st.binary(max_size=300), chunk_bytes=st.integers(1, 64))
def test_read_table__garbage(path: Path, data: bytes, chunk_bytes: int) -> None:
    """Whatever the bytes, there is a list of records or a DatasetError, never anything else."""
    path.write_bytes(data)
    try:
        records = read(path, chunk_bytes)
    except DatasetError:
        return
    assert records == json.loads(data.decode("utf-8-sig"))


@settings(deadline=None, max_examples=40)
@given(records=RECORDS.filter(bool), data=st.data())
def test_read_table__cut_short(path: Path, records: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = json.dumps(records).encode()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DatasetError, match=r"sample\.json"):
        read(path, 128)


def test_read_table__batches_cover_the_file_once(path: Path) -> None:
    records = [{"token": f"{i:032x}", "translation": [i, 0.5, -1.0]} for i in range(1000)]
    path.write_text(json.dumps(records, indent=0))
    seen: list[bytes] = []
    batches = list(read_table(path, on_bytes=seen.append, chunk_bytes=4096))
    assert len(batches) > 10
    assert [record for batch in batches for record in batch] == records
    assert b"".join(seen) == path.read_bytes()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("{}", "not a JSON list"),
        ('[{"token": "a"}, 3]', "not a JSON list"),
        ('[{"token": "a"},]', "not valid JSON"),
        ('[{"token": "a"}', "not valid JSON"),
        ('[{"token": "a"}]]', "not valid JSON"),
        ('[{"token": NAN}]', "not valid JSON"),
        ("<html>404</html>", "not a JSON list"),
        ('[{"token": "' + "x" * 3000, "no end of a record"),
    ],
)
def test_read_table__bad(path: Path, text: str, complaint: str) -> None:
    path.write_text(text)
    with pytest.raises(DatasetError, match=complaint) as caught:
        read(path, 1024)
    assert str(path) in str(caught.value)
    assert "Hint" in str(caught.value)


def test_read_table__missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"scene\.json is missing"):
        read(tmp_path / "scene.json")


def test_read_table__byte_order_mark(path: Path) -> None:
    path.write_bytes(b'\xef\xbb\xbf[{"token": "a"}]')
    assert read(path) == [{"token": "a"}]


@pytest.mark.parametrize("chunk_bytes", [16, 1 << 20])
def test_read_table__numbers_that_json_does_not_have_are_null(path: Path, chunk_bytes: int) -> None:
    path.write_text('[{"a": NaN, "b": [-Infinity, 1]},\n {"c": "NaN, not a number"}]')
    assert read(path, 64 if chunk_bytes < 64 else chunk_bytes) == [
        {"a": None, "b": [None, 1]},
        {"c": "NaN, not a number"},
    ]


def test_columns() -> None:
    records = [{"token": "a", "time": 3, "size": [1, 2.5]}, {"token": "b", "time": 1.6, "size": [0, None]}]
    assert texts(records, "token") == ["a", "b"]
    assert times(records, "time").tolist() == [3, 2]
    assert flags([{"key": True}, {"key": 0}], "key").tolist() == [True, False]
    np.testing.assert_array_equal(vectors(records, "size", 2), [[1, 2.5], [0, np.nan]])
    assert vectors([], "size", 3).shape == (0, 3)


@pytest.mark.parametrize("record", [{}, {"size": None}, {"size": [1, 2, 3]}, {"size": ["a", 2]}])
def test_vectors__what_is_none_is_not_a_number(record: dict[str, Any]) -> None:
    records = [{"size": [1, 2]}, record, {"size": [3, 4]}]
    np.testing.assert_array_equal(vectors(records, "size", 2), [[1, 2], [np.nan, np.nan], [3, 4]])


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (TEXT, ["", "a"], [None, 3, ["a"]]),
        (NAME, ["a"], ["", None]),
        (FLAG, [True, 0, 1], [None, "true", 1.0]),
        (TIME, [1, 1.5, 2**63 - 1], [None, True, "1", 0, -1, 2**63, 1e30, float("inf"), float("nan")]),
    ],
)
def test_usable_records__are_those_with_all_fields(kind: Kind, good: list[Any], bad: list[Any]) -> None:
    kept = [{"token": "t", "field": value} for value in good]
    lost = [{"token": "t", "field": value} for value in bad]
    kinds = {"token": TEXT, "field": kind}
    assert usable_records(kept, kinds) == (kept, [])
    for record in lost:
        what = f"record t has a field 'field' that is not {kind.name}"
        assert usable_records([*kept, record], kinds) == (kept, [what])
    assert usable_records([*kept, {"token": "t"}], kinds) == (kept, ["record t has no field 'field'"])

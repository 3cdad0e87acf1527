"""Read JSON tables as a stream: files that hold one list of flat records.

A table of nuScenes has up to 1.5 GB, and would take ten times that in memory. The file is therefore read in
chunks. Each is cut after its last complete record and parsed separately.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from occfeat.errors import DatasetError

Record = dict[str, Any]
Column = TypeVar("Column")

OFFICIAL_VERSIONS = ("v1.0-trainval", "v1.0-test", "v1.0-mini")
"""Folders of tables as nuScenes' archives name them."""

CHUNK_BYTES = 8 << 20
"""Size of a chunk; the largest record has twice this size."""

_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|["{}\[\]]', re.DOTALL)
_NOT_FINITE = re.compile(rb"(?<=[\s:,\[])-?(?:NaN|Infinity)(?=[\s,\]}])")
_SPACE = b" \t\r\n"


def read_table(
    path: Path, *, on_bytes: Callable[[bytes], object] | None = None, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[list[Record]]:
    """Return the records of a table in batches of about `chunk_bytes` of file each.

    Args:
        path: JSON file with one list of objects, pretty-printed or not.
        on_bytes: Called with the bytes of each read, for a hash or a progress bar.
        chunk_bytes: Bytes read at a time.

    Raises:
        DatasetError: The file is missing, unreadable, not JSON or not a list of objects.
    """
    try:
        with path.open("rb") as stream:
            yield from _batches(stream, path, on_bytes, chunk_bytes)
    except FileNotFoundError as error:
        raise DatasetError(f"Table {path} is missing.", hint=_fetch_hint(path)) from error
    except OSError as error:
        raise DatasetError(f"Table {path} cannot be read: {error.strerror}.") from error


def _batches(
    stream: BinaryIO, path: Path, on_bytes: Callable[[bytes], object] | None, chunk_bytes: int
) -> Iterator[list[Record]]:
    """Return the records of an open table in batches."""
    pending, consumed, first = b"", 0, True
    while chunk := stream.read(chunk_bytes):
        if on_bytes is not None:
            on_bytes(chunk)
        pending += chunk
        if consumed == 0:
            pending, consumed = _open_list(pending, path)
        records, end = _complete_records(pending, path, consumed, first)
        if end:
            yield records
            pending, consumed, first = pending[end:], consumed + end, False
        elif len(pending) > 2 * chunk_bytes:
            raise _not_json(path, f"no end of a record within {len(pending):,} bytes", consumed)
    if consumed == 0:
        raise _not_json(path, "the file is empty", 0)
    if records := _parse(pending, path, consumed, first):
        yield records


def _open_list(pending: bytes, path: Path) -> tuple[bytes, int]:
    """Strip the opening bracket; return (rest, stripped bytes), or none while there is only white space."""
    body = pending.removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)
    if not body:
        return pending, 0
    if body[:1] != b"[":
        raise _not_json(path, "it does not start with [", 0, kind="not a JSON list of records")
    return body[1:], len(pending) - len(body) + 1


def _complete_records(pending: bytes, path: Path, consumed: int, first: bool) -> tuple[list[Record], int]:
    """Return the complete records and the position after the last one; 0 if there is none.

    The last closing brace nearly always ends a record. If it belongs to a string or to a nested object, the
    text before it is not valid JSON: its quotes or braces do not match.
    """
    end = pending.rfind(b"}") + 1
    if end == 0:
        return [], 0
    try:
        records: list[Any] = _loads(_head(first) + pending[:end] + b"]")
    except orjson.JSONDecodeError:
        end = _scan_record_end(pending)
        return (_parse(pending[:end] + b"]", path, consumed, first) if end else []), end
    return _checked(records, path, consumed, first), end


def _loads(text: bytes) -> Any:
    """Return what JSON says. NaN and Infinity, which some programs write although JSON has none, are null."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        if b"NaN" not in text and b"Infinity" not in text:
            raise
        return orjson.loads(_NOT_FINITE.sub(b"null", text))


def _scan_record_end(pending: bytes) -> int:
    """Return the position after the last complete record by counting brackets: exact, but slower."""
    depth = end = 0
    for match in _STRUCTURE.finditer(pending):
        mark = match[0]
        if mark == b'"':  # a string that continues in the next chunk
            break
        depth += (mark in (b"{", b"[")) - (mark in (b"}", b"]"))
        if depth == 0 and mark == b"}":
            end = match.end()
    return end


def _parse(body: bytes, path: Path, consumed: int, first: bool) -> list[Record]:
    """Return the records of the last chunk of a table."""
    head = _head(first)
    try:
        records: list[Any] = _loads(head + body)
    except orjson.JSONDecodeError as error:
        raise _not_json(path, error.msg, consumed + max(error.pos - len(head), 0)) from error
    return _checked(records, path, consumed, first)


def _checked(records: list[Any], path: Path, consumed: int, first: bool) -> list[Record]:
    """Refuse records that are not objects."""
    records = records if first else records[1:]
    if not set(map(type, records)) <= {dict}:
        raise _not_json(path, "a record is not an object", consumed, kind="not a JSON list of records")
    return records


def _head(first: bool) -> bytes:
    """Return the opening that makes a chunk a list; later chunks start with a comma."""
    return b"[" if first else b"[0"


def _not_json(path: Path, why: str, byte: int, kind: str = "not valid JSON") -> DatasetError:
    """Return the error for a table that cannot be parsed."""
    return DatasetError(
        f"Table {path} is {kind} near byte {byte:,}: {why}.",
        hint=f"The file is damaged or truncated. {_fetch_hint(path)}",
    )


def _fetch_hint(path: Path) -> str:
    """Return a hint where to get a table."""
    version = path.parent.name
    if version in OFFICIAL_VERSIONS:
        return f"Extract the metadata archive again (for nuScenes: {version}_meta)."
    return "Restore or correct the file."


def texts(records: list[Record], field: str, path: Path) -> list[str]:
    """Return one string field of every record, such as a token."""
    return _column(records, field, path, _as_texts, "a text")


def integers(records: list[Record], field: str, path: Path) -> NDArray[np.int64]:
    """Return one integer or Boolean field of every record."""
    return _column(records, field, path, _as_integers, "a whole number")


def times(records: list[Record], field: str, path: Path) -> NDArray[np.int64]:
    """Return one field of whole microseconds of every record; fractions, which Lyft has, are rounded."""
    return _column(records, field, path, _as_times, "a time in microseconds")


def vectors(records: list[Record], field: str, path: Path, width: int) -> NDArray[np.float64]:
    """Return one field of `width` numbers of every record as (records, width); null becomes NaN."""
    return _column(records, field, path, lambda values: _as_vectors(values, width), f"{width} numbers")


def _column(
    records: list[Record], field: str, path: Path, convert: Callable[[list[Any]], Column], kind: str
) -> Column:
    """Convert a field of all records; on failure, find the faulty record."""
    try:
        return convert([record[field] for record in records])
    except (KeyError, TypeError, ValueError, OverflowError):
        for record in records:
            try:
                convert([record[field]])
            except KeyError:
                raise _bad_field(path, record, f"has no field {field!r}") from None
            except (TypeError, ValueError, OverflowError):
                raise _bad_field(path, record, f"has a field {field!r} that is not {kind}") from None
        raise


def _as_texts(values: list[Any]) -> list[str]:
    """Return strings; refuse other values."""
    if not set(map(type, values)) <= {str}:
        raise TypeError
    return values


def _as_integers(values: list[Any]) -> NDArray[np.int64]:
    """Return integers and Booleans; refuse other values."""
    if not set(map(type, values)) <= {int, bool}:
        raise TypeError
    return np.array(values, dtype=np.int64)


def _as_times(values: list[Any]) -> NDArray[np.int64]:
    """Return times; refuse other values."""
    return _as_integers([round(value) if type(value) is float else value for value in values])


def _as_vectors(values: list[Any], width: int) -> NDArray[np.float64]:
    """Return vectors of one width; refuse other values."""
    array = np.array(values, dtype=np.float64).reshape(len(values), -1) if values else np.empty((0, width))
    if array.shape[1] != width:
        raise ValueError
    return array


def _bad_field(path: Path, record: Record, what: str) -> DatasetError:
    """Return the error for a record with an unusable field."""
    return DatasetError(f"Table {path}: record {record.get('token')!r} {what}.", hint=_fetch_hint(path))

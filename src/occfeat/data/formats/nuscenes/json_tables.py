"""Read JSON tables as a stream: files that hold one list of flat records.

A table of nuScenes has up to 1.5 GB, and would take ten times that in memory. The file is therefore read in
chunks. Each is cut after its last complete record and parsed separately.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from occfeat.errors import DatasetError

Record = dict[str, Any]

OFFICIAL_VERSIONS = ("v1.0-trainval", "v1.0-test", "v1.0-mini")
"""Folders of tables as nuScenes' archives name them."""

CHUNK_BYTES = 8 << 20
"""Size of a chunk; the largest record has twice this size."""

_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|["{}\[\]]', re.DOTALL)
_NOT_FINITE = re.compile(rb"(?<=[\s:,\[])-?(?:NaN|Infinity)(?=[\s,\]}])")
_SPACE = b" \t\r\n"
_NOT_NUMBERS = (KeyError, TypeError, ValueError, OverflowError)


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


@dataclass(frozen=True)
class Kind:
    """What the values of a field must be."""

    name: str
    """For messages, with its article."""
    holds_of_all: Callable[[list[Any]], bool]
    """Returns whether all of some values are."""


def _are_texts(values: list[Any]) -> bool:
    """Return whether values are texts."""
    return set(map(type, values)) <= {str}


def _are_flags(values: list[Any]) -> bool:
    """Return whether values are Booleans, or numbers in their place."""
    return set(map(type, values)) <= {bool, int}


def _are_times(values: list[Any]) -> bool:
    """Return whether values are positive numbers of 63 bits."""
    return set(map(type, values)) <= {int, float} and all(0 < value < 2**63 for value in values)


TEXT = Kind("a text", _are_texts)
NAME = Kind("a name", lambda values: _are_texts(values) and all(values))
FLAG = Kind("true or false", _are_flags)
TIME = Kind("a time in microseconds", _are_times)


def usable_records(records: list[Record], kinds: Mapping[str, Kind]) -> tuple[list[Record], list[str]]:
    """Return the records whose fields are what they must be, and what is wrong with each of the others."""
    if all(kind.holds_of_all([record.get(name) for record in records]) for name, kind in kinds.items()):
        return records, []
    wrong = [_wrong_field(record, kinds) for record in records]
    kept = [record for record, what in zip(records, wrong, strict=True) if not what]
    lost = [(record.get("token"), what) for record, what in zip(records, wrong, strict=True) if what]
    return kept, [f"record {token!s:.100} {what}" for token, what in lost]


def _wrong_field(record: Record, kinds: Mapping[str, Kind]) -> str:
    """Return the first field of a record that is not what it must be; empty if there is none."""
    for name, kind in kinds.items():
        if name not in record:
            return f"has no field {name!r}"
        if not kind.holds_of_all([record[name]]):
            return f"has a field {name!r} that is not {kind.name}"
    return ""


def texts(records: list[Record], field: str) -> list[str]:
    """Return one field of every record that is a `TEXT`, such as a token."""
    return [record[field] for record in records]


def flags(records: list[Record], field: str) -> Bool[ndarray, " n"]:
    """Return one field of every record that is a `FLAG`."""
    return np.array([bool(record[field]) for record in records], dtype=bool)


def times(records: list[Record], field: str) -> Int64[ndarray, " n"]:
    """Return one field of every record that is a `TIME`; fractions, which Lyft has, are rounded."""
    return np.array([round(record[field]) for record in records], dtype=np.int64)


def vectors(records: list[Record], field: str, width: int) -> Float64[ndarray, "n k"]:
    """Return one field of `width` numbers of every record; whatever else it is becomes NaN."""
    if not records:
        return np.empty((0, width))
    try:
        return _as_vectors([record[field] for record in records], width)
    except _NOT_NUMBERS:
        return np.concatenate([_vector(record.get(field), width) for record in records])


def _vector(value: object, width: int) -> Float64[ndarray, "1 k"]:
    """Return one vector; NaN if it is none."""
    try:
        return _as_vectors([value], width)
    except _NOT_NUMBERS:
        return np.full((1, width), np.nan)


def _as_vectors(values: list[Any], width: int) -> Float64[ndarray, "n k"]:
    """Return vectors of one width; refuse other values."""
    array = np.array(values, dtype=np.float64).reshape(len(values), -1)
    if array.shape[1] != width:
        raise ValueError
    return array


def no_usable_record(path: Path, first: str) -> DatasetError:
    """Return the error for a table of which no record is usable: it is another one.

    Args:
        path: Its file.
        first: What is wrong with the first record.
    """
    return DatasetError(f"Table {path} has no usable record: {first}.", hint=_fetch_hint(path))

"""PCD files of the Point Cloud Library: ASCII, binary or compressed, with fields of any order and type.

Source: "The PCD (Point Cloud Data) file format", version 0.7
(https://pointclouds.org/documentation/tutorials/pcd_file_format.html). Points that are not finite stand for
no return in organised clouds, and are left out.

Axes: `P` points, `C` the coordinates, and the number of the beam if there is one.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from occfeat.data.formats.points.floats import MAX_BYTES
from occfeat.data.formats.points.lzf import decompress
from occfeat.data.formats.points.opening import finite_points, opening
from occfeat.errors import KeyFrameError

COORDINATES = ("x", "y", "z")
RING = "ring"
"""Name of the field with the number of the beam, as Velodyne's, Hesai's and Ouster's drivers write it."""
RING_COLUMN = len(COORDINATES)
"""Column of the number of the beam."""
MAX_HEADER_BYTES = 1 << 16
"""Largest size of a header in bytes."""

_TYPES = {
    ("F", 4): "<f4", ("F", 8): "<f8",
    ("I", 1): "<i1", ("I", 2): "<i2", ("I", 4): "<i4", ("I", 8): "<i8",
    ("U", 1): "<u1", ("U", 2): "<u2", ("U", 4): "<u4", ("U", 8): "<u8",
}  # fmt: skip


@dataclass(frozen=True)
class _Field:
    """One field of each point."""

    name: str
    dtype: np.dtype
    count: int

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.dtype.itemsize * self.count


@dataclass(frozen=True)
class _Header:
    """The header of a PCD file."""

    fields: tuple[_Field, ...]
    points: int
    encoding: str
    """`ascii`, `binary` or `binary_compressed`."""

    @property
    def point_bytes(self) -> int:
        """Number of bytes of a point."""
        return sum(field.size for field in self.fields)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the fields that are read."""
        rings = [field.count for field in self.fields if field.name == RING]
        return (*COORDINATES, RING) if rings == [1] else COORDINATES

    def column(self, name: str) -> tuple[int, _Field]:
        """Return the position of a column among the fields, and its field."""
        found = [(number, field) for number, field in enumerate(self.fields) if field.name == name]
        if len(found) != 1 or found[0][1].count != 1:
            names = ", ".join(field.name for field in self.fields)
            raise ValueError(f"expected one field {name} with one number, got fields {names}")
        return found[0]


def read_pcd(path: Path) -> Float[ndarray, "P C"]:
    """Read x, y and z of a `.pcd` file, in metres in the LiDAR's frame, and the ring if the file has it.

    Returns:
        float64 if a coordinate has eight bytes, else float32.

    Raises:
        KeyFrameError: The file is missing or damaged, or has no coordinates that are finite.
    """
    try:
        with opening(path):
            if path.stat().st_size > MAX_BYTES:
                raise ValueError(f"expected at most {MAX_BYTES:,} bytes, got {path.stat().st_size:,}")
            content = path.read_bytes()
        header, begin = _read_header(content)
        points = _read_points(content[begin:], header)
    except ValueError as error:
        raise KeyFrameError(
            f"LiDAR file {path} is not a readable PCD file: {str(error).rstrip('.')}."
        ) from error
    return finite_points(path, points)


def _read_header(content: bytes) -> tuple[_Header, int]:
    """Return the header, and where the points begin."""
    entries: dict[str, list[str]] = {}
    begin = 0
    while "DATA" not in entries:
        end = content.find(b"\n", begin, MAX_HEADER_BYTES)
        if end < 0:
            raise ValueError("its header has no DATA line")
        words = content[begin:end].decode("ascii", "replace").split()
        begin = end + 1
        if words and not words[0].startswith("#"):
            entries[words[0].upper()] = words[1:]
    (encoding,) = entries["DATA"] if len(entries["DATA"]) == 1 else ("",)
    if encoding not in _READERS:
        raise ValueError(f"expected DATA {', '.join(_READERS)}, got {encoding!r}")
    fields = _fields(entries)
    header = _Header(fields, _count_points(entries), encoding)
    if header.points * header.point_bytes > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES:,} bytes of points, got {header.points:,} points")
    return header, begin


def _fields(entries: dict[str, list[str]]) -> tuple[_Field, ...]:
    """Return the fields that a header lists."""
    names = entries.get("FIELDS") or entries.get("COLUMNS") or []
    sizes, types = entries.get("SIZE", []), entries.get("TYPE", [])
    counts = entries.get("COUNT", ["1"] * len(names))
    if not names or {len(sizes), len(types), len(counts)} != {len(names)}:
        raise ValueError("expected FIELDS, SIZE, TYPE and COUNT of equal lengths")
    fields = []
    for name, size, kind, count in zip(names, sizes, types, counts, strict=True):
        if (kind.upper(), _whole(size)) not in _TYPES:
            raise ValueError(f"field {name} has an unknown type {kind} of {size} bytes")
        fields.append(_Field(name.lower(), np.dtype(_TYPES[kind.upper(), _whole(size)]), _whole(count)))
    return tuple(fields)


def _count_points(entries: dict[str, list[str]]) -> int:
    """Return the number of points that a header states."""
    width, height = (_whole(" ".join(entries.get(name, ["1"]))) for name in ("WIDTH", "HEIGHT"))
    points = _whole(" ".join(entries["POINTS"])) if "POINTS" in entries else width * height
    if "WIDTH" in entries and points != width * height:
        raise ValueError(f"expected {width} x {height} points, got {points}")
    return points


def _whole(text: str) -> int:
    """Return a whole number, not negative and below 2^31."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 2**31):
        raise ValueError(f"expected a whole number, got {text[:20]!r}")
    return int(text)


def _read_points(body: bytes, header: _Header) -> Float[ndarray, "P C"]:
    """Return the columns of the points: float64 if a coordinate has eight bytes, else float32."""
    is_wide = any(header.column(name)[1].dtype.itemsize == 8 for name in COORDINATES)
    dtype = np.float64 if is_wide else np.float32
    if not header.points:
        return np.zeros((0, len(header.columns)), dtype)
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        return _READERS[header.encoding](body, header).astype(dtype)


def _read_ascii(body: bytes, header: _Header) -> Float64[ndarray, "P C"]:
    """Return the columns of points that are lines of text."""
    before = np.cumsum([0] + [field.count for field in header.fields])
    columns = [int(before[header.column(name)[0]]) for name in header.columns]
    _require(len(body.strip()), 2 * header.points)
    text = re.sub(rb"\s*\n\s*", b"\n", body.strip())  # without empty lines
    lines = np.loadtxt(
        io.BytesIO(text), usecols=columns, max_rows=header.points, ndmin=2, comments=None, encoding="ascii"
    )
    if len(lines) != header.points:
        raise ValueError(f"expected {header.points:,} points, got {len(lines):,}")
    return lines


def _read_binary(body: bytes, header: _Header) -> Float64[ndarray, "P C"]:
    """Return the columns of points that follow each other."""
    _require(len(body), header.points * header.point_bytes)
    rows = np.frombuffer(body, np.uint8, header.points * header.point_bytes)
    rows = rows.reshape(header.points, header.point_bytes)
    offsets = np.cumsum([0] + [field.size for field in header.fields])
    found = [header.column(name) for name in header.columns]
    columns = [
        rows[:, offsets[number] : offsets[number + 1]].copy().view(field.dtype)[:, 0]
        for number, field in found
    ]
    return np.stack(columns, axis=1, dtype=np.float64)


def _read_compressed(body: bytes, header: _Header) -> Float64[ndarray, "P C"]:
    """Return the columns of points that are compressed field by field."""
    _require(len(body), 8)
    packed, unpacked = (int(size) for size in np.frombuffer(body, "<u4", 2))
    _require(len(body) - 8, packed)
    if unpacked != header.points * header.point_bytes:
        raise ValueError(f"expected {header.points * header.point_bytes:,} bytes of points, got {unpacked:,}")
    begins = np.cumsum([0] + [field.size * header.points for field in header.fields])
    found = [header.column(name) for name in header.columns]
    needed = max(int(begins[number + 1]) for number, _ in found)
    content = decompress(body[8 : 8 + packed], needed)
    columns = [
        np.frombuffer(content, field.dtype, header.points, int(begins[number])) for number, field in found
    ]
    return np.stack(columns, axis=1, dtype=np.float64)


def _require(got: int, expected: int) -> None:
    """Refuse a file that is cut off."""
    if got < expected:
        raise ValueError(f"expected {expected:,} bytes after its header, got {got:,}")


_READERS = {"ascii": _read_ascii, "binary": _read_binary, "binary_compressed": _read_compressed}

"""Writers of PCD files, and plain readers that the package's are compared with."""

import struct
from collections.abc import Sequence

import numpy as np

KINDS = {"f": "F", "i": "I", "u": "U"}
CODES = dict(zip(["F4", "F8", "I1", "I2", "I4", "I8", "U1", "U2", "U4", "U8"], "fdbhiqBHIQ", strict=True))


def write_pcd(points: np.ndarray, encoding: str, *, height: int = 1, counts: Sequence[int] = ()) -> bytes:
    """Return the file of a structured array."""
    fields = [(name, points.dtype[name]) for name in points.dtype.names]
    counts = counts or [int(np.prod(dtype.shape)) or 1 for _, dtype in fields]
    bases = [dtype.base for _, dtype in fields]
    lines = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        f"FIELDS {' '.join(name for name, _ in fields)}",
        f"SIZE {' '.join(str(base.itemsize) for base in bases)}",
        f"TYPE {' '.join(KINDS[base.kind] for base in bases)}",
        f"COUNT {' '.join(map(str, counts))}",
        f"WIDTH {len(points) // height}",
        f"HEIGHT {height}",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(points)}",
        f"DATA {encoding}",
    ]
    head = ("\n".join(lines) + "\n").encode()
    if encoding == "ascii":
        rows = [" ".join(str(number) for number in _flat(row)) for row in points.tolist()]
        return head + ("\n".join(rows) + "\n").encode()
    if encoding == "binary":
        return head + points.tobytes()
    content = b"".join(np.ascontiguousarray(points[name]).tobytes() for name, _ in fields)
    packed = compress(content)
    return head + struct.pack("<II", len(packed), len(content)) + packed


def _flat(row: tuple) -> list:
    return [number for part in row for number in (part if isinstance(part, (list, np.ndarray)) else [part])]


def compress(content: bytes) -> bytes:
    """Return LZF: the last place of each three bytes is tried for a repetition."""
    out, literals, last, at = bytearray(), bytearray(), {}, 0

    def flush() -> None:
        for begin in range(0, len(literals), 32):
            piece = literals[begin : begin + 32]
            out.append(len(piece) - 1)
            out.extend(piece)
        literals.clear()

    while at < len(content):
        key, earlier = content[at : at + 3], -1
        if len(key) == 3:
            earlier, last[key] = last.get(key, -1), at
        if earlier < 0 or at - earlier > 8192:
            literals.append(content[at])
            at += 1
            continue
        length = 3
        while (
            length < 264 and at + length < len(content) and content[earlier + length] == content[at + length]
        ):
            length += 1
        flush()
        distance = at - earlier - 1
        high = distance >> 8
        out.extend([(length - 2) << 5 | high] if length < 9 else [7 << 5 | high, length - 9])
        out.append(distance & 255)
        at += length
    flush()
    return bytes(out)


def decompress_plainly(data: bytes) -> bytes:
    """Return what LZF stands for, byte by byte."""
    out: list[int] = []
    stream = iter(data)
    for control in stream:
        if control < 32:
            out += [next(stream) for _ in range(control + 1)]
            continue
        length = control >> 5
        if length == 7:
            length += next(stream)
        distance = ((control & 31) << 8) + next(stream) + 1
        for _ in range(length + 2):
            out.append(out[-distance])
    return bytes(out)


def read_pcd_plainly(content: bytes) -> list[tuple[float, float, float]]:
    """Return the finite points of a PCD file, number by number."""
    head, _, rest = content.partition(b"\nDATA ")
    encoding, _, body = rest.partition(b"\n")
    entries = {line.split()[0]: line.split()[1:] for line in head.decode().splitlines()}
    fields = list(zip(entries["FIELDS"], entries["TYPE"], entries["SIZE"], entries["COUNT"], strict=True))
    points = int(entries["POINTS"][0])
    if encoding == b"binary_compressed":
        body = decompress_plainly(body[8:])
    values: dict[str, list[float]] = {name: [] for name, *_ in fields}
    numbers = iter(body.split()) if encoding == b"ascii" else iter(())
    at = 0

    def take(kind: str, size: str) -> float:
        nonlocal at
        if encoding == b"ascii":
            return float(next(numbers))
        (value,) = struct.unpack_from(f"<{CODES[kind + size]}", body, at)
        at += int(size)
        return float(value)

    if encoding == b"binary_compressed":
        for name, kind, size, count in fields:
            values[name] = [take(kind, size) for _ in range(points * int(count))]
    else:
        for _ in range(points):
            for name, kind, size, count in fields:
                values[name] += [take(kind, size) for _ in range(int(count))]
    rows = zip(values["x"], values["y"], values["z"], strict=True)
    return [row for row in rows if np.isfinite(row).all()]

"""LZF, the compression of binary PCD files.

Source: the format of LibLZF by Marc Lehmann (http://oldhomepages.schmorp.de/marc/liblzf.html), which the
Point Cloud Library uses for `DATA binary_compressed`. A control byte below 32 precedes that many literal
bytes, plus one. Any other repeats earlier output: its upper three bits are the length less two (seven: one
more byte is added), its lower five bits and the last byte are the distance less one.
"""


def decompress(data: bytes, size: int) -> bytes:
    """Return the first `size` bytes of what was compressed.

    Args:
        data: Compressed bytes.
        size: Number of bytes that are wanted, which bounds the memory.

    Raises:
        ValueError: The data are cut off, or refer to what was before their begin.
    """
    out, at, end = bytearray(), 0, len(data)
    while len(out) < size:
        if at >= end:
            raise ValueError(f"expected {size:,} bytes after decompression, got {len(out):,}")
        control = data[at]
        at += 1
        if control < 32:
            out += data[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += _byte(data, at)
            at += 1
        begin = len(out) - ((control & 31) << 8) - _byte(data, at) - 1
        at += 1
        if begin < 0:
            raise ValueError("it refers to data before its begin")
        _repeat(out, begin, length + 2)
    del out[size:]
    return bytes(out)


def _byte(data: bytes, at: int) -> int:
    """Return one byte."""
    if at >= len(data):
        raise ValueError("the compressed data are cut off")
    return data[at]


def _repeat(out: bytearray, begin: int, length: int) -> None:
    """Append bytes of the output to itself; they may overlap what is appended."""
    piece = out[begin : begin + length]
    while len(piece) < length:
        piece += piece[: length - len(piece)]
    out += piece

"""Ways to spoil a valid file: its bytes, what a JSON text says, or one member of an archive."""

import copy
import io
import json
import math
import random
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

INTERESTING = (b"\0", b"\xff", b"\x7f", b"\x80", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"-", b"\n")
NUMBERS = (0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**62, -(2**63))
DEEP, HUGE = "occfeat-deep", "occfeat-huge"
"""Stand-ins for values that `json.dumps` cannot write."""
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, -(2**31), 2**63, 2**64, 10**30, 0.5, -0.0, 1e-320, 1e308, -1e308),
    *(math.nan, math.inf, -math.inf, "", "\0", "a", "1", "..", "../../../up", "/etc/passwd", "x" * 5000),
    *("\ud800", "\N{SNOWMAN}", "none", [], {}, [[]], [{}], [0, 0, 0, 0], {"": None}, DEEP, HUGE),
)
YAML = (
    *(
        "!!python/object/apply:os.system [id]",
        "!!python/name:os.system",
        "!!binary x",
        "!!set {a}",
        "!!int x",
    ),
    *(
        "!!float x",
        "!!timestamp x",
        "2001-99-99",
        "2001-01-01T99:99:99",
        "0b",
        "0x",
        "1__0",
        "190:99:99",
        "=",
        "<<: 1",
    ),
    *(
        "<<: *a",
        "*nowhere",
        "&a [*a, *a]",
        "? [a, b]",
        "- ",
        "%YAML 9.9",
        "---",
        "...",
        "|",
        ">",
        "\t",
        "\x07",
        "'",
    ),
    "{? {a: 1} : 2}",
    "&a [x,x,x,x,x,x,x,x,x]",
    "[" * 3000,
    "9" * 5000,
    "0x" + "f" * 5000,
)
BOMB = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]\n" for i in range(12))
"""Nine thousand million values in 600 bytes of YAML: each line holds the one before it nine times."""


def spoil_bytes(data: bytes, draw: random.Random) -> bytes:
    """A few changes somewhere: bits, bytes, numbers, cuts, repeated or missing or moved pieces."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        at = draw.randrange(len(changed) + 1)
        length = min(draw.choice((1, 2, 4, 8, 64, 1024)), len(changed) - at)
        match draw.randrange(9):
            case 0 if at < len(changed):
                changed[at] ^= 1 << draw.randrange(8)
            case 1 if at < len(changed):
                changed[at] = draw.randrange(256)
            case 2:
                changed[at : at + 1] = draw.choice(INTERESTING)
            case 3:
                size, kind = draw.choice(((1, "b"), (2, "h"), (4, "i"), (8, "q")))
                number = draw.choice(NUMBERS) % (1 << 8 * size)
                order = draw.choice("<>")
                changed[at : at + size] = struct.pack(order + kind.upper(), number)
            case 4 if draw.random() < 0.3:
                del changed[at:]
            case 5:
                del changed[at : at + length]
            case 6:
                changed[at:at] = changed[at : at + length]
            case 7:
                changed[at : at + length] = bytes(length)
            case _:
                changed[at:at] = draw.randbytes(draw.choice((1, 4, 32)))
    return bytes(changed)


def spoil_words(data: bytes, draw: random.Random) -> bytes:
    """Sizes, counts and offsets: numbers of 2, 4 or 8 bytes replaced by extreme or similar ones."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        width = draw.choice((2, 4, 4, 4, 8))
        if len(changed) < width:
            break
        at = draw.randrange(len(changed) - width + 1)
        old = int.from_bytes(changed[at : at + width], "little")
        new = draw.choice((*NUMBERS, old + 1, old - 1, old * 2, old // 2, old << 8, 2**24, 10**6))
        changed[at : at + width] = (new % 256**width).to_bytes(width, "little")
    return bytes(changed)


def spoil_number(data: bytes, draw: random.Random) -> bytes:
    """Sizes and counts of a header that is text: one or two numbers in it become odd ones."""
    odd = (
        b"0",
        b"-1",
        b"1",
        b"2",
        b"3",
        b"8",
        b"65536",
        b"1000000000",
        b"2147483648",
        b"9" * 30,
        b"1e9",
        b"nan",
    )
    head, rest = data[:300], data[300:]
    for _ in range(draw.choice((1, 1, 2))):
        places = [found.span() for found in re.finditer(rb"\d+", head)]
        if places:
            first, end = draw.choice(places)
            head = head[:first] + draw.choice(odd) + head[end:]
    return head + rest


def spoil_json(data: bytes, draw: random.Random) -> bytes:
    """One or more values of a JSON text replaced by odd ones, left out, or put in another place."""
    root = [json.loads(data)]
    for _ in range(draw.choice((1, 1, 2, 5))):
        holder, key = _somewhere(root, draw)
        match draw.randrange(6):
            case 0 if holder is not root:
                del holder[key]
            case 1:
                other, name = _somewhere(root, draw)
                holder[key] = json.loads(json.dumps(other[name]))
            case 2 if isinstance(holder, dict):
                holder[draw.choice(("", "token", "x" * 300, str(draw.random())))] = copy.deepcopy(
                    draw.choice(ODD)
                )
            case 3 if type(holder[key]) in (int, float):
                holder[key] *= draw.choice((-1, 0, 0.5, 10, 1e9, 1e40))
            case _:
                holder[key] = copy.deepcopy(draw.choice(ODD))
    text = json.dumps(root[0]).replace(f'"{DEEP}"', "[" * 2000 + "]" * 2000)
    return text.replace(f'"{HUGE}"', "9" * 400).encode()


def _somewhere(root: list[Any], draw: random.Random) -> tuple[Any, Any]:
    """A list or object inside, and one of its keys, as deep as chance has it."""
    holder: Any = root
    key: Any = 0
    while isinstance(holder[key], dict | list) and holder[key] and draw.random() < 0.8:
        holder = holder[key]
        key = draw.choice(list(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
    return holder, key


def spoil_yaml(data: bytes, draw: random.Random) -> bytes:
    """A line of YAML with something else behind its colon, or lines put in."""
    lines = data.decode().splitlines()
    at = draw.randrange(len(lines))
    odd = draw.choice(YAML)
    match draw.randrange(4):
        case 0:
            lines[at] = lines[at].split(":")[0] + ": " + odd
        case 1:
            lines.insert(at, odd)
        case 2:
            lines[at] = lines[at].split(":")[0] + ": " + json.dumps(draw.choice(ODD))
        case _:
            lines[at] = lines[at].split(":")[0] + ": *a" + str(draw.randrange(12))
            lines.insert(0, BOMB)
    return "\n".join(lines).encode()


def spoil_header(data: bytes, draw: random.Random) -> bytes:
    """A safetensors file whose header says something else; its length is right."""
    (length,) = struct.unpack("<Q", data[:8])
    header = spoil_json(data[8 : 8 + length], draw)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def spoil_member(data: bytes, draw: random.Random) -> bytes:
    """An archive of which one member is spoiled, and all checksums are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    name = pickled if draw.random() < 0.7 else draw.choice(list(members))
    members[name] = spoil_bytes(members[name], draw)
    if draw.random() < 0.1:
        del members[draw.choice(list(members))]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def spoil_floats(data: bytes, draw: random.Random) -> bytes:
    """A file of float32 of which some are extreme; its size stays."""
    changed = bytearray(data)
    for _ in range(draw.choice((1, 3, 50))):
        at = 4 * draw.randrange(len(data) // 4)
        number = draw.choice((math.nan, math.inf, -math.inf, 3.4e38, -3.4e38, 1e9, -1e20, 1e-45, 0.0, -0.0))
        changed[at : at + 4] = struct.pack("<f", number)
    return bytes(changed)

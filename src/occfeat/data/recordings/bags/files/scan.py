"""Reads the files of bags record by record, without their indexes: what rosbags refuses.

That is a file whose end is cut off because the recorder was stopped or the disk was full, a damaged one, and
MCAP that other programs wrote. What comes before the damage is read, and pieces that cannot be read are
skipped and counted.

MCAP: https://mcap.dev/spec. ROS 1: http://wiki.ros.org/Bags/Format/2.0.
"""

import sqlite3
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import NamedTuple

from occfeat.data.recordings.bags.messages import Definition

MAX_RECORD_BYTES = 1_000_000_000
"""Largest record or chunk; a larger one is damage."""
_ZSTD = b"\x28\xb5\x2f\xfd"
_MCAP, _MCAP_HEAD = b"\x89MCAP0\r\n", 9
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END, _FOOTER = 3, 4, 5, 6, 15, 2
_ROS1 = b"#ROSBAG V2.0\n"
_ROS1_MESSAGE, _ROS1_CHUNK, _ROS1_CONNECTION = 2, 5, 7


class RawMessage(NamedTuple):
    """A message as it is stored."""

    topic: str
    kind: str
    log_time_ns: int
    data: bytes | memoryview


@dataclass(frozen=True)
class Channel:
    """A topic of one file."""

    topic: str
    kind: str
    encoding: str
    """`cdr` or `ros1`; others are not read."""
    definition: Definition


@dataclass
class Scan:
    """A file that is read from its beginning to where it ends or is cut off."""

    path: Path
    channels: dict[int, Channel] = field(default_factory=dict)
    """Channels so far by their number."""
    skipped: int = 0
    """Pieces that could not be read."""
    stop: str = ""
    """Why reading ended before the end of the file."""

    def messages(self) -> Iterator[RawMessage]:
        """Yield all messages in the order of the file."""
        self.skipped, self.stop = 0, ""
        read: Callable[[Scan], Iterator[RawMessage]] = _sqlite_messages
        with self.path.open("rb") as stream:
            start = stream.read(len(_ROS1))
        if start.startswith(_MCAP):
            read = _mcap_messages
        elif start == _ROS1:
            read = _ros1_messages
        yield from read(self)


def _mcap_messages(scan: Scan) -> Iterator[RawMessage]:
    """Yield the messages of an MCAP file."""
    schemas: dict[int, tuple[str, Definition]] = {}
    with scan.path.open("rb") as stream:
        stream.seek(len(_MCAP))
        for kind, body in _mcap_records(scan, stream):
            if kind in (_DATA_END, _FOOTER):
                return
            try:
                inner = _mcap_records(scan, BytesIO(_open_chunk(body))) if kind == _CHUNK else [(kind, body)]
                for inner_kind, inner_body in inner:
                    yield from _mcap_record(scan, schemas, inner_kind, inner_body)
            except Exception:  # decompressors raise any kind
                scan.skipped += 1
        scan.stop = scan.stop or "its end is missing"


def _mcap_records(scan: Scan, stream: BufferedIOBase) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of all complete records."""
    while head := stream.read(_MCAP_HEAD):
        length = struct.unpack("<Q", head[1:])[0] if len(head) == _MCAP_HEAD else MAX_RECORD_BYTES + 1
        body = stream.read(length) if length <= MAX_RECORD_BYTES else b""
        if len(body) != length:
            scan.stop = "it is cut off or damaged"
            return
        yield head[0], body


def _open_chunk(body: bytes) -> bytes:
    """Return the records of a chunk."""
    from rosbags.rosbag2.storage_mcap import decompress

    _, _, size, checksum, name_length = struct.unpack_from("<QQQII", body)
    at = 32 + name_length
    (length,) = struct.unpack_from("<Q", body, at)
    if size > MAX_RECORD_BYTES:
        raise ValueError("the chunk is too large")
    return decompress(body[at + 8 : at + 8 + length], body[32:at].decode(), size, checksum)


def _mcap_record(
    scan: Scan, schemas: dict[int, tuple[str, Definition]], kind: int, body: bytes
) -> Iterator[RawMessage]:
    """Note a schema or channel, or yield a message."""
    if kind == _MESSAGE:
        number, _, log_time_ns, _ = struct.unpack_from("<HIQQ", body)
        if (channel := scan.channels.get(number)) is not None:
            yield RawMessage(channel.topic, channel.kind, log_time_ns, _plain(body[22:]))
    elif kind == _SCHEMA:
        (number,) = struct.unpack_from("<H", body)
        name, encoding, text = _strings(body, 2, 3)
        schemas[number] = (_ros2_kind(name), Definition(text, is_idl="idl" in encoding))
    elif kind == _CHANNEL:
        number, schema = struct.unpack_from("<HH", body)
        topic, encoding = _strings(body, 4, 2)
        name, definition = schemas.get(schema, ("unknown", Definition("")))
        scan.channels.setdefault(number, Channel(topic, name, encoding, definition))


def _strings(body: bytes, at: int, count: int) -> list[str]:
    """Return strings that follow each other, each after its length."""
    found = []
    for _ in range(count):
        (length,) = struct.unpack_from("<I", body, at)
        if at + 4 + length > len(body):
            raise ValueError("a string is cut off")
        found.append(body[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return found


def _ros2_kind(name: str) -> str:
    """Return the name of a type in the notation of ROS 2."""
    package, _, kind = name.partition("/")
    return f"{package}/msg/{kind}" if kind and "/" not in kind else name


def _ros1_messages(scan: Scan) -> Iterator[RawMessage]:
    """Yield the messages of a ROS 1 bag."""
    with scan.path.open("rb") as stream:
        stream.seek(len(_ROS1))
        for head, body in _ros1_records(scan, stream):
            operation = head.get("op", b"\0")[0]
            try:
                inner = (
                    _ros1_records(scan, BytesIO(_open_ros1_chunk(head, body)))
                    if operation == _ROS1_CHUNK
                    else [(head, body)]
                )
                for inner_head, inner_body in inner:
                    yield from _ros1_record(scan, inner_head, inner_body)
            except Exception:  # decompressors raise any kind
                scan.skipped += 1


def _ros1_records(scan: Scan, stream: BufferedIOBase) -> Iterator[tuple[dict[str, bytes], bytes]]:
    """Yield header and content of all records. The content of a chunk at the end can be cut off."""
    while head := _sized(stream):
        fields, body = _ros1_fields(head[0]), _sized(stream)
        if body is not None and (body[1] or fields.get("op") == bytes([_ROS1_CHUNK])):
            yield fields, body[0]
        if body is None or not body[1]:
            scan.stop = "it is cut off or damaged"
            return


def _sized(stream: BufferedIOBase) -> tuple[bytes, bool] | None:
    """Return bytes that follow their length, and whether they are complete; None at the end of the file."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    (length,) = struct.unpack("<I", head)
    data = stream.read(min(length, MAX_RECORD_BYTES))
    return data, len(data) == length


def _ros1_fields(head: bytes) -> dict[str, bytes]:
    """Return the fields of a record's header."""
    fields, at = {}, 0
    while at + 4 <= len(head):
        (length,) = struct.unpack_from("<I", head, at)
        name, _, value = head[at + 4 : at + 4 + length].partition(b"=")
        fields[name.decode("ascii", "replace")] = value
        at += 4 + length
    return fields


def _open_ros1_chunk(head: dict[str, bytes], body: bytes) -> bytes:
    """Return the records of a chunk."""
    from rosbags.rosbag1.reader import decompressors

    return decompressors[head["compression"].decode()](body)


def _ros1_record(scan: Scan, head: dict[str, bytes], body: bytes) -> Iterator[RawMessage]:
    """Note a connection, or yield a message."""
    operation = head.get("op", b"\0")[0]
    if operation == _ROS1_CONNECTION:
        (number,) = struct.unpack("<I", head["conn"])
        about = _ros1_fields(body)
        definition = Definition(about["message_definition"].decode())
        topic = "/".join(part for part in head["topic"].decode().split("/") if part)
        scan.channels.setdefault(
            number, Channel(f"/{topic}", _ros2_kind(about["type"].decode()), "ros1", definition)
        )
    elif operation == _ROS1_MESSAGE:
        (number,) = struct.unpack("<I", head["conn"])
        seconds, nanoseconds = struct.unpack("<II", head["time"])
        if (channel := scan.channels.get(number)) is not None:
            yield RawMessage(channel.topic, channel.kind, seconds * 10**9 + nanoseconds, body)


def _sqlite_messages(scan: Scan) -> Iterator[RawMessage]:
    """Yield the messages of a .db3 file, until its pages are damaged."""
    try:
        database = sqlite3.connect(f"{scan.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    except sqlite3.Error as error:
        scan.stop = str(error)
        return
    try:
        database.execute("PRAGMA writable_schema = ON")  # or SQLite refuses a file that is cut off
        for number, topic, kind, encoding in database.execute(
            "SELECT id, name, type, serialization_format FROM topics"
        ):
            scan.channels[number] = Channel(str(topic), str(kind), str(encoding), Definition(""))
        for number, definition in _sqlite_definitions(database).items():
            scan.channels[number] = Channel(*_first_three(scan.channels[number]), definition)
        for number, time_ns, data in database.execute("SELECT topic_id, timestamp, data FROM messages"):
            if number in scan.channels and isinstance(time_ns, int) and isinstance(data, bytes):
                yield RawMessage(
                    scan.channels[number].topic, scan.channels[number].kind, time_ns, _plain(data)
                )
            else:
                scan.skipped += 1
    except (sqlite3.Error, ValueError, OverflowError) as error:
        scan.stop = f"it is cut off or damaged ({error})"
    finally:
        database.close()


def _first_three(channel: Channel) -> tuple[str, str, str]:
    """Return topic, type and encoding of a channel."""
    return channel.topic, channel.kind, channel.encoding


def _sqlite_definitions(database: sqlite3.Connection) -> dict[int, Definition]:
    """Return the definitions of types by number of the topic; bags before ROS 2 Iron have none."""
    query = (
        "SELECT topics.id, encoding, encoded_message_definition FROM topics "
        "JOIN message_definitions ON topics.type = message_definitions.topic_type"
    )
    try:
        rows = database.execute(query).fetchall()
    except sqlite3.Error:
        return {}
    return {number: Definition(str(text), is_idl="idl" in str(encoding)) for number, encoding, text in rows}


def _plain(data: bytes) -> bytes:
    """Return a message that can be compressed on its own, decompressed."""
    if not data.startswith(_ZSTD):
        return data
    from rosbags.rosbag2.storage_mcap import DECOMPRESSORS

    return DECOMPRESSORS["zstd"](data, 0)

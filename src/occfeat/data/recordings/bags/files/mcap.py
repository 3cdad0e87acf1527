"""Indexed MCAP files through rosbags, with each byte read once at most and copied as little as possible.

rosbags reads every chunk that holds an asked-for message and copies each message twice. Here, the messages
of a chunk that is read whole are views of it. Where a chunk is stored as it is and only a small part of it is
asked for, such as transforms beside images, that part is found by the index and the rest is not read.

MCAP: https://mcap.dev/spec.
"""

import heapq
import os
import struct
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import ChunkInfo, McapReader, decompress

from occfeat.data.recordings.bags.files.scan import MAX_RECORD_BYTES

SMALL = 0.5
"""Largest share of a chunk that is read message by message (this project's choice)."""
_HEAD = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<BQHIQQ")
_INDEX = struct.Struct("<BQHI")
_ENTRY = struct.Struct("<QQ")
_MESSAGE_KIND, _INDEX_KIND = 5, 7


class StampedMessage(NamedTuple):
    """A message, in the order of a bag: by log time, then by place in the file."""

    time_ns: int
    chunk_at: int
    """Where its chunk begins in the file."""
    at: int
    """Where its record begins in the chunk."""
    channel: int
    data: bytes | memoryview


class McapFile(McapReader):
    """rosbags' reader of an MCAP file, with other ways to read its chunks."""

    def messages(  # type: ignore[override]  # views, too
        self, connections: Collection[Connection], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes | memoryview]]:
        """Yield connection, log time in nanoseconds and bytes of messages, in order of log time.

        Args:
            connections: Those whose messages are asked for.
            start: Leave out earlier log times, in nanoseconds.
            stop: Leave out this log time and later ones.
        """
        if not self.chunks:
            yield from super().messages(connections, start, stop)
            return
        first_ns, last_ns = (0 if start is None else start), (2**64 if stop is None else stop)
        wanted = {one.id: one for one in connections}
        waiting: list[StampedMessage] = []
        for chunk in sorted(self.chunks, key=lambda one: (one.message_start_time, one.chunk_start_offset)):
            if not _is_concerned(chunk, wanted, first_ns, last_ns):
                continue
            while waiting and waiting[0].time_ns < chunk.message_start_time:
                yield _released(wanted, heapq.heappop(waiting))
            for message in self._messages_of(chunk, wanted):
                if first_ns <= message.time_ns < last_ns:
                    heapq.heappush(waiting, message)
        while waiting:
            yield _released(wanted, heapq.heappop(waiting))

    def _messages_of(self, chunk: ChunkInfo, wanted: Collection[int]) -> Iterator[StampedMessage]:
        """Yield the asked-for messages of a chunk in the order of the file."""
        places = [] if chunk.compression else self._small_part(chunk, wanted)
        if not places:
            return _walk(self._content(chunk), chunk.chunk_start_offset, wanted)
        return (self._message_at(chunk, *place) for place in places)

    def _content(self, chunk: ChunkInfo) -> memoryview:
        """Return the records of a chunk, whose checksum is verified if it has one."""
        at = chunk.chunk_start_offset + _HEAD.size
        (checksum,) = struct.unpack("<I", self._read(at + 24, 4))
        stored = self._read(at + 40 + len(chunk.compression), chunk.compressed_size)
        return memoryview(decompress(stored, chunk.compression, chunk.uncompressed_size, checksum))

    def _small_part(self, chunk: ChunkInfo, wanted: Collection[int]) -> list[tuple[int, int, int]]:
        """Return channel, place and largest size of each asked-for message, if they are a small part.

        An empty list says that they are not, or that the index of the chunk is missing or damaged.
        """
        index = self._read(chunk.chunk_start_offset + chunk.chunk_length, chunk.message_index_length)
        found = sorted(_entries(index))
        if not found:
            return []
        ends = [at for at, _ in found[1:]] + [chunk.uncompressed_size]
        places = [
            (channel, at, end - at)
            for (at, channel), end in zip(found, ends, strict=True)
            if channel in wanted
        ]
        is_small = sum(size for _, _, size in places) <= SMALL * chunk.uncompressed_size
        return places if is_small and found[0][0] >= 0 else []

    def _message_at(self, chunk: ChunkInfo, channel: int, at: int, size: int) -> StampedMessage:
        """Return the message that an index points to."""
        start = chunk.chunk_start_offset + _HEAD.size + 40 + len(chunk.compression)
        record = self._read(start + at, size)
        kind, length, number, _, time_ns, _ = _MESSAGE.unpack_from(record)
        end = _HEAD.size + length
        if kind != _MESSAGE_KIND or number != channel or not _MESSAGE.size <= end <= size:
            raise ValueError("the index of a chunk does not point to a message")
        return StampedMessage(time_ns, chunk.chunk_start_offset, at, channel, record[_MESSAGE.size : end])

    def _read(self, at: int, size: int) -> bytes:
        """Return bytes of the file."""
        if self.bio is None or size > MAX_RECORD_BYTES:
            raise ValueError("the file is closed, or a record is too large")
        data = os.pread(self.bio.fileno(), size, at)
        if len(data) != size:
            raise ValueError("the file is cut off")
        return data


class McapFolder(DirectoryReader):
    """rosbags' reader of the folder of a bag, with `McapFile`."""

    STORAGE_PLUGINS = MappingProxyType(
        {**DirectoryReader.STORAGE_PLUGINS, "mcap": McapFile}  # type: ignore[dict-item]
    )


class Ros2Reader(Reader):
    """rosbags' reader of ROS 2 bags, with `McapFile`."""

    STORAGE_PLUGINS = MappingProxyType(
        {**Reader.STORAGE_PLUGINS, "dir": McapFolder, ".mcap": McapFile}  # type: ignore[dict-item]
    )


def _is_concerned(chunk: ChunkInfo, wanted: Collection[int], first_ns: int, last_ns: int) -> bool:
    """Return whether a chunk can have asked-for messages; without an index it can have any."""
    is_in_time = first_ns <= chunk.message_end_time and chunk.message_start_time < last_ns
    channels = chunk.message_index_offsets
    return is_in_time and (not channels or any(one in channels for one in wanted))


def _released(
    wanted: Mapping[int, Connection], message: StampedMessage
) -> tuple[Connection, int, bytes | memoryview]:
    """Return a message as rosbags does."""
    return wanted[message.channel], message.time_ns, message.data


def _walk(content: memoryview, chunk_at: int, wanted: Collection[int]) -> Iterator[StampedMessage]:
    """Yield the asked-for messages among the records of a chunk."""
    at = 0
    while at < len(content):
        kind, length = _HEAD.unpack_from(content, at)
        end = at + _HEAD.size + length
        if end > len(content):
            raise ValueError("a record is cut off")
        if kind == _MESSAGE_KIND:
            _, _, channel, _, time_ns, _ = _MESSAGE.unpack_from(content, at)
            if channel in wanted:
                yield StampedMessage(time_ns, chunk_at, at, channel, content[at + _MESSAGE.size : end])
        at = end


def _entries(index: bytes) -> Iterator[tuple[int, int]]:
    """Yield place and channel of all messages that the index of a chunk lists; one at -1 if it is damaged."""
    at = 0
    while at + _INDEX.size <= len(index):
        kind, length, channel, size = _INDEX.unpack_from(index, at)
        start, at = at + _INDEX.size, at + _HEAD.size + length
        if kind != _INDEX_KIND or size % _ENTRY.size or start + size > min(at, len(index)):
            yield -1, channel
            return
        for _, place in _ENTRY.iter_unpack(index[start : start + size]):
            yield place, channel

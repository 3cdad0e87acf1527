"""Indexed MCAP files: the same messages as rosbags gives, less of the file read, and damage that is seen."""

import os
import random
import struct
from binascii import crc32
from collections.abc import Iterator
from pathlib import Path

import pytest
from rosbags.rosbag2 import Reader

from occfeat.data.recordings.bags.bag import open_bag
from occfeat.data.recordings.bags.files.mcap import McapFile, Ros2Reader
from tests.support.recordings.bag_writer import BagFile

TEXT = "std_msgs/msg/String"
START_US = 1_700_000_000_000_000
TOPICS = {"/large": 60_000, "/middle": 5_000, "/small": 20}
"""Bytes of a message of each topic."""


def write_bag(path: Path, compression: str = "", messages: int = 200) -> Path:
    """Messages of three topics in several chunks; times repeat, and some come late by several chunks."""
    draw = random.Random(0)
    with BagFile(path, "mcap", compression) as bag:
        for tick in range(messages):
            for topic, size in TOPICS.items():
                time_us = START_US + 1000 * (tick - draw.choice((0, 0, 0, 1, 40)))
                text = f"{tick} " + draw.choice("abc") * draw.randrange(size)
                bag.write(topic, TEXT, time_us, bag.make(TEXT, data=text))
    return bag.path


def read_messages(
    reader: Reader, topics: set[str], start_ns: int | None = None, stop_ns: int | None = None
) -> list[tuple[str, int, bytes]]:
    """All messages of topics in the order in which they come."""
    with reader:
        chosen = [one for one in reader.connections if one.topic in topics]
        return [(one.topic, at, bytes(data)) for one, at, data in reader.messages(chosen, start_ns, stop_ns)]


def _name(topics: set[str]) -> str:
    """Name a set in the same order in every process."""
    return " ".join(sorted(topics))


@pytest.mark.parametrize("compression", ["", "storage", "message"])
@pytest.mark.parametrize("topics", [{"/small"}, {"/large"}, {"/small", "/middle"}, set(TOPICS)], ids=_name)
def test_messages__are_those_of_rosbags(tmp_path: Path, compression: str, topics: set[str]) -> None:
    bag = write_bag(tmp_path / "bag", compression)
    found = read_messages(Ros2Reader(bag), topics)
    assert found == read_messages(Reader(bag), topics)
    assert len(found) == 200 * len(topics)


@pytest.mark.parametrize("topics", [{"/small"}, set(TOPICS)], ids=_name)
def test_messages__between_two_times(tmp_path: Path, topics: set[str]) -> None:
    bag = write_bag(tmp_path / "bag")
    start_ns, stop_ns = (START_US + 50_000) * 1000, (START_US + 90_000) * 1000
    found = read_messages(Ros2Reader(bag), topics, start_ns, stop_ns)
    assert found == read_messages(Reader(bag), topics, start_ns, stop_ns)
    assert {start_ns <= at < stop_ns for _, at, _ in found} == {True}


def test_small_part__is_read_and_the_rest_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bag, sizes, pread = write_bag(tmp_path / "bag"), [0], os.pread

    def counted(file: int, size: int, at: int) -> bytes:
        sizes.append(size)
        return pread(file, size, at)

    monkeypatch.setattr(os, "pread", counted)
    assert len(read_messages(Ros2Reader(bag), {"/small"})) == 200
    (file,) = bag.glob("*.mcap")
    assert 0 < sum(sizes) < 0.02 * file.stat().st_size


def test_chunks_without_an_index__are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = write_bag(tmp_path / "bag").glob("*.mcap")
    expected = read_messages(Reader(file), {"/small"})
    read_index = McapFile.read_index

    def without_message_index(self: McapFile) -> None:
        read_index(self)
        self.chunks = [one._replace(message_index_offsets={}, message_index_length=0) for one in self.chunks]

    monkeypatch.setattr(McapFile, "read_index", without_message_index)
    assert read_messages(Ros2Reader(file), {"/small"}) == expected


def _chunks(content: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    """Where each chunk of a file that is not compressed begins, and where its records begin and end."""
    at = 8
    while at + 9 <= len(content):
        kind, length = struct.unpack_from("<BQ", content, at)
        if kind == 6:
            yield at, at + 9 + 40, at + 9 + length
        at += 9 + length


def _with_checksums(file: Path) -> list[tuple[int, int, int]]:
    """Add checksums, which rosbags' writer leaves out, to all chunks; return where they are."""
    content = bytearray(file.read_bytes())
    places = list(_chunks(content))
    for start, first, last in places:
        struct.pack_into("<I", content, start + 9 + 24, crc32(content[first:last]))
    file.write_bytes(content)
    return places


def test_checksum__finds_damage_in_a_chunk_that_is_read_whole(tmp_path: Path) -> None:
    (file,) = write_bag(tmp_path / "bag").glob("*.mcap")
    expected = read_messages(Reader(file), set(TOPICS))
    places = _with_checksums(file)
    assert read_messages(Ros2Reader(file), set(TOPICS)) == expected
    content = bytearray(file.read_bytes())
    content[places[2][2] - 5] ^= 1  # in the middle of a text, where nothing else can find it
    file.write_bytes(content)
    with open_bag([file]) as bag:
        found = [message.log_time_us for message in bag.messages(list(TOPICS))]
        assert "checksum" in " ".join(bag.damage)
    assert 0.7 * len(expected) < len(found) < len(expected)


def test_index_that_points_elsewhere__is_damage_and_nothing_is_lost(tmp_path: Path) -> None:
    (file,) = write_bag(tmp_path / "bag").glob("*.mcap")
    expected = read_messages(Reader(file), {"/small"})
    content = bytearray(file.read_bytes())
    _, _, end = list(_chunks(content))[1]
    while struct.unpack_from("<BQ", content, end)[0] == 7:  # the index of each channel
        (length,) = struct.unpack_from("<Q", content, end + 1)
        (place,) = struct.unpack_from("<Q", content, end + 9 + 6 + 8)
        struct.pack_into("<Q", content, end + 9 + 6 + 8, place + 3)
        end += 9 + length
    file.write_bytes(content)
    with open_bag([file]) as bag:
        found = [(one.topic, one.log_time_us * 1000, bytes(one.data)) for one in bag.messages(["/small"])]
        assert "index" in " ".join(bag.damage)
    assert sorted(found) == sorted(expected)

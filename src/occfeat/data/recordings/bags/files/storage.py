"""One file or folder of a bag: its topics and raw messages, through rosbags.

rosbags' readers of the formats are used, not its `AnyReader`: that one refuses a whole bag when one of its
types cannot be read, when the end is cut off, or when `metadata.yaml` is missing. Those are scanned.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from occfeat.data.recordings.bags.files.scan import Channel, RawMessage, Scan
from occfeat.data.recordings.bags.messages import NEWEST_ROS2, Decoder, Definition
from occfeat.errors import DatasetError

if TYPE_CHECKING:
    from rosbags.rosbag1 import Reader as Reader1
    from rosbags.rosbag2 import Reader as Reader2

DISTRIBUTIONS = ("dashing", "eloquent", "foxy", "galactic", "humble", "iron", "jazzy", "kilted", "lyrical")
"""Distributions of ROS 2 whose types rosbags knows."""
MAX_METADATA_BYTES = 10_000_000
"""Largest description of a bag; a topic takes some hundred bytes."""
_ODD_METADATA = re.compile(rb"[\s:,\[{-]\*\w|(?:[\[{]\s*){5}|(?:- +){5}")
"""Aliases, of which a few can expand beyond memory, and deep nesting, which takes ruamel.yaml hours."""
ENDINGS = (".mcap", ".db3")
"""Files of ROS 2 bags."""


class StoredTopic(NamedTuple):
    """A topic of one file."""

    name: str
    kind: str
    messages: int


@dataclass(eq=False)
class Storage:
    """An open file or folder of a bag."""

    path: Path
    is_ros1: bool
    topics: tuple[StoredTopic, ...]
    decoder: Decoder
    reader: "Reader1 | Reader2 | None"
    """rosbags' reader; None if the file is scanned."""
    damage: dict[str, None] = field(default_factory=dict)
    """What is damaged, one sentence each."""

    def messages(
        self, topics: frozenset[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[RawMessage]:
        """Yield the raw messages of topics in order of log time; those of a scanned file in its own order."""
        if not any(topic.name in topics for topic in self.topics):
            return
        first_ns = -(2**63) if start_ns is None else start_ns
        if self.reader is not None:
            chosen = [one for one in self.reader.connections if one.topic in topics]
            try:
                for connection, time_ns, data in self.reader.messages(chosen, start_ns, stop_ns):
                    is_sound = isinstance(time_ns, int) and isinstance(data, bytes | memoryview)
                    if not is_sound:  # SQLite stores any type
                        raise ValueError("a message has no time or no bytes")
                    first_ns = time_ns + 1
                    yield RawMessage(connection.topic, connection.msgtype, time_ns, data)
                return
            except Exception as error:  # rosbags raises any kind on damaged files
                self.damage[
                    f"{self.path} is damaged at log time {first_ns // 1000} us: {_reason(error)}."
                ] = None
        last_ns = 2**63 if stop_ns is None else stop_ns
        for path in _files(self.path):
            for message in Scan(path).messages():
                if message.topic in topics and first_ns <= message.log_time_ns < last_ns:
                    yield message

    def span_us(self) -> tuple[int, int] | None:
        """Return first and last log time; None without messages. A scanned file is read whole."""
        if self.reader is not None:
            start_ns, end_ns = int(self.reader.start_time), int(self.reader.end_time)
            return (start_ns // 1000, (end_ns - 1) // 1000) if start_ns < end_ns else None
        times = [one.log_time_ns // 1000 for path in _files(self.path) for one in Scan(path).messages()]
        return (min(times), max(times)) if times else None

    def close(self) -> None:
        """Close all files."""
        if self.reader is not None:
            self.reader.close()


def open_storages(path: Path) -> list[Storage]:
    """Open a file or folder, and each file of a folder on its own if the folder cannot be read as a whole.

    Raises:
        DatasetError: It is missing, is not a bag, or nothing in it can be read.
    """
    if not path.exists():
        raise DatasetError(f"Bag {path} does not exist.")
    try:
        return [_open_by_rosbags(path)]
    except Exception as error:  # rosbags raises any kind on damaged files
        reason = _reason(error)
    hint = "Give a .bag file, the folder of a ROS 2 bag, an .mcap or a .db3 file."
    found = [_open_file(file, reason, is_whole=not path.is_dir()) for file in _files(path)]
    sound = [storage for storage in found if storage is not None and storage.topics]
    if not sound:
        raise DatasetError(f"Bag {path} cannot be read: {reason}.", hint=hint)
    sound[0].damage[f"{path} is not complete: {reason}."] = None
    return sound


def _open_file(file: Path, reason: str, *, is_whole: bool) -> Storage | None:
    """Open one file by its index if possible, and otherwise by a scan; None if neither works."""
    try:
        if not is_whole:
            return _open_by_rosbags(file)
    except Exception as error:  # rosbags raises any kind on damaged files
        reason = _reason(error)
    try:
        return _open_by_scan(file, reason)
    except OSError:
        return None


def _files(path: Path) -> list[Path]:
    """Return the files of a bag in order of their names; numbers count as numbers."""
    if not path.is_dir():
        return [path]
    files = [one for one in path.iterdir() if one.suffix in ENDINGS and one.is_file()]
    return sorted(files, key=lambda one: (len(one.name), one.name))


def _open_by_rosbags(path: Path) -> Storage:
    """Open a file or folder by its index.

    Raises:
        ValueError: The description of the bag cannot be right. rosbags raises any other kind of error.
    """
    from rosbags.rosbag1 import Reader as Reader1

    from occfeat.data.recordings.bags.files.mcap import Ros2Reader

    is_ros1 = path.suffix == ".bag"
    if (path / "metadata.yaml").is_file():
        _check_metadata(path / "metadata.yaml")
    reader = Reader1(path) if is_ros1 else Ros2Reader(path)
    reader.open()
    topics = tuple(StoredTopic(one.topic, one.msgtype, one.msgcount) for one in reader.connections)
    if not all(_is_sound(topic) for topic in topics):
        reader.close()
        raise ValueError("names, types or counts of topics are damaged")
    definitions = {
        one.msgtype: Definition(one.msgdef.data, is_idl=one.msgdef.format.name == "IDL")
        for one in reader.connections
    }
    distribution = "ros1_noetic" if is_ros1 else _distribution(str(getattr(reader, "ros_distro", "")))
    decoder = Decoder(definitions, is_ros1=is_ros1, distribution=distribution)
    return Storage(path, is_ros1, topics, decoder, reader)


def _check_metadata(path: Path) -> None:
    """Refuse a description that is too large, or has aliases or deep nesting.

    Raises:
        ValueError: It is not what a recorder writes.
    """
    if path.stat().st_size > MAX_METADATA_BYTES or _ODD_METADATA.search(path.read_bytes()):
        raise ValueError("metadata.yaml is too large, or has aliases or deep nesting")


def _is_sound(topic: StoredTopic) -> bool:
    """Return whether name, type and count of a topic are of the right kinds: a spoiled file has any."""
    texts = isinstance(topic.name, str) and isinstance(topic.kind, str)
    return texts and isinstance(topic.messages, int) and topic.messages >= 0


def _open_by_scan(path: Path, reason: str) -> Storage:
    """Open a file that rosbags refuses, by reading all of it once; it has no topics if nothing can be read.

    Raises:
        DatasetError: It has messages of ROS 1 and of ROS 2.
    """
    scan = Scan(path)
    counts = Counter((message.topic, message.kind) for message in scan.messages())
    channels = [channel for channel in scan.channels.values() if channel.encoding in ("cdr", "ros1")]
    topics = tuple(
        StoredTopic(*one, counts[one]) for one in dict.fromkeys((c.topic, c.kind) for c in channels)
    )
    encodings = {channel.encoding for channel in channels}
    if len(encodings) > 1:
        raise DatasetError(f"Bag {path} has messages of ROS 1 and of ROS 2.")
    is_ros1 = encodings == {"ros1"}
    definitions = {channel.kind: channel.definition for channel in channels}
    decoder = Decoder(definitions, is_ros1=is_ros1, distribution="ros1_noetic" if is_ros1 else NEWEST_ROS2)
    damage = dict.fromkeys(_sentences(scan, counts.total(), reason))
    return Storage(path, is_ros1, topics, decoder, None, damage)


def _sentences(scan: Scan, count: int, reason: str) -> Iterator[str]:
    """Yield what is wrong with a file that was scanned."""
    stop = f"{scan.stop}: " if scan.stop else f"{reason}: "
    skipped = f" {scan.skipped} pieces of it are left out." if scan.skipped else ""
    yield f"{scan.path} is read without its index, because {stop}{count} messages are there.{skipped}"
    others = [channel for channel in scan.channels.values() if channel.encoding not in ("cdr", "ros1")]
    for channel in others[:5]:
        yield _not_read(channel)


def _not_read(channel: Channel) -> str:
    """Return that a topic is not in an encoding of ROS."""
    return f"{channel.topic} is encoded as {channel.encoding[:40]!r}, not as ROS does; it is left out."


def _distribution(name: str) -> str:
    """Return whose types stand in for missing definitions: those of the recorder, or of a recent ROS 2."""
    return f"ros2_{name}" if name in DISTRIBUTIONS else NEWEST_ROS2


def _reason(error: Exception) -> str:
    """Return what an error of rosbags says, in one line."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__

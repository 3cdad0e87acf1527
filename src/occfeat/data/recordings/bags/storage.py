"""One file or folder of a bag: its topics and raw messages, through rosbags.

rosbags' readers of the formats are used, not its `AnyReader`: that one refuses a whole bag when one of its
types cannot be read, when the end is cut off, or when `metadata.yaml` is missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from occfeat.data.recordings.bags.messages import Decoder, Definition
from occfeat.errors import DatasetError

if TYPE_CHECKING:
    from rosbags.interfaces import Connection, MessageDefinition
    from rosbags.rosbag1 import Reader as Reader1
    from rosbags.rosbag2 import Reader as Reader2

NEWEST_ROS2 = "ros2_jazzy"
DISTRIBUTIONS = ("dashing", "eloquent", "foxy", "galactic", "humble", "iron", "jazzy", "kilted", "lyrical")
"""Distributions of ROS 2 whose types rosbags knows."""


class StoredTopic(NamedTuple):
    """A topic of one file."""

    name: str
    kind: str
    messages: int


class RawMessage(NamedTuple):
    """A message as it is stored."""

    topic: str
    kind: str
    log_time_ns: int
    data: bytes


@dataclass
class Storage:
    """An open file or folder of a bag."""

    path: Path
    is_ros1: bool
    reader: "Reader1 | Reader2"
    topics: tuple[StoredTopic, ...]
    decoder: Decoder
    damage: list[str] = field(default_factory=list)

    def messages(
        self, topics: frozenset[str], start_ns: int | None, stop_ns: int | None
    ) -> Iterator[RawMessage]:
        """Yield the raw messages of topics in order of log time."""
        chosen = [one for one in self.reader.connections if one.topic in topics]
        if not chosen:
            return
        for connection, time_ns, data in self.reader.messages(chosen, start_ns, stop_ns):
            yield RawMessage(connection.topic, connection.msgtype, time_ns, data)

    def __enter__(self) -> "Storage":
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.close()


def open_storage(path: Path) -> Storage:
    """Open one file or folder.

    Raises:
        DatasetError: It is missing, is not a bag, or cannot be read.
    """
    if not path.exists():
        raise DatasetError(f"Bag {path} does not exist.")
    is_ros1 = path.suffix == ".bag"
    try:
        reader = _reader_of(path, is_ros1=is_ros1)
        reader.open()
    except Exception as error:  # rosbags raises any kind on damaged files
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DatasetError(f"Bag {path} cannot be read: {reason}") from error
    topics = tuple(_topics(reader.connections))
    return Storage(path, is_ros1, reader, topics, _decoder(reader, is_ros1=is_ros1))


def _reader_of(path: Path, *, is_ros1: bool) -> "Reader1 | Reader2":
    """Return rosbags' reader of a path."""
    from rosbags.rosbag1 import Reader as Reader1
    from rosbags.rosbag2 import Reader as Reader2

    return Reader1(path) if is_ros1 else Reader2(path)


def _topics(connections: "list[Connection]") -> Iterator[StoredTopic]:
    """Yield the topics of all connections; several nodes can write to one topic."""
    for one in connections:
        yield StoredTopic(one.topic, one.msgtype, one.msgcount)


def _decoder(reader: "Reader1 | Reader2", *, is_ros1: bool) -> Decoder:
    """Return a decoder with the file's own types, and those of the recorder's distribution in their place."""
    definitions = {one.msgtype: _definition(one.msgdef) for one in reader.connections}
    return Decoder(definitions, is_ros1=is_ros1, distribution=_distribution(reader, is_ros1=is_ros1))


def _definition(stored: "MessageDefinition") -> Definition:
    """Return a definition of rosbags as one of ours."""
    return Definition(stored.data, is_idl=stored.format.name == "IDL")


def _distribution(reader: "Reader1 | Reader2", *, is_ros1: bool) -> str:
    """Return whose types stand in for missing definitions: those of the recorder, or of a recent ROS 2."""
    if is_ros1:
        return "ros1_noetic"
    name = str(getattr(reader, "ros_distro", None) or "")
    return f"ros2_{name}" if name in DISTRIBUTIONS else NEWEST_ROS2

"""Bags of ROS 1 and ROS 2, opened without ROS: topics, and messages in order of bag time.

One recording can be several bags or files, such as the splits of a long drive; they are read as one.
"""

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from occfeat.data.recordings.bags.files.storage import Storage, open_storages
from occfeat.data.recordings.bags.messages import Message
from occfeat.errors import DatasetError
from occfeat.machine.extras import require_extra


@dataclass(frozen=True)
class Topic:
    """A topic of a bag."""

    name: str
    kind: str
    """Type of its messages in the notation of ROS 2, such as `sensor_msgs/msg/Image`."""
    count: int
    """Number of messages."""


class Bag:
    """One recording: a bag, or several that belong together. Made by `open_bag`; closed as a context."""

    def __init__(self, storages: Sequence[Storage], topics: Mapping[str, Topic], stack: ExitStack) -> None:
        self._storages = tuple(storages)
        self._stack = stack
        self._first: dict[str, Message | None] = {}
        self.topics = topics
        """All topics by name."""

    @property
    def damage(self) -> tuple[str, ...]:
        """What is damaged as far as it was read, one sentence each; what is there is read."""
        return tuple(one for storage in self._storages for one in storage.damage)

    def messages(
        self, topics: Collection[str], start_us: int | None = None, stop_us: int | None = None
    ) -> Iterator[Message]:
        """Yield the messages of topics in order of their log time, one at a time.

        Args:
            topics: Names of topics. Those that the bag lacks have no messages.
            start_us: Leave out earlier log times.
            stop_us: Leave out this log time and later ones.
        """
        wanted = frozenset(topics)
        parts = (_messages(storage, wanted, start_us, stop_us) for storage in self._storages)
        return heapq.merge(*parts, key=lambda message: message.log_time_us)

    def first_message(self, topic: str) -> Message | None:
        """Return the first message of a topic, if it has any. It is found once and kept."""
        if topic not in self._first:
            self._first[topic] = next(self.messages([topic]), None)
        return self._first[topic]

    def topics_of(self, *kinds: str) -> list[Topic]:
        """Return the topics with messages of these types, by name."""
        return [topic for _, topic in sorted(self.topics.items()) if topic.kind in kinds]

    def span_us(self) -> tuple[int, int]:
        """Return the first and the last log time.

        Raises:
            DatasetError: The bag has no messages.
        """
        spans = [span for storage in self._storages if (span := storage.span_us()) is not None]
        if not spans:
            raise DatasetError(f"Bag {self._storages[0].path} has no messages.")
        return min(start for start, _ in spans), max(end for _, end in spans)

    def close(self) -> None:
        """Close all files."""
        self._stack.close()

    def __enter__(self) -> "Bag":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_bag(paths: Sequence[Path]) -> Bag:
    """Open one recording.

    Args:
        paths: `.bag` files, or folders of ROS 2 bags, `.mcap` and `.db3` files. Several are read as one.

    Raises:
        MissingExtraError: The extra `ros` is not installed.
        DatasetError: A path is missing, is not a bag, or cannot be read at all.
    """
    require_extra("ros", what="Reading bags")
    if not paths:
        raise DatasetError(
            "Expected at least one bag, got none.", hint="Give a .bag file, a folder or an .mcap."
        )
    with ExitStack() as stack:
        storages: list[Storage] = []
        for path in paths:
            for storage in open_storages(path):
                stack.callback(storage.close)
                storages.append(storage)
        if len({storage.is_ros1 for storage in storages}) > 1:
            hint = "Import bags of ROS 1 and of ROS 2 as recordings of their own."
            raise DatasetError("One recording cannot be bags of ROS 1 and of ROS 2.", first=paths, hint=hint)
        return Bag(storages, _join_topics(storages), stack.pop_all())


def _messages(
    storage: Storage, topics: frozenset[str], start_us: int | None, stop_us: int | None
) -> Iterator[Message]:
    """Yield the messages of one file or folder."""
    start_ns = None if start_us is None else start_us * 1000
    stop_ns = None if stop_us is None else stop_us * 1000
    for raw in storage.messages(topics, start_ns, stop_ns):
        yield Message(raw.topic, raw.kind, raw.log_time_ns // 1000, raw.data, storage.decoder)


def _join_topics(storages: Sequence[Storage]) -> dict[str, Topic]:
    """Return all topics with the sum of their messages.

    Raises:
        DatasetError: A topic has messages of two types.
    """
    joined: dict[str, Topic] = {}
    for topic in (one for storage in storages for one in storage.topics):
        before = joined.get(topic.name, Topic(topic.name, topic.kind, 0))
        if before.kind != topic.kind:
            raise DatasetError(
                f"Topic {topic.name} has messages of two types.", first=(before.kind, topic.kind)
            )
        joined[topic.name] = Topic(topic.name, topic.kind, before.count + topic.messages)
    return dict(sorted(joined.items()))

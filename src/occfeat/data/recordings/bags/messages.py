"""Messages of a bag: raw bytes, the header that most of them begin with, and their typed fields.

Times are whole microseconds. The stamp of the header says when a sensor measured; the log time says when
the message arrived at the recorder.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from occfeat.errors import LensError, MessageError

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

HEADER = "std_msgs/msg/Header"
NEWEST_ROS2 = "ros2_jazzy"
"""The distribution whose types stand in for missing definitions, in the words of rosbags."""
MAX_FRAME_BYTES = 4096
"""Longest name of a frame in bytes (this project's choice)."""


@dataclass(frozen=True)
class Header:
    """The header of a message."""

    time_us: int
    """When the sensor measured, in microseconds since 1970 or since the sensor was switched on."""
    frame: str
    """Name of the frame of the content, without leading slashes."""


@dataclass(frozen=True)
class Definition:
    """How a type of message is laid out, as the bag says."""

    text: str
    """The definition, or an empty string if the bag has none."""
    is_idl: bool = False
    """Whether the text is in OMG IDL instead of ROS' own language."""


class Decoder:
    """Turns raw messages of one bag into values with fields.

    Types are defined by the bag. Those that it does not define are taken from a ROS distribution. Only types
    that are decoded are looked at, so a definition that cannot be read spoils no other type.
    """

    def __init__(self, definitions: Mapping[str, Definition], *, is_ros1: bool, distribution: str) -> None:
        self.is_ros1 = is_ros1
        self._definitions = definitions
        self._distribution = distribution
        self._stores: dict[str, Typestore] = {}

    def decode(self, kind: str, data: bytes | memoryview) -> Any:
        """Return a message with its fields as attributes; arrays of numbers are numpy arrays.

        Raises:
            MessageError: The type is unknown, or the bytes do not fit it.
        """
        store = self._store(kind)
        read = store.deserialize_ros1 if self.is_ros1 else store.deserialize_cdr
        return _guarded(f"A message of type {kind} cannot be decoded", lambda: read(memoryview(data), kind))

    def has_header(self, kind: str) -> bool:
        """Return whether messages of a type begin with a header."""
        fields = self._store(kind).fielddefs[kind][1]
        return bool(fields) and fields[0][1][1] == HEADER

    def field_names(self, kind: str) -> tuple[str, ...]:
        """Return the names of the fields of a type."""
        return tuple(name for name, _ in self._store(kind).fielddefs[kind][1])

    def _store(self, kind: str) -> "Typestore":
        """Return a store that knows a type and what it is made of."""
        if kind not in self._stores:
            definition = self._definitions.get(kind, Definition(""))
            self._stores[kind] = _guarded(
                f"Type {kind} cannot be read", lambda: _make_store(kind, definition, self._distribution)
            )
        return self._stores[kind]


@lru_cache(maxsize=256)
def _make_store(kind: str, definition: Definition, distribution: str) -> "Typestore":
    """Return a store with a definition of a type, or with those of a ROS distribution.

    The types of one bag are mostly those of the next one, and to read them takes longer than a small bag.
    """
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    if not definition.text:
        store = get_typestore(Stores(distribution))
        if kind not in store.fielddefs:
            hint = "Record it with a ROS 2 of Iron or newer, or as MCAP, which store definitions."
            raise MessageError(f"Type {kind} is not defined in the bag, nor is it a type of ROS.", hint=hint)
        return store
    store = get_typestore(Stores.EMPTY)
    if not definition.is_idl:
        store.register(get_types_from_msg(definition.text, kind))
    for part in _parts_of_idl(definition.text) if definition.is_idl else ():
        store.register(get_types_from_idl(part))
    _refuse_other_fields(store, distribution, is_idl=definition.is_idl)
    return store


def _refuse_other_fields(store: "Typestore", distribution: str, *, is_idl: bool) -> None:
    """Refuse types of ROS that a bag defines in another way, because it is damaged or they were changed.

    Raises:
        MessageError: A field has another name or type.
    """
    from rosbags.typesys import Stores, get_typestore

    # rosbags leaves TFMessage out of ROS 1, where it is the same
    known = get_typestore(Stores(NEWEST_ROS2)).fielddefs | get_typestore(Stores(distribution)).fielddefs
    for name in store.fielddefs.keys() & known.keys():
        fields, usual = store.fielddefs[name][1], known[name][1]
        same = is_idl or [kind for _, kind in fields] == [kind for _, kind in usual]
        if list(map(_name_of, fields)) != list(map(_name_of, usual)) or not same:
            raise MessageError(f"The bag defines {name} with other fields than ROS.")


def _name_of(field: tuple[str, object]) -> str:
    """Return the name of a field as ROS 2 has it: ROS 1 names matrices by one capital letter."""
    return field[0].lower() if len(field[0]) == 1 else field[0]


def _parts_of_idl(text: str) -> list[str]:
    """Return the files that a definition in IDL is made of."""
    line = "=" * 80 + "\n"
    if not text.startswith(f"{line}IDL: "):
        return [text]
    return [part.split("\n", 1)[1] for part in text.split(line)[1:] if "\n" in part]


def _guarded(what: str, read: Callable[[], Any]) -> Any:
    """Return what a function of rosbags returns.

    Raises:
        MessageError: It failed. rosbags raises any kind of error on damaged bytes.
    """
    try:
        return read()
    except MessageError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise MessageError(f"{what}: {reason}.") from error


@dataclass(frozen=True, eq=False)
class Message:
    """One message of a bag, not yet decoded."""

    topic: str
    kind: str
    """Type in the notation of ROS 2, such as `sensor_msgs/msg/Image`."""
    log_time_us: int
    """When the recorder received it, in microseconds since 1970."""
    data: bytes | memoryview
    """Its raw bytes: CDR, or those of ROS 1. A view keeps the chunk of its file in memory."""
    decoder: Decoder

    def decode(self) -> Any:
        """Return the message with its fields as attributes.

        Raises:
            MessageError: The bytes do not fit the type.
        """
        with self.naming_errors():
            return self.decoder.decode(self.kind, self.data)

    def header(self) -> Header:
        """Return the header without decoding the rest; it is the same as that of `decode`.

        Raises:
            MessageError: The type has no header, or the bytes end within it.
        """
        if not self.decoder.has_header(self.kind):
            raise MessageError(f"{self}: a message of type {self.kind} has no header.")
        try:
            return _read_header(self.data, is_ros1=self.decoder.is_ros1)
        except (struct.error, UnicodeDecodeError, ValueError) as error:
            raise MessageError(f"{self}: the header cannot be decoded: {error}.") from error

    @contextmanager
    def naming_errors(self) -> Iterator[None]:
        """Let errors about the content of the message begin with its topic and time."""
        try:
            yield
        except (MessageError, LensError) as error:
            raise MessageError(f"{self}: {error.message}", hint=error.hint) from error

    def __str__(self) -> str:
        return f"Message of {self.topic} at {self.log_time_us} us"


def header_of(value: Any) -> Header:
    """Return the header of a decoded message."""
    stamp = value.header.stamp
    return Header((stamp.sec * 10**9 + stamp.nanosec) // 1000, plain_frame(value.header.frame_id))


def plain_frame(name: str) -> str:
    """Return the name of a frame without leading slashes, which old nodes of ROS 1 add."""
    return name.lstrip("/")


def _read_header(data: bytes | memoryview, *, is_ros1: bool) -> Header:
    """Return the header at the start of a raw message."""
    if is_ros1:
        seconds, nanoseconds, length = struct.unpack_from("<4xIII", data)
        at, end = 16, 16 + length
    else:
        if data[:2] not in (b"\0\0", b"\0\1"):
            raise ValueError("it is not encoded as CDR")
        seconds, nanoseconds, length = struct.unpack_from("<4xiII" if data[1] else ">4xiII", data)
        at, end = 16, 16 + length - 1  # without the null byte at its end
    if length > MAX_FRAME_BYTES or end > len(data):
        raise ValueError(f"its frame has {length} letters")
    frame = str(data[at : max(at, end)], "utf-8")
    return Header((seconds * 10**9 + nanoseconds) // 1000, plain_frame(frame))

"""Caches in folders of shards: a description and numbered, memory-mapped safetensors files.

Shard i holds the key frames of a split from i * shard_size on, except broken ones. Its tensor `rows` (n)
names them; what else it holds is a matter of the kind of cache. This layout is this project's choice.

Axes: `n` key frames.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from occfeat.errors import CacheError, KeyFrameError
from occfeat.settings.strict import Positive, Strict

Layout = dict[str, tuple[str, list[int]]]
"""Type and shape of each tensor of a shard, by name."""


class ShardCard(Strict):
    """What the descriptions of all kinds of caches hold."""

    cameras: tuple[str, ...]
    """Cameras, in order."""
    data_fingerprint: str
    """Hash of the tables of the data set."""
    split: str
    """Split of the cached key frames."""
    key_frames: Positive
    """Number of key frames, including broken ones."""
    shard_size: Positive = 64
    """Key frames per file."""

    @property
    def shards(self) -> int:
        """Number of files."""
        return -(-self.key_frames // self.shard_size)

    def differences(self, other: "ShardCard") -> list[str]:
        """Return one line per field in which this cache differs from the one that a run needs."""
        ours, theirs = self.model_dump(), other.model_dump()
        return [
            f"{name}: the cache has {ours[name]}, this run {theirs[name]}"
            for name in ours
            if ours[name] != theirs[name]
        ]


Card = TypeVar("Card", bound=ShardCard, covariant=True)


@dataclass(frozen=True)
class CacheKind(Generic[Card]):
    """One kind of cache: its name, its command and its description."""

    name: str
    """Name in messages, such as `teacher cache`."""
    command: str
    """The command that makes it."""
    card_file: str
    """Name of the description in its folder."""
    card: type[Card]
    """Type of the description."""

    def read_card(self, path: Path) -> Card:
        """Read the description in a cache folder.

        Raises:
            CacheError: It is missing or damaged.
        """
        file = path / self.card_file
        if not file.is_file():
            raise CacheError(
                f"{path} is not {self.with_article}: {self.card_file} is missing.",
                hint=f"Give the folder of one, or make one with `{self.command}`. "
                "A run that is resumed looks for it where it was: put it back there, or a link to it.",
            )
        try:
            return self.card.model_validate_json(file.read_bytes())
        except ValidationError as error:
            hint = f"Make the cache again with `{self.command}`."
            raise CacheError(f"{file} is damaged or of another version: {error}", hint=hint) from error

    @property
    def with_article(self) -> str:
        """The name with its article."""
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"

    def require_finished(self, path: Path, card: ShardCard) -> None:
        """Refuse a cache of which shards are missing.

        Raises:
            CacheError: Some are.
        """
        if first := list(islice(missing_shards(path, card), 3)):
            count = max(card.shards - sum(1 for _ in path.glob("shard-*.safetensors")), len(first))
            raise CacheError(
                f"The {self.name} {path} is not finished: {count} of {card.shards} files are missing.",
                first=[shard_file(path, number).name for number in first],
                hint=f"Repeat its `{self.command}` command, which continues where it stopped.",
            )

    def require_layout(self, file: Path, layout_of: Callable[[int, Layout], Layout]) -> Layout:
        """Return the layout of a shard; refuse one that cannot be read, or of another layout.

        Args:
            file: The shard.
            layout_of: Returns the layout for a number of key frames and the layout that was found.

        Raises:
            CacheError: It is damaged.
        """
        try:
            with safe_open(file, framework="numpy") as shard:
                names = shard.keys()
                parts = {name: shard.get_slice(name) for name in names}
                found = {name: (part.get_dtype(), part.get_shape()) for name, part in parts.items()}
        except (OSError, SafetensorError) as error:
            hint = self._how_to_mend(file)
            raise CacheError(f"The shard {file} cannot be read: {error}", hint=hint) from error
        rows = found.get("rows", ("", []))[1]
        wanted = layout_of(rows[0] if len(rows) == 1 else 0, found)
        if found != wanted:
            raise CacheError(
                f"Expected {_in_words(wanted)} in the shard {file}, got {_in_words(found)}.",
                hint=self._how_to_mend(file),
            )
        return found

    def read_numbers(self, file: Path, name: str) -> Int64[ndarray, "..."]:
        """Read a small tensor of a shard, such as its rows.

        Raises:
            CacheError: It cannot be read.
        """
        try:
            with safe_open(file, framework="numpy") as shard:
                numbers: ndarray = shard.get_tensor(name)
        except (OSError, SafetensorError) as error:
            hint = self._how_to_mend(file)
            raise CacheError(f"The shard {file} cannot be read: {error}", hint=hint) from error
        return numbers

    def _how_to_mend(self, file: Path) -> str:
        """Return what to do about a damaged shard."""
        return f"Delete {file} and repeat the `{self.command}` command that wrote it."


class Places:
    """Where each key frame of a cache lies.

    Args:
        rows: The rows of each shard.
    """

    def __init__(self, rows: Sequence[Int64[ndarray, " _"]]) -> None:
        shard = np.repeat(np.arange(len(rows)), [len(part) for part in rows])
        position = np.concatenate([np.arange(len(part)) for part in rows])
        joined = np.concatenate(rows)
        self.order: Int64[ndarray, " n"] = np.argsort(joined, kind="stable")
        """Sorts what all shards hold, one after the other, by row."""
        self.rows, self._shard, self._position = joined[self.order], shard[self.order], position[self.order]

    def find(self, row: int) -> tuple[int, int] | None:
        """Return the shard of a key frame and the place in it; None if there is none."""
        found = int(np.searchsorted(self.rows, row))
        if found == len(self.rows) or self.rows[found] != row:
            return None
        return int(self._shard[found]), int(self._position[found])

    def count_missing(self, rows: Int64[ndarray, " n"]) -> int:
        """Return how many key frames are not in the cache."""
        return int((~np.isin(rows, self.rows)).sum())


class OpenShard(NamedTuple):
    """The shard of a key frame, open for reading."""

    tensors: Any
    """A `safe_open` of torch tensors."""
    position: int
    """Place of the key frame in the shard."""
    file: Path


class StoredKeyFrames(Generic[Card]):
    """A finished cache, open for reading. A pickled copy reads the same files.

    Args:
        kind: Its kind.
        path: Its folder.
        rows_of: Returns the rows of a shard; refuses one that is damaged.

    Raises:
        CacheError: It is unfinished or damaged.
    """

    def __init__(
        self, kind: CacheKind[Card], path: Path, rows_of: Callable[[Path, Card], Int64[ndarray, " n"]]
    ) -> None:
        self.kind, self.path = kind, path
        self.card = kind.read_card(path)
        kind.require_finished(path, self.card)
        self.files = [shard_file(path, number) for number in range(self.card.shards)]
        self.places = Places([rows_of(file, self.card) for file in self.files])

    def _require_match(self, differences: Sequence[str], rows: Int64[ndarray, " n"], allowed: int) -> None:
        """Refuse a cache that differs from what a run needs, or that lacks more than some of its key frames.

        Args:
            differences: A line per difference.
            rows: Key frames of the run.
            allowed: Number of them that can be missing.

        Raises:
            CacheError: Lists all differences.
        """
        this = f"The {self.kind.name} {self.path}"
        hint = f"Make another cache with `{self.kind.command}`, or use the settings of this one."
        if differences:
            raise CacheError(f"{this} does not match this run:", first=differences, hint=hint)
        missing = self.places.count_missing(rows)
        if missing > allowed:
            raise CacheError(
                f"{this} (split {self.card.split}) does not contain {missing} of the {len(rows)} key frames "
                "of this run.",
                hint=hint,
            )

    @contextmanager
    def _shard_of(self, row: int) -> Iterator[OpenShard]:
        """Open the shard of a key frame.

        Raises:
            KeyFrameError: The key frame is not in the cache, or its shard cannot be read.
        """
        place = self.places.find(row)
        if place is None:
            raise KeyFrameError(f"The {self.kind.name} {self.path} does not contain this key frame.")
        file = self.files[place[0]]
        try:
            with safe_open(file, framework="pt") as tensors:
                yield OpenShard(tensors, place[1], file)
        except (OSError, SafetensorError) as error:
            what = f"The shard {file} of the {self.kind.name} cannot be read: {error}"
            raise KeyFrameError(what) from error


def shard_file(path: Path, number: int) -> Path:
    """Return the path of a shard."""
    return path / f"shard-{number:05d}.safetensors"


def missing_shards(path: Path, card: ShardCard) -> Iterator[int]:
    """Yield the indices of missing shards; not a list, because a damaged card can have any number."""
    return (number for number in range(card.shards) if not shard_file(path, number).is_file())


def _in_words(layout: Layout) -> str:
    """Describe names, types and shapes of tensors."""
    return ", ".join(f"{name} {kind} {shape}" for name, (kind, shape) in sorted(layout.items()))

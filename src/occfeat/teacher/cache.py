"""The teacher cache: the teacher's features of each key frame, computed once and read from disk.

A cache is a folder with a description, `cache.json`, and shards: memory-mapped safetensors files. Shard i
contains the key frames of a split from i * shard_size on, except broken ones:
`rows` (n), `values` (n N h w F) and `scales` (n N h w). A token is `values * scale`, with int8 or float16
values. This layout is this project's choice.

Axes: `n` key frames of a shard, `N` cameras, `h w` patches, `F` teacher channels.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from pydantic import ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from torch import Tensor

from occfeat.data.sample.teacher import FeatureMaps
from occfeat.errors import CacheError, KeyFrameError
from occfeat.settings.sections import NO_TEACHER, TeacherConfig
from occfeat.settings.strict import Positive, Strict

CARD = "cache.json"
"""Name of the description in a cache folder."""
INT8_LARGEST = 127
"""Largest int8 value."""


class CacheCard(Strict):
    """Source and layout of a cache."""

    format: Literal[1] = 1
    """Version of the layout."""
    teacher: TeacherConfig
    """Settings of the teacher."""
    second_teacher: TeacherConfig = NO_TEACHER
    """Settings of the second teacher, if there is one."""
    weights_sha256: str
    """Hash of the tensors of the teacher, or of both."""
    channels: Positive
    """Channels of the teacher, or of both."""
    parts: tuple[Positive, ...] = ()
    """Channels of each of two teachers; empty for one."""
    patches: tuple[Positive, Positive]
    """Rows and columns of patches of an image."""
    cameras: tuple[str, ...]
    """Cameras, in order."""
    data_fingerprint: str
    """Hash of the tables of the data set."""
    split: str
    """Split of the cached key frames."""
    key_frames: Positive
    """Number of key frames, including broken ones."""
    dtype: Literal["int8", "fp16"] = "int8"
    """Storage type of values."""
    shard_size: Positive = 64
    """Key frames per file."""

    @model_validator(mode="after")
    def _check(self) -> "CacheCard":
        """Refuse parts that are not those of the channels."""
        if self.parts and sum(self.parts) != self.channels:
            raise ValueError(f"expected parts of {self.channels} channels, got {self.parts}")
        return self

    @property
    def parts_of_features(self) -> tuple[int, ...]:
        """Channels of each teacher."""
        return self.parts or (self.channels,)

    @property
    def shards(self) -> int:
        """Number of files."""
        return -(-self.key_frames // self.shard_size)

    @property
    def key_frame_bytes(self) -> int:
        """Size of one key frame on disk."""
        tokens = len(self.cameras) * self.patches[0] * self.patches[1]
        return tokens * (self.channels * (1 if self.dtype == "int8" else 2) + 4)

    def differences(self, other: "CacheCard") -> list[str]:
        """Return one line per field in which this cache differs from the one that a run needs."""
        ours, theirs = self.model_dump(), other.model_dump()
        return [
            f"{name}: the cache has {ours[name]}, this run {theirs[name]}"
            for name in ours
            if ours[name] != theirs[name]
        ]


class TeacherCache:
    """A finished cache, open for reading. A pickled copy reads the same files.

    Args:
        path: Folder of the cache.

    Raises:
        CacheError: It is unfinished or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.card = read_cache_card(path)
        if first := list(islice(missing_shards(path, self.card), 3)):
            count = max(self.card.shards - sum(1 for _ in path.glob("shard-*.safetensors")), len(first))
            raise CacheError(
                f"The teacher cache {path} is not finished: {count} of {self.card.shards} files are missing.",
                first=[shard_file(path, number).name for number in first],
                hint="Repeat its `occfeat cache` command, which continues where it stopped.",
            )
        files = [shard_file(path, number) for number in range(self.card.shards)]
        rows = [read_shard_rows(file, self.card) for file in files]
        shard = np.repeat(np.arange(len(files)), [len(part) for part in rows])
        position = np.concatenate([np.arange(len(part)) for part in rows])
        joined = np.concatenate(rows)
        order = np.argsort(joined, kind="stable")
        self._rows, self._shard, self._position = joined[order], shard[order], position[order]

    def require(
        self,
        rows: Int64[ndarray, " n"],
        *,
        teachers: tuple[TeacherConfig, TeacherConfig],
        cameras: tuple[str, ...],
        fingerprint: str,
        allowed: int,
    ) -> None:
        """Refuse a cache that does not match a run.

        Args:
            rows: Key frames of the run.
            teachers: Settings of its teacher and of the second one.
            cameras: Its cameras, in order.
            fingerprint: Fingerprint of its data set.
            allowed: Number of broken key frames that can be missing.

        Raises:
            CacheError: Lists all differences.
        """
        wanted = {
            "teacher": teachers[0],
            "second_teacher": teachers[1],
            "cameras": cameras,
            "data_fingerprint": fingerprint,
        }
        hint = "Make another cache with `occfeat cache`, or use the settings of this one."
        if differences := self.card.differences(self.card.model_copy(update=wanted)):
            raise CacheError(
                f"The teacher cache {self.path} does not match this run:", first=differences, hint=hint
            )
        missing = int((~np.isin(rows, self._rows)).sum())
        if missing > allowed:
            raise CacheError(
                f"The teacher cache {self.path} (split {self.card.split}) does not contain {missing} of the "
                f"{len(rows)} key frames of this run.",
                hint=hint,
            )

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the teacher's images."""
        return self.card.teacher.image_size

    def read(self, row: int) -> FeatureMaps:
        """Return the teacher's features of one key frame (`N h w F`).

        Raises:
            KeyFrameError: The key frame is not in the cache, or its shard cannot be read.
        """
        found = int(np.searchsorted(self._rows, row))
        if found == len(self._rows) or self._rows[found] != row:
            raise KeyFrameError(f"The teacher cache {self.path} does not contain this key frame.")
        file, position = shard_file(self.path, int(self._shard[found])), int(self._position[found])
        try:
            with safe_open(file, framework="pt") as shard:
                maps = FeatureMaps(shard.get_slice("values")[position], shard.get_slice("scales")[position])
        except (OSError, SafetensorError) as error:
            raise KeyFrameError(f"The shard {file} of the teacher cache cannot be read: {error}") from error
        if not maps.scales.isfinite().all():
            raise KeyFrameError(f"The shard {file} of the teacher cache contains scales that are not finite.")
        return maps


def encode(maps: Float[Tensor, "*B N F h w"], dtype: Literal["int8", "fp16"]) -> FeatureMaps:
    """Encode teacher features for a cache: each token is divided by its largest value.

    Raises:
        CacheError: They are not finite.
    """
    tokens = maps.movedim(-3, -1).float()
    largest = tokens.abs().amax(dim=-1)
    if not largest.isfinite().all():
        raise CacheError(
            "The teacher's features are not finite.",
            hint="Its weights are damaged, or its values overflow in this `--engine.precision`.",
        )
    if dtype == "fp16":
        return FeatureMaps((tokens / _above_zero(largest)).half(), largest)
    scales = largest / INT8_LARGEST
    return FeatureMaps((tokens / _above_zero(scales)).round().to(torch.int8), scales)


def _above_zero(scales: Float[Tensor, "*B h w"]) -> Float[Tensor, "*B h w 1"]:
    """Return scales without zeros, for division."""
    return scales.clamp(min=torch.finfo(torch.float32).tiny)[..., None]


def shard_file(path: Path, number: int) -> Path:
    """Return the path of a shard."""
    return path / f"shard-{number:05d}.safetensors"


def missing_shards(path: Path, card: CacheCard) -> Iterator[int]:
    """Yield the indices of missing shards; not a list, because a damaged card can have any number."""
    return (number for number in range(card.shards) if not shard_file(path, number).is_file())


def read_cache_card(path: Path) -> CacheCard:
    """Read the description in a cache folder.

    Raises:
        CacheError: It is missing or damaged.
    """
    file = path / CARD
    if not file.is_file():
        raise CacheError(
            f"{path} is not a teacher cache: {CARD} is missing.", hint="Make one with `occfeat cache`."
        )
    try:
        return CacheCard.model_validate_json(file.read_bytes())
    except ValidationError as error:
        hint = "Make the cache again with `occfeat cache`."
        raise CacheError(f"{file} is damaged or of another version: {error}", hint=hint) from error


def read_shard_rows(file: Path, card: CacheCard) -> Int64[ndarray, " n"]:
    """Read the rows of the key frames in a shard, and check its layout.

    Raises:
        CacheError: The file is damaged, or its layout differs from the card.
    """
    hint = f"Delete {file} and repeat the `occfeat cache` command that wrote it."
    try:
        with safe_open(file, framework="numpy") as shard:
            found = {name: shard.get_slice(name) for name in ("rows", "values", "scales")}
            layout = {name: (part.get_dtype(), part.get_shape()) for name, part in found.items()}
            rows: ndarray = shard.get_tensor("rows")
    except (OSError, SafetensorError) as error:
        raise CacheError(f"The shard {file} cannot be read: {error}", hint=hint) from error
    tokens = [len(rows) if rows.ndim == 1 else 0, len(card.cameras), *card.patches]
    wanted = {
        "rows": ("I64", tokens[:1]),
        "values": ({"int8": "I8", "fp16": "F16"}[card.dtype], [*tokens, card.channels]),
        "scales": ("F32", tokens),
    }
    if layout != wanted:
        raise CacheError(
            f"Expected {_in_words(wanted)} in the shard {file}, got {_in_words(layout)}.", hint=hint
        )
    return rows


def _in_words(layout: dict[str, tuple[str, list[int]]]) -> str:
    """Describe names, types and shapes of tensors."""
    return ", ".join(f"{name} {kind} {shape}" for name, (kind, shape) in layout.items())

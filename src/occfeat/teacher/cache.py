"""The teacher cache: the teacher's features of each key frame, computed once and read from disk.

A cache is a folder of shards with a description, `cache.json`. A shard holds, beside `rows`, `values`
(n N h w F) and `scales` (n N h w). A token is `values * scale`, with int8 or float16 values. All scales of an
image that could not be read are 0.

Axes: `n` key frames of a shard, `N` cameras, `h w` patches, `F` teacher channels.
"""

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from pydantic import model_validator
from torch import Tensor

from occfeat.data.sample.teacher import FeatureMaps
from occfeat.data.stored.shards import CacheKind, Layout, ShardCard, StoredKeyFrames
from occfeat.errors import CacheError, KeyFrameError
from occfeat.settings.sections import NO_TEACHER, TeacherConfig
from occfeat.settings.strict import Positive

INT8_LARGEST = 127
"""Largest int8 value."""


class CacheCard(ShardCard):
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
    dtype: Literal["int8", "fp16"] = "int8"
    """Storage type of values."""

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
    def key_frame_bytes(self) -> int:
        """Size of one key frame on disk."""
        tokens = len(self.cameras) * self.patches[0] * self.patches[1]
        return tokens * (self.channels * (1 if self.dtype == "int8" else 2) + 4)


TEACHER = CacheKind("teacher cache", "occfeat cache", "cache.json", CacheCard)
"""How teacher caches are called and described."""


class TeacherCache(StoredKeyFrames[CacheCard]):
    """A finished cache, open for reading. A pickled copy reads the same files.

    Args:
        path: Folder of the cache.

    Raises:
        CacheError: It is unfinished or damaged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(TEACHER, path, read_shard_rows)

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
        differences = self.card.differences(self.card.model_copy(update=wanted))
        self._require_match(differences, rows, allowed)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the teacher's images."""
        return self.card.teacher.image_size

    def read(self, row: int) -> FeatureMaps:
        """Return the teacher's features of one key frame (`N h w F`).

        Raises:
            KeyFrameError: The key frame is not in the cache, or its shard cannot be read.
        """
        with self._shard_of(row) as (tensors, position, file):
            maps = FeatureMaps(tensors.get_slice("values")[position], tensors.get_slice("scales")[position])
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


def read_shard_rows(file: Path, card: CacheCard) -> Int64[ndarray, " n"]:
    """Read the rows of the key frames in a shard, and check its layout.

    Raises:
        CacheError: The file is damaged, or its layout differs from the card.
    """

    def layout_of(count: int, _: Layout) -> Layout:
        """Return the layout for a number of key frames."""
        tokens = [count, len(card.cameras), *card.patches]
        values = {"int8": "I8", "fp16": "F16"}[card.dtype], [*tokens, card.channels]
        return {"rows": ("I64", [count]), "values": values, "scales": ("F32", tokens)}

    TEACHER.require_layout(file, layout_of)
    return TEACHER.read_numbers(file, "rows")

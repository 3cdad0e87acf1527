"""The image cache: what the student sees of each image, packed once and read in place of the image files.

Images are stored at the size to which the largest zoom of the augmentation resizes them, as bytes of their
pixels or as JPEGs of a chosen quality, without chroma subsampling. A shard holds, beside `rows`:

- `file_bytes` (n N): the size of each image file, 0 for a camera that a key frame lacks, negative for a file
  that could not be read;
- `checksums` (n): the CRC-32 of the stored bytes of each key frame;
- `images` (n N H W 3), or `lengths` (n N) and `jpegs`, all bytes one after the other.

Axes: `n` key frames, `N` cameras, `H W` stored pixels.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import torch
from jaxtyping import Int64, UInt8
from numpy import ndarray
from pydantic import Field
from torch import Tensor

from occfeat.data.stored.shards import CacheKind, Layout, ShardCard, StoredKeyFrames
from occfeat.errors import CacheError, KeyFrameError
from occfeat.settings.strict import ImageSize

Quality = Annotated[int, Field(ge=1, le=100)]


class ImageCacheCard(ShardCard):
    """Source and layout of an image cache."""

    format: Literal[2] = 2
    """Version of the layout, and of how images are decoded and resized."""
    size: ImageSize
    """(height, width) of the stored images in pixels."""
    quality: Quality | None = None
    """Quality of JPEGs. None: pixels as they are."""


IMAGES = CacheKind("image cache", "occfeat cache --images", "images.json", ImageCacheCard)
"""How image caches are called and described."""


class ImageCache(StoredKeyFrames[ImageCacheCard]):
    """A finished image cache, open for reading. A pickled copy reads the same files.

    Args:
        path: Folder of the cache.

    Raises:
        CacheError: It is unfinished or damaged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(IMAGES, path, read_image_rows)
        file_bytes = np.concatenate([IMAGES.read_numbers(file, "file_bytes") for file in self.files])
        self._file_bytes = file_bytes[self.places.order]

    def require(
        self,
        rows: Int64[ndarray, " n"],
        *,
        size: tuple[int, int],
        cameras: tuple[str, ...],
        fingerprint: str,
        allowed: int,
    ) -> None:
        """Refuse a cache that does not match a run.

        Args:
            rows: Key frames of the run.
            size: (height, width) to which its largest zoom resizes images.
            cameras: Its cameras, in order.
            fingerprint: Fingerprint of its data set.
            allowed: Number of broken key frames that can be missing.

        Raises:
            CacheError: Lists all differences.
        """
        wanted = {"cameras": cameras, "data_fingerprint": fingerprint}
        differences = self.card.differences(self.card.model_copy(update=wanted))
        if self.card.size[0] < size[0] or self.card.size[1] < size[1]:
            what = "size: the cache has {} x {} pixels, this run needs {} x {} for its largest zoom"
            differences.append(what.format(*self.card.size, *size))
        self._require_match(differences, rows, allowed)

    def require_same_files(
        self, rows: Int64[ndarray, " n"], file_bytes: Int64[ndarray, "n N"], allowed: int
    ) -> None:
        """Refuse a cache of other image files than those of the data set.

        Args:
            rows: Key frames of the run.
            file_bytes: The size of each of their image files now; negative if it cannot be read, and 0 for a
                camera that a key frame lacks.
            allowed: Number of broken key frames that the user allows.

        Raises:
            CacheError: The files of more key frames have another size.
        """
        known = np.isin(rows, self.places.rows)
        stored = self._file_bytes[np.searchsorted(self.places.rows, rows[known])]
        changed = int(((stored != file_bytes[known]) & (stored >= 0)).any(axis=1).sum())
        if changed > allowed:
            raise CacheError(
                f"The image cache {self.path} is stale: the image files of {changed} of the {len(rows)} key "
                "frames have another size than when they were packed.",
                hint="Make the cache again with `occfeat cache --images` in a new folder.",
            )

    def lost(self, row: int) -> list[bool]:
        """Return which cameras of a key frame have a file that could not be read."""
        place = int(np.searchsorted(self.places.rows, row))
        return [size < 0 for size in self._file_bytes[place].tolist()]

    def read(self, row: int) -> Sequence[UInt8[Tensor, "3 H W"]]:
        """Return the images of one key frame, black where it lacks a camera.

        Raises:
            KeyFrameError: The key frame is not in the cache, or it is damaged there.
        """
        with self._shard_of(row) as (tensors, position, file):
            checksum = int(tensors.get_slice("checksums")[position])
            if self.card.quality is None:
                stored, lengths = tensors.get_slice("images")[position], None
            else:
                lengths = tensors.get_tensor("lengths")
                begin, end = _span(lengths, position)
                stored = tensors.get_slice("jpegs")[begin:end]
            damaged = zlib.crc32(stored.numpy()) != checksum
        if damaged:
            raise KeyFrameError(f"The shard {file} of the image cache is damaged: a checksum differs.")
        if lengths is None:
            return stored.permute(0, 3, 1, 2).unbind()
        return _decode(stored.numpy(), lengths[position].numpy(), self.card.size, file)


def read_image_rows(file: Path, card: ImageCacheCard) -> Int64[ndarray, " n"]:
    """Read the rows of the key frames in a shard, and check its layout.

    Raises:
        CacheError: It is damaged.
    """
    require_image_shard(file, card)
    return IMAGES.read_numbers(file, "rows")


def require_image_shard(file: Path, card: ImageCacheCard) -> None:
    """Refuse a shard that cannot be read or whose layout differs from the card.

    Raises:
        CacheError: It is damaged.
    """
    cameras = len(card.cameras)

    def layout_of(count: int, found: Layout) -> Layout:
        """Return the layout for a number of key frames; JPEGs are of any length."""
        common: Layout = {
            "rows": ("I64", [count]),
            "file_bytes": ("I64", [count, cameras]),
            "checksums": ("I64", [count]),
        }
        if card.quality is None:
            return common | {"images": ("U8", [count, cameras, *card.size, 3])}
        total = found.get("jpegs", ("", [0]))[1][:1]
        return common | {"lengths": ("I64", [count, cameras]), "jpegs": ("U8", total)}

    found = IMAGES.require_layout(file, layout_of)
    if card.quality is not None:
        lengths, total = IMAGES.read_numbers(file, "lengths"), found["jpegs"][1][0]
        if (lengths < 0).any() or (lengths > total).any() or int(lengths.sum()) != total:
            hint = f"Delete {file} and repeat the `occfeat cache --images` command that wrote it."
            raise CacheError(f"The shard {file} is damaged: its images do not fill it.", hint=hint)


def pack_images(images: UInt8[Tensor, "B N 3 H W"], quality: int | None) -> dict[str, Tensor]:
    """Return what a shard holds of the images of some key frames, without their rows and files."""
    if quality is None:
        pixels = images.permute(0, 1, 3, 4, 2).contiguous()
        checksums = [zlib.crc32(one.numpy()) for one in pixels]
        return {"images": pixels, "checksums": torch.tensor(checksums, dtype=torch.int64)}
    jpegs = [[_encode(image, quality) for image in of_key_frame] for of_key_frame in images]
    joined = [np.concatenate(of_key_frame) for of_key_frame in jpegs]
    return {
        "jpegs": torch.from_numpy(np.concatenate(joined)),
        "lengths": torch.tensor([[len(one) for one in each] for each in jpegs], dtype=torch.int64),
        "checksums": torch.tensor([zlib.crc32(one.tobytes()) for one in joined], dtype=torch.int64),
    }


def _encode(image: UInt8[Tensor, "3 H W"], quality: int) -> UInt8[ndarray, " bytes"]:
    """Return an image as JPEG."""
    bgr = np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1])
    whole_chroma = cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444
    done, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality, *whole_chroma])
    if not done:
        raise CacheError("An image cannot be written as JPEG.")
    return jpeg.reshape(-1)


def _span(lengths: Int64[Tensor, "n N"], position: int) -> tuple[int, int]:
    """Return where the JPEGs of a key frame begin and end."""
    begin = int(lengths[:position].sum())
    return begin, begin + int(lengths[position].sum())


def _decode(
    jpegs: UInt8[ndarray, " bytes"], lengths: Int64[ndarray, " N"], size: tuple[int, int], file: Path
) -> list[UInt8[Tensor, "3 H W"]]:
    """Decode the JPEGs of a key frame."""
    images = []
    for jpeg in np.split(jpegs, lengths.cumsum()[:-1]):
        pixels = cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB) if len(jpeg) else None
        if pixels is None or pixels.shape != (*size, 3):
            raise KeyFrameError(f"The shard {file} of the image cache has an image that cannot be decoded.")
        images.append(torch.from_numpy(pixels).permute(2, 0, 1))
    return images

"""The student's images of every key frame, packed once."""

from functools import partial

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from occfeat.commands.cache.filling import CacheJob, make_cache, open_key_frames
from occfeat.commands.outcome import Outcome
from occfeat.data.augment import ImageChange, zoomed_size
from occfeat.data.check.image_bytes import image_bytes
from occfeat.data.dataset import Draw, KeyFrames
from occfeat.data.index.subsets import spread
from occfeat.data.sample.sample import Batch, Sample
from occfeat.data.stored.images import IMAGES, ImageCacheCard, pack_images, require_image_shard
from occfeat.settings.commands import CacheConfig

MEASURED = 4
"""Key frames from which the size of JPEGs is estimated."""


def cache_images(config: CacheConfig) -> Outcome:
    """Make an image cache, or finish one that was interrupted."""
    size = zoomed_size(ImageChange(zoom=config.largest_zoom), config.image_size)
    fabric, key_frames = open_key_frames(config, size)
    index, rows = key_frames.index, key_frames.rows
    card = ImageCacheCard(
        size=size,
        quality=config.quality,
        cameras=key_frames.channels,
        data_fingerprint=index.fingerprint,
        split=config.split,
        key_frames=len(rows),
        shard_size=config.shard_size,
    )
    bytes_of = dict(zip(rows.tolist(), image_bytes(index, rows, card.cameras), strict=True))
    how = "pixels as they are" if config.quality is None else f"JPEG of quality {config.quality}"
    job = CacheJob(
        config,
        IMAGES,
        card,
        key_frames,
        contents=f"{len(card.cameras)} images of {size[0]} x {size[1]}, {how}",
        key_frame_bytes=_key_frame_bytes(card, key_frames),
        store=partial(_store, card, bytes_of),
        require_sound=partial(require_image_shard, card=card),
    )
    added = make_cache(job, fabric)
    if not fabric.is_global_zero:
        return Outcome("")
    return Outcome("\n".join([*added.lines(card.key_frames), str(config.out)]))


def _store(
    card: ImageCacheCard, bytes_of: dict[int, Int64[ndarray, " N"]], batch: Batch, rows: list[int]
) -> dict[str, Tensor]:
    """Return the images of a batch and the sizes of their files."""
    file_bytes = torch.from_numpy(np.stack([bytes_of[row] for row in rows]))
    file_bytes[(file_bytes > 0) & ~batch.cameras.present] = -1
    return pack_images(batch.images, card.quality) | {"file_bytes": file_bytes}


def _key_frame_bytes(card: ImageCacheCard, key_frames: KeyFrames) -> int:
    """Return the size of a key frame; that of JPEGs is the mean of a few."""
    if card.quality is None:
        return len(card.cameras) * 3 * card.size[0] * card.size[1]
    sizes = []
    for row in spread(key_frames.rows, MEASURED):
        read = key_frames.read(Draw(int(row), 0))
        if isinstance(read, Sample):
            sizes.append(len(pack_images(read.images[None], card.quality)["jpegs"]))
    return round(sum(sizes) / max(len(sizes), 1))

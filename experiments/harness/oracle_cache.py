"""A teacher that knows: the true class of every pixel of a street world, as a teacher cache.

    PYTHONPATH=experiments python -m harness.oracle_cache STREET CACHE [SPLIT]

The world must have been built with `--truth`; the split is `train` unless said. A feature is the share of
each class in a square of 4 x 4 pixels. Pretraining takes it with `--teacher-cache CACHE --teacher.name truth`
and the images' size as `--teacher.image-size`; no network of that name exists or is needed.
"""

import json
import logging
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from numpy import ndarray
from safetensors.torch import save_file
from torch import Tensor

from occfeat.data.index.index import Index
from occfeat.data.keyframe import CameraRecord, KeyFrame
from occfeat.data.source.paths import resolve
from occfeat.data.stored.shards import shard_file
from occfeat.errors import OccFeatError
from occfeat.machine.atomic import write_atomic, write_text_atomic
from occfeat.runs.output import require_empty
from occfeat.settings.sections import DataConfig, TeacherConfig
from occfeat.teacher.cache import TEACHER, CacheCard, encode
from streetworld.things.materials import CLASSES

SQUARE_PX = 4
"""Side of the squares whose classes are counted."""


def write_oracle_cache(street: Path, out: Path, split: str = "train") -> CacheCard:
    """Write the cache of a split; gives its card."""
    index = Index.open(DataConfig(root=street))
    rows = index.rows(split)
    height, width = index.key_frame(int(rows[0])).cameras[0].size
    card = CacheCard(
        teacher=TeacherConfig(name="truth", image_size=(height, width)),
        weights_sha256="none: the true classes",
        channels=len(CLASSES),
        patches=(height // SQUARE_PX, width // SQUARE_PX),
        cameras=index.channels,
        data_fingerprint=index.fingerprint,
        split=split,
        key_frames=len(rows),
    )
    require_empty(out, hint="Choose another folder.")
    for number in range(card.shards):
        mine = rows[number * card.shard_size : (number + 1) * card.shard_size]
        _write_shard(shard_file(out, number), index, mine)
    write_text_atomic(out / TEACHER.card_file, json.dumps(card.model_dump(mode="json"), indent=2) + "\n")
    return card


def _write_shard(file: Path, index: Index, rows: Int64[ndarray, " n"]) -> None:
    """Write what the oracle sees in some key frames."""
    maps = encode(torch.stack([_seen(index, index.key_frame(int(row))) for row in rows]), "int8")
    tensors = {
        "rows": torch.from_numpy(rows),
        "values": maps.values.contiguous(),
        "scales": maps.scales.contiguous(),
    }
    write_atomic(file, lambda temporary: save_file(tensors, temporary))


def _seen(index: Index, key_frame: KeyFrame) -> Float[Tensor, "N F h w"]:
    """Shares of the classes in all cameras of a key frame, in the set's order of cameras."""
    cameras = {camera.channel: camera for camera in key_frame.cameras}
    return torch.stack([_shares(index.root, cameras[channel]) for channel in index.channels])


def _shares(root: Path, camera: CameraRecord) -> Float[Tensor, "F h w"]:
    """Return the shares of the classes in each square of an image."""
    name = Path(camera.path).with_suffix(".npz").name
    with np.load(resolve(root, f"truth/{camera.channel}/{name}"), allow_pickle=False) as truth:
        classes = torch.from_numpy(truth["class_id"].astype(np.int64))
    one_hot = F.one_hot(classes, len(CLASSES)).permute(2, 0, 1).float()
    return F.avg_pool2d(one_hot, SQUARE_PX)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    street, cache, *split = sys.argv[1:]
    try:
        print(write_oracle_cache(Path(street), Path(cache), *split).model_dump_json(indent=2))
    except (OccFeatError, FileNotFoundError) as error:
        sys.exit(f"{error}\nThe street world must be built with --truth.")

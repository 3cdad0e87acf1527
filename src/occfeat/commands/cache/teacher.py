"""The teacher's features of every key frame, computed once.

Axes: `M` images, `F` teacher channels, `h w` patches.
"""

import hashlib
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning_fabric import Fabric
from torch import Tensor, nn

from occfeat.commands.cache.filling import CacheJob, make_cache, open_key_frames, over_all
from occfeat.commands.outcome import Outcome
from occfeat.data.dataset import KeyFrames
from occfeat.data.sample.sample import Batch
from occfeat.models.encoders.present import encode_present
from occfeat.settings.commands import CacheConfig
from occfeat.teacher.build import build_teacher
from occfeat.teacher.cache import TEACHER, CacheCard, encode, read_shard_rows
from occfeat.teacher.network import Teacher
from occfeat.training.device import autocast


def cache_teacher(config: CacheConfig) -> Outcome:
    """Make a teacher cache, or finish one that was interrupted."""
    fabric, key_frames = open_key_frames(config, config.teacher.image_size)
    teacher = build_teacher(config.teacher, config.second_teacher)
    card = _card(config, teacher, key_frames)
    store = _TeacherStore(card, teacher.to(fabric.device), fabric, config)
    patches = f"{card.patches[0]} x {card.patches[1]} patches x {card.channels} values of {card.dtype}"
    job = CacheJob(
        config,
        TEACHER,
        card,
        key_frames,
        contents=f"{len(card.cameras)} cameras x {patches}",
        key_frame_bytes=card.key_frame_bytes,
        store=store,
        require_sound=partial(read_shard_rows, card=card),
    )
    added = make_cache(job, fabric)
    similarity = over_all(fabric, store.similarity)
    if not fabric.is_global_zero:
        return Outcome("")
    lines = added.lines(card.key_frames)
    if added.key_frames:
        lines.append(f"mean cosine of stored and exact features: {similarity / added.key_frames:.5f}")
    return Outcome("\n".join([*lines, str(config.out)]))


def _card(config: CacheConfig, teacher: Teacher, key_frames: KeyFrames) -> CacheCard:
    """Describe the cache that is to be made."""
    return CacheCard(
        teacher=config.teacher,
        second_teacher=config.second_teacher,
        weights_sha256=sha256_of(teacher),
        channels=teacher.channels,
        parts=teacher.parts if len(teacher.parts) > 1 else (),
        patches=teacher.patches(config.teacher.image_size),
        cameras=key_frames.channels,
        data_fingerprint=key_frames.index.fingerprint,
        split=config.split,
        key_frames=len(key_frames),
        dtype=config.dtype,
        shard_size=config.shard_size,
    )


class _TeacherStore:
    """Computes and encodes what the teacher sees, and sums up their cosine with the exact features."""

    def __init__(self, card: CacheCard, teacher: Teacher, fabric: Fabric, config: CacheConfig) -> None:
        self.card, self.teacher, self.device = card, teacher, fabric.device
        self.precision = config.engine.precision
        self.similarity = 0.0

    def __call__(self, batch: Batch, _: list[int]) -> dict[str, Tensor]:
        """Return values and scales of a batch."""
        images = batch.images.to(self.device, non_blocking=True)
        with autocast(self.device, self.precision):
            exact = encode_present(self.teacher, images, batch.cameras.present)
        stored = encode(exact, self.card.dtype)
        present = batch.cameras.present.to(self.device)
        likeness = _likeness(stored.decode()[present], exact[present], self.teacher.parts)
        self.similarity += likeness * len(images)
        stored = stored.to("cpu")
        return {"values": stored.values, "scales": stored.scales}


def _likeness(
    stored: Float[Tensor, "M F h w"], exact: Float[Tensor, "M F h w"], parts: tuple[int, ...]
) -> float:
    """Return the mean cosine similarity of two maps, averaged over the parts of a feature."""
    split = [torch.split(maps, list(parts), dim=-3) for maps in (stored, exact)]
    pairs = zip(*split, strict=True)
    return sum(float(F.cosine_similarity(one, other, dim=-3).mean()) for one, other in pairs) / len(parts)


def sha256_of(network: nn.Module) -> str:
    """Return the hash of all tensors of a network, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

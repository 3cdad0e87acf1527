"""Fills a teacher cache shard by shard, in atomic writes; it can be interrupted.

Axes: `B` key frames, `N` cameras, `F` teacher channels, `h w` patches.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor, nn

from occfeat.atomic import write_atomic
from occfeat.data.dataset import KeyFrames
from occfeat.data.sample.teacher import FeatureMaps
from occfeat.errors import CacheError, Interrupted
from occfeat.settings.sections import EngineConfig
from occfeat.teacher.cache import CacheCard, encode, read_shard_rows, shard_file
from occfeat.teacher.network import Teacher
from occfeat.training.device import autocast
from occfeat.training.interrupt import StopNow, StopRequest
from occfeat.training.loading import in_order, load_batches, require_few_broken

NO_MORE = object()
"""Marks the end of the batches of a process."""


@dataclass(frozen=True)
class Filled:
    """What all processes added to a cache."""

    key_frames: int
    """Number of key frames that were added."""
    cosine: float
    """Mean cosine similarity of stored and exact features; NaN if nothing was added."""


@dataclass(frozen=True)
class CacheJob:
    """Inputs of filling a cache."""

    card: CacheCard
    """The description of the cache."""
    teacher: Teacher
    """The teacher."""
    key_frames: KeyFrames
    """Key frames of the split, with images for the teacher."""
    batch_size: int
    """Key frames per batch."""
    engine: EngineConfig
    """Devices, loading and precision."""

    def rows_of(self, shard: int) -> NDArray[np.int64]:
        """Return the rows of the index that belong to a shard."""
        start = shard * self.card.shard_size
        rows: NDArray[np.int64] = self.key_frames.rows[start : start + self.card.shard_size]
        return rows


def fill_cache(path: Path, job: CacheJob, fabric: Fabric) -> Filled:
    """Write the missing shards, shared among processes.

    Raises:
        Interrupted: After Ctrl-C or SIGTERM; finished shards are kept.
        CacheError: A shard is damaged, or the teacher's features are not finite.
        TrainingError: More key frames are broken than `engine.max_broken`.
    """
    job.teacher.to(fabric.device)
    writer = _ShardWriter(path, job, fabric)
    numbers = []
    for number in range(fabric.global_rank, job.card.shards, fabric.world_size):
        if shard_file(path, number).is_file():
            read_shard_rows(shard_file(path, number), job.card)  # raises if it is damaged
        else:
            numbers.append(number)
    work = chain.from_iterable(map(writer.write, numbers))
    with _progress() as progress, StopRequest() as stop:
        bar = progress.add_task("teacher", total=sum(len(job.rows_of(number)) for number in numbers))
        working = True
        while working:  # while any process has a batch left, so that all receive a request to stop
            try:
                with stop.at_once(fabric.world_size == 1):
                    busy = next(work, NO_MORE) is not NO_MORE
            except StopNow:
                raise Interrupted(_how_to_go_on(path, _name_of(stop))) from None
            progress.update(bar, completed=writer.seen)
            working, stopping = _in_any_process(fabric, busy, stop.signal is not None)
            if stopping:
                raise Interrupted(_how_to_go_on(path, _name_of(stop)))
    mine = torch.tensor((writer.seen, writer.similarity), device=fabric.device)
    seen, similarity = torch.as_tensor(fabric.all_reduce(mine, reduce_op="sum")).tolist()
    return Filled(round(seen), similarity / seen if seen else float("nan"))


def _name_of(stop: StopRequest) -> str:
    """Return why the filling stops."""
    return stop.signal.name if stop.signal else "Another process stopped"


def _in_any_process(fabric: Fabric, *wishes: bool) -> list[bool]:
    """Return whether any process sets each flag."""
    mine = torch.tensor(wishes, dtype=torch.float32, device=fabric.device)
    return [bool(count) for count in torch.as_tensor(fabric.all_reduce(mine, reduce_op="sum"))]


class _ShardWriter:
    """Writes shards and counts key frames."""

    def __init__(self, path: Path, job: CacheJob, fabric: Fabric) -> None:
        self.path, self.job, self.fabric = path, job, fabric
        self.seen = 0
        self.similarity = 0.0
        self.broken: list[str] = []

    def write(self, number: int) -> Iterator[None]:
        """Write one shard; yield after every batch."""
        rows, maps = list[int](), list[FeatureMaps]()
        for batch_rows, stored in self._batches(self.job.rows_of(number)):
            rows += batch_rows
            maps.append(stored)
            yield
        if not rows:
            hint = "Run `occfeat check` on the data folder."
            raise CacheError(f"All key frames of shard {number} are broken.", hint=hint)
        tensors = {
            "rows": torch.tensor(rows, dtype=torch.int64),
            "values": torch.cat([one.values for one in maps]),
            "scales": torch.cat([one.scales for one in maps]),
        }
        write_atomic(shard_file(self.path, number), lambda temporary: save_file(tensors, temporary))

    @torch.inference_mode()
    def _batches(self, rows: NDArray[np.int64]) -> Iterator[tuple[list[int], FeatureMaps]]:
        """Yield the rows and encoded features of each batch."""
        job, device = self.job, self.fabric.device
        row_of = {job.key_frames.index.token(row): int(row) for row in rows}
        batches = in_order(rows, job.batch_size)
        for loaded in load_batches(job.key_frames, batches, job.engine, pin=device.type == "cuda"):
            self.broken += [key_frame.message for key_frame in loaded.broken]
            require_few_broken(self.broken, len(self.broken), job.engine.max_broken)
            if loaded.batch is None:
                continue
            images = loaded.batch.images.to(device, non_blocking=True)
            with autocast(device, job.engine.precision):
                exact = job.teacher(images.flatten(0, 1)).unflatten(0, images.shape[:2])
            stored = encode(exact, job.card.dtype)
            self.similarity += _likeness(stored.decode(), exact, job.teacher.parts) * len(images)
            self.seen += len(images)
            yield [row_of[token] for token in loaded.batch.tokens], stored.to("cpu")


def _likeness(
    stored: Float[Tensor, "B N F h w"], exact: Float[Tensor, "B N F h w"], parts: tuple[int, ...]
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
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _progress() -> Progress:
    """Make the progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def _how_to_go_on(path: Path, reason: str) -> str:
    """Return how to finish the cache later."""
    return f"{reason}: the finished files in {path} are kept. Repeat the `occfeat cache` command to continue."

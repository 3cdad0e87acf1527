"""Fills a cache shard by shard, in atomic writes; it can be interrupted."""

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from torch import Tensor

from occfeat.data.check.check import quick_check
from occfeat.data.dataset import KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Batch
from occfeat.data.stored.shards import CacheKind, ShardCard, shard_file
from occfeat.errors import CacheError, Interrupted
from occfeat.geometry.grid import build_grid
from occfeat.machine.atomic import LOCK, lock_folder, partial_of, write_atomic, write_text_atomic
from occfeat.machine.interrupt import StopNow, StopRequest
from occfeat.runs.output import make_folder, require_empty, require_writable
from occfeat.settings.commands import CacheConfig
from occfeat.settings.sections import GridConfig, ViewConfig
from occfeat.training.device import all_alive, build_fabric
from occfeat.training.loading.loaders import LeftOut, in_order, load_batches

logger = logging.getLogger(__name__)

NO_MORE = object()
"""Marks the end of the batches of a process."""

NUSCENES_KEY_FRAMES = 28_130
"""Key frames of nuScenes' training split, as a measure of size."""


@dataclass(frozen=True)
class CacheJob:
    """A cache that is to be filled."""

    config: CacheConfig
    """Folder, batches, devices and loading."""
    kind: CacheKind[ShardCard]
    card: ShardCard
    """The description of the cache."""
    key_frames: KeyFrames
    """Key frames of the split, with the images that are needed."""
    contents: str
    """What a key frame has, in words."""
    key_frame_bytes: int
    """Size of a key frame on disk."""
    store: Callable[[Batch, list[int]], dict[str, Tensor]]
    """Returns what a shard holds of a batch, given its rows. A shard joins such tensors one after another."""
    require_sound: Callable[[Path], object]
    """Refuses a finished shard that is damaged."""

    def rows_of(self, shard: int) -> NDArray[np.int64]:
        """Return the rows of the index that belong to a shard."""
        start = shard * self.card.shard_size
        rows: NDArray[np.int64] = self.key_frames.rows[start : start + self.card.shard_size]
        return rows


@dataclass(frozen=True)
class Added:
    """What all processes added to a cache."""

    key_frames: int
    incomplete: int
    """Number of them of which an image could not be read."""

    def lines(self, key_frames: int) -> list[str]:
        """Return what is said of a cache of some key frames."""
        lines = [f"{key_frames} key frames, {self.key_frames} of them now"]
        if self.incomplete:
            lines.append(f"{self.incomplete} of these without some camera, which cannot be used")
        return lines


def open_key_frames(config: CacheConfig, image_size: tuple[int, int]) -> tuple[Fabric, KeyFrames]:
    """Return the devices, and the key frames of the split with images of a size, if enough files are there.

    Raises:
        OccFeatError: Settings, data or the output folder cannot be used.
    """
    index = Index.open(config.source)
    rows = index.rows(config.split)
    view = ViewConfig(cameras=config.cameras, image_size=image_size)
    fabric = build_fabric(config.engine)
    if fabric.is_global_zero:
        require_writable(config.out)
    quick_check(index, rows, view=view, needs_lidar=False, engine=config.engine)
    return fabric, KeyFrames(index, view, Contents(), grid=build_grid(GridConfig()), rows=rows)


def make_cache(job: CacheJob, fabric: Fabric) -> Added:
    """Make a cache, or finish one that was interrupted.

    Raises:
        Interrupted: After Ctrl-C or SIGTERM; finished shards are kept.
        CacheError: The folder cannot be used, or a shard is damaged.
        TrainingError: More key frames are broken or lack images than `engine` allows.
    """
    path = job.config.out
    with all_alive(fabric), ExitStack() as held:
        if fabric.is_global_zero:
            _require_own(path, job)  # before a folder of something else gets a lock file
            make_folder(path)
            held.enter_context(lock_folder(path))
            _require_own(path, job)  # another process may have been faster
            _begin(path, job)
        fabric.barrier()
        return _fill(path, job, fabric)


def _require_own(path: Path, job: CacheJob) -> None:
    """Refuse a folder that holds something else than this cache.

    Raises:
        CacheError: It holds another cache.
        RunError: It holds something else, or cannot be written.
    """
    kind, card_file = job.kind, path / job.kind.card_file
    if not card_file.is_file():
        require_empty(path, hint="Choose another --out.", except_for={LOCK, partial_of(card_file).name})
    elif differences := kind.read_card(path).differences(job.card):
        hint = "Choose another --out, or use the settings of this cache."
        raise CacheError(f"{path} contains another {kind.name}:", first=differences, hint=hint)


def _begin(path: Path, job: CacheJob) -> None:
    """Write the card; refuse a cache that is too large for the disk."""
    card, kind = job.card, job.kind
    waiting = sum(not shard_file(path, number).is_file() for number in range(card.shards))
    wanted = min(waiting * card.shard_size, card.key_frames) * job.key_frame_bytes
    logger.info("%s", _size(job))
    free = shutil.disk_usage(path).free
    if wanted > free:
        hint = "Free some, choose another --out, smaller images, `--dtype int8`, or a `--quality` for images."
        raise CacheError(f"{_human(wanted)} are needed in {path}, {_human(free)} are free.", hint=hint)
    write_text_atomic(path / kind.card_file, json.dumps(card.model_dump(mode="json"), indent=2) + "\n")


def _size(job: CacheJob) -> str:
    """Describe how large a cache will be."""
    count, each = job.card.key_frames, job.key_frame_bytes
    return (
        f"{job.contents}: {_human(each)} per key frame, {_human(each * count)} for {count} "
        f"({_human(each * NUSCENES_KEY_FRAMES)} for the {NUSCENES_KEY_FRAMES} of nuScenes' training split)"
    )


def _human(size_bytes: int) -> str:
    """Return a size in bytes with three digits and a unit."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _fill(path: Path, job: CacheJob, fabric: Fabric) -> Added:
    """Write the missing shards, shared among processes."""
    stop = StopRequest()
    writer = _ShardWriter(path, job, fabric, stop)
    numbers = []
    for number in range(fabric.global_rank, job.card.shards, fabric.world_size):
        if shard_file(path, number).is_file():
            job.require_sound(shard_file(path, number))
        else:
            numbers.append(number)
    work = chain.from_iterable(map(writer.write, numbers))
    with _progress() as progress, stop:
        bar = progress.add_task(job.kind.name, total=sum(len(job.rows_of(number)) for number in numbers))
        working = True
        while working:  # while any process has a batch left, so that all receive a request to stop
            try:
                with stop.at_once(fabric.world_size == 1):
                    busy = next(work, NO_MORE) is not NO_MORE
            except StopNow:
                raise Interrupted(_how_to_go_on(path, job, _name_of(stop))) from None
            progress.update(bar, completed=writer.seen)
            _, incomplete = writer.left_out.over_all(fabric)
            working, stopping = _in_any_process(fabric, busy, stop.signal is not None)
            if stopping:
                raise Interrupted(_how_to_go_on(path, job, _name_of(stop)))
    return Added(round(over_all(fabric, float(writer.seen))), incomplete)


def over_all(fabric: Fabric, mine: float) -> float:
    """Return the sum of a number over all processes."""
    number = torch.tensor(mine, dtype=torch.float32, device=fabric.device)
    return float(torch.as_tensor(fabric.all_reduce(number, reduce_op="sum")))


def _name_of(stop: StopRequest) -> str:
    """Return why the filling stops."""
    return stop.signal.name if stop.signal else "Another process stopped"


def _in_any_process(fabric: Fabric, *wishes: bool) -> list[bool]:
    """Return whether any process sets each flag."""
    mine = torch.tensor(wishes, dtype=torch.float32, device=fabric.device)
    return [bool(count) for count in torch.as_tensor(fabric.all_reduce(mine, reduce_op="sum"))]


class _ShardWriter:
    """Writes shards and counts key frames."""

    def __init__(self, path: Path, job: CacheJob, fabric: Fabric, stop: StopRequest) -> None:
        self.path, self.job, self.fabric, self.stop = path, job, fabric, stop
        self.seen = 0
        self.left_out = LeftOut(job.config.engine, [len(job.key_frames)])

    def write(self, number: int) -> Iterator[None]:
        """Write one shard; yield after every batch."""
        rows, parts = list[int](), list[dict[str, Tensor]]()
        for batch_rows, part in self._batches(self.job.rows_of(number)):
            rows += batch_rows
            parts.append(part)
            yield
        if not rows:
            hint = "Run `occfeat check` on the data folder."
            raise CacheError(f"All key frames of shard {number} are broken.", hint=hint)
        tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        tensors["rows"] = torch.tensor(rows, dtype=torch.int64)
        with self.stop.saving():
            write_atomic(shard_file(self.path, number), lambda temporary: save_file(tensors, temporary))

    @torch.inference_mode()
    def _batches(self, rows: NDArray[np.int64]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Yield the rows of each batch, and what a shard holds of it."""
        job, engine = self.job, self.job.config.engine
        row_of = {job.key_frames.index.token(row): int(row) for row in rows}
        batches = in_order(rows, job.config.batch_size)
        pin = self.fabric.device.type == "cuda"
        for loaded in load_batches(job.key_frames, batches, engine, pin=pin):
            self.left_out.add(loaded)
            if loaded.batch is None:
                continue
            of_batch = [row_of[token] for token in loaded.batch.tokens]
            part = job.store(loaded.batch, of_batch)
            self.seen += len(of_batch)
            yield of_batch, part


def _progress() -> Progress:
    """Make the progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))


def _how_to_go_on(path: Path, job: CacheJob, reason: str) -> str:
    """Return how to finish the cache later."""
    again = f"Repeat the `{job.kind.command}` command to continue."
    return f"{reason}: the finished files in {path} are kept. {again}"

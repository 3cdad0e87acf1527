"""Data loaders: the same key frames in the same order, whatever the number of workers."""

import logging
import multiprocessing
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from occfeat.data.dataset import BrokenKeyFrame, Draw
from occfeat.data.sample.sample import Batch, Sample, collate
from occfeat.errors import TrainingError
from occfeat.machine.cgroups import describe_memory, describe_processes
from occfeat.machine.processor import usable_cores, why_alone
from occfeat.settings.sections import EngineConfig
from occfeat.training.gathering import gather_texts
from occfeat.training.loading.handover import Parcel, Pinned, explain_trouble, pack

logger = logging.getLogger(__name__)

SLOW_LOADING = 0.2
"""Share of the time spent waiting for data above which a run says so."""

_CUT_OFF = (ConnectionError, EOFError)
"""What receiving a batch raises when its process dies while it sends."""


@runtime_checkable
class KeyFrameReader(Protocol):
    """A source of batches, such as `KeyFrames`."""

    def read(self, draw: Draw) -> Sample | BrokenKeyFrame:
        """Read a key frame in an epoch, or return why it cannot be read."""


@dataclass(frozen=True)
class IncompleteKeyFrame:
    """A key frame without the cameras whose images cannot be read."""

    token: str
    """Token of the key frame."""
    message: str
    """The files and their problems."""


@dataclass(frozen=True)
class Loaded:
    """A batch, less the key frames that could not be read."""

    batch: Batch | None
    """None if none could be read."""
    broken: tuple[BrokenKeyFrame, ...]
    """Those that could not be read."""
    incomplete: tuple[IncompleteKeyFrame, ...] = ()
    """Those in the batch of which images could not be read."""

    def pin_memory(self) -> "Loaded":
        """Return the same in page-locked memory."""
        return replace(self, batch=None if self.batch is None else self.batch.pin_memory())


class Draws(Dataset[Sample | BrokenKeyFrame]):
    """Key frames by `Draw`, as torch's DataLoader asks for them.

    Args:
        key_frames: Where they are read.
    """

    def __init__(self, key_frames: KeyFrameReader) -> None:
        self.key_frames = key_frames

    def __getitem__(self, draw: Draw) -> Sample | BrokenKeyFrame:
        return self.key_frames.read(draw)


def collate_readable(read: list[Sample | BrokenKeyFrame]) -> Loaded:
    """Stack the samples and set the broken key frames aside."""
    samples = [one for one in read if isinstance(one, Sample)]
    broken = tuple(one for one in read if isinstance(one, BrokenKeyFrame))
    incomplete = tuple(_incomplete(sample) for sample in samples if sample.lost_images)
    return Loaded(collate(samples) if samples else None, broken, incomplete)


def _incomplete(sample: Sample) -> IncompleteKeyFrame:
    """Return what is said of a key frame that lacks images."""
    token = f"{sample.data_set}/{sample.token}" if sample.data_set else sample.token
    return IncompleteKeyFrame(token, " ".join(sample.lost_images))


def _pack_readable(read: list[Sample | BrokenKeyFrame]) -> Parcel:
    """Stack the samples as `collate_readable` does, and pack them for the training process."""
    return pack(collate_readable(read))


def load_batches(
    key_frames: KeyFrameReader,
    batches: Iterable[list[Draw]],
    engine: EngineConfig,
    *,
    pin: bool,
) -> Iterator[Loaded]:
    """Load batches of key frames in `engine.workers` processes, but at most one per core.

    Args:
        key_frames: Where key frames are read.
        batches: The draws of each batch, in order.
        engine: How many workers.
        pin: Deliver page-locked memory, for copies to a GPU.

    Raises:
        TrainingError: From the iterator, when a loading process has died.
    """
    loader = _loader(key_frames, _Batches(batches), engine, pin=pin)
    others = set(multiprocessing.active_children())
    with _deaths_told_by_the_loader():
        iterator = iter(loader)
    workers = set(multiprocessing.active_children()) - others
    try:
        yield from map(_Arrivals(), iterator)
    except (RuntimeError, *_CUT_OFF) as error:
        if not isinstance(error, _CUT_OFF) and all(worker.is_alive() for worker in workers):
            raise
        raise TrainingError(f"A loading process has died: {error}", hint=_after_death()) from error
    finally:  # they ignore signals to end, and may wait for what a dead one held
        for worker in workers:
            worker.kill()


def _after_death() -> str:
    """Return what to do when a loading process has died."""
    parts = (
        "Lack of memory, or of room for threads, is the usual reason.",
        describe_memory(),
        describe_processes(),
        "Lower `--engine.workers`, or the size of batches.",
        "A training run goes on from its last checkpoint with `--resume`, a cache with the same command.",
    )
    return " ".join(filter(None, parts))


class _Arrivals:
    """Unpacks what arrives; says once that shared memory could not be used."""

    def __init__(self) -> None:
        self.said = False

    def __call__(self, arrived: Loaded | Parcel | Pinned) -> Loaded:
        if isinstance(arrived, Loaded):  # loaded by this process
            return arrived
        if arrived.trouble and not self.said:
            self.said = True
            logger.warning(explain_trouble(arrived.trouble))
        loaded: Loaded = arrived.unpack()
        return loaded


class _Batches(Sampler[list[Draw]]):
    """Batches of draws, as a data loader wants them."""

    def __init__(self, batches: Iterable[list[Draw]]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[Draw]]:
        return iter(self.batches)


@contextmanager
def _deaths_told_by_the_loader() -> Iterator[None]:
    """Put back the handler of SIGCHLD that torch replaces when it starts loading processes.

    Torch's handler, installed here or by a loader before, would raise an error at any moment, also in the
    middle of an optimiser's step. Without it a loader finds out itself that a process has died. The signal
    waits until the handler is back: a process may die as soon as it has started.
    """
    if not hasattr(signal, "SIGCHLD"):  # on Windows no signal tells of a death
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        yield
    finally:
        _put_back(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _put_back(before: Any) -> None:
    """Install a handler of SIGCHLD again, unless it is torch's own."""
    if threading.current_thread() is threading.main_thread() and before is not None:
        of_torch = str(getattr(before, "__module__", "")).startswith("torch.")
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if of_torch else before)


def _loader(
    key_frames: KeyFrameReader, batches: _Batches, engine: EngineConfig, *, pin: bool
) -> DataLoader[Loaded | Parcel | Pinned]:
    """Make the loader of some batches; random numbers of the training stay untouched."""
    workers = min(engine.workers, usable_cores())
    if workers and (reason := why_alone()):
        what = "Key frames are loaded by the process that trains, which takes longer: %s. Make it writable."
        logger.warning(what, reason)
        workers = 0
    return DataLoader(  # collation turns samples into what the loader gives
        Draws(key_frames),  # type: ignore[arg-type]
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_pack_readable if workers else collate_readable,
        pin_memory=pin,
        worker_init_fn=_ignore_interrupts,
        generator=torch.Generator(),  # in place of the global one
    )


def in_order(rows: NDArray[np.int64], batch_size: int) -> list[list[Draw]]:
    """Return batches that take each key frame once and unchanged, for evaluation."""
    return [
        [Draw(row=int(row), epoch=0) for row in rows[start : start + batch_size]]
        for start in range(0, len(rows), batch_size)
    ]


class LeftOut:
    """Counts key frames that cannot be read, and those of which an image cannot be read.

    Args:
        engine: How many of each are allowed.
        key_frames: Number of key frames of each data set.
        broken: Tokens of key frames that could not be read before.
        incomplete: Tokens of key frames of which an image could not be read before.
    """

    def __init__(
        self,
        engine: EngineConfig,
        key_frames: Iterable[int],
        broken: Iterable[str] = (),
        incomplete: Iterable[str] = (),
    ) -> None:
        self.allowed = engine.max_broken
        self.allowed_incomplete = sum(map(engine.allowed_incomplete, key_frames))
        self.broken, self.incomplete = set(broken), set(incomplete)

    def add(self, loaded: Loaded) -> None:
        """Count what was left out of a batch of this process; each key frame counts once.

        Raises:
            TrainingError: It is more than the settings allow.
        """
        for one in loaded.broken:
            logger.warning("skipped: %s", one.message)
        for lacking in loaded.incomplete:
            if lacking.token not in self.incomplete:
                logger.warning("A camera is left out of key frame %s: %s", lacking.token, lacking.message)
        self.broken |= {one.token for one in loaded.broken}
        self.incomplete |= {lacking.token for lacking in loaded.incomplete}
        self._require_few(len(self.broken), len(self.incomplete), loaded)

    def over_all(self, fabric: Fabric) -> tuple[int, int]:
        """Return how many key frames all processes have left out, and of how many an image.

        All processes must call it at once.

        Raises:
            TrainingError: It is more than the settings allow.
        """
        each = (gather_texts(tokens, fabric) for tokens in (self.broken, self.incomplete))
        broken, incomplete = (len(set().union(*tokens)) for tokens in each)
        self._require_few(broken, incomplete, Loaded(None, ()))
        return broken, incomplete

    def _require_few(self, broken: int, incomplete: int, last: Loaded) -> None:
        """Refuse numbers that the settings do not allow; the error names some of the last batch."""
        if broken > self.allowed:
            raise TrainingError(
                f"{broken} broken key frame(s), {self.allowed} allowed.",
                first=[one.message for one in last.broken[:3]],
                hint="Run `occfeat check` on the data folder, or allow more with `--engine.max-broken`.",
            )
        if incomplete > self.allowed_incomplete:
            raise TrainingError(
                f"{incomplete} key frame(s) lack a camera, {self.allowed_incomplete} allowed.",
                first=[lacking.message for lacking in last.incomplete[:3]],
                hint="Run `occfeat check` on the data folder, or allow more with `--engine.max-incomplete`.",
            )


def slow_loading(share: float, workers: int) -> str:
    """Return advice for training that waits for data."""
    cores = usable_cores()
    text = f"{share:.0%} of the time is spent waiting for data. "
    if workers < cores:
        return text + f"Raise --engine.workers: it is {workers}, and this process may use {cores} cores."
    return text + (
        "All cores load already: put the data on a faster disk, cache the teacher's features "
        "(`occfeat cache`), or pack the student's images (`occfeat cache --images`)."
    )


def _ignore_interrupts(_: int) -> None:
    """Leave interrupts to the training process.

    Ctrl-C reaches every process of the terminal, and a job scheduler's SIGTERM every process of the job.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

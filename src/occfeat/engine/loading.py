"""Data loaders: the same key frames in the same order, whatever the number of workers."""

import os
import signal
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from occfeat.config import EngineConfig
from occfeat.data.dataset import BrokenKeyFrame, Draw, Loaded, collate_key_frames
from occfeat.data.sample import Sample
from occfeat.errors import TrainingError

SLOW_LOADING = 0.2
"""Share of the time spent waiting for data above which a run says so."""


def build_loader(
    key_frames: Dataset[Sample | BrokenKeyFrame],
    batches: Iterable[list[Draw]],
    engine: EngineConfig,
    *,
    pin: bool,
) -> DataLoader[Loaded]:
    """Load batches of key frames in `engine.workers` processes, but at most one per core.

    Args:
        key_frames: The data set.
        batches: The draws of each batch, in order.
        engine: How many workers.
        pin: Deliver page-locked memory, for copies to a GPU.
    """
    return DataLoader(  # collation turns samples into what the loader gives
        key_frames,  # type: ignore[arg-type]
        batch_sampler=batches,
        num_workers=min(engine.workers, _cores()),
        collate_fn=collate_key_frames,
        pin_memory=pin,
        worker_init_fn=_ignore_interrupts,
        generator=torch.Generator(),  # leaves the random numbers of the training untouched
    )


def in_order(rows: NDArray[np.int64], batch_size: int) -> list[list[Draw]]:
    """Batches that take each key frame once, for evaluation."""
    return [
        [Draw(row=int(row), epoch=0) for row in rows[start : start + batch_size]]
        for start in range(0, len(rows), batch_size)
    ]


def require_few_broken(messages: Sequence[str], count: int, allowed: int) -> None:
    """Stop when more key frames are broken than a user allows.

    Args:
        messages: What is wrong with the latest ones.
        count: How many there are so far.
        allowed: The setting `engine.max_broken`.

    Raises:
        TrainingError: There are more.
    """
    if count > allowed:
        hint = "Run `occfeat check` on the data folder, or allow more with `--engine.max-broken`."
        raise TrainingError(f"{count} broken key frame(s), {allowed} allowed.", first=messages[:3], hint=hint)


def slow_loading(share: float, workers: int) -> str:
    """What to do about training that waits for data."""
    cores = _cores()
    text = f"{share:.0%} of the time is spent waiting for data. "
    if workers < cores:
        return text + f"Raise --engine.workers: it is {workers}, and this process may use {cores} cores."
    return text + (
        "All cores load already: put the data on a faster disk, cache what the teacher sees "
        "(`occfeat cache`), or store images nearer to the student's size."
    )


def _cores() -> int:
    """Cores this process may use, which a job scheduler can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ignore_interrupts(_: int) -> None:
    # Ctrl-C reaches every process of the terminal, and a job scheduler's SIGTERM every process of the job:
    # the training process decides what happens.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

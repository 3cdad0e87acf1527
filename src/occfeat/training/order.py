"""Which key frames each optimiser step sees: a function of the seed and the step alone.

Epochs are shuffled one by one and laid end to end; step s takes draws s*b to (s+1)*b - 1 of that endless
line, b being the batch size. Nothing is dropped, a set smaller than a batch works, and a resumed run
continues at any step without replaying the ones before it.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from occfeat.data.dataset import Draw


class TrainingOrder(Sampler[list[Draw]]):
    """Yields the draws of each micro-batch of this process, from a step on.

    Args:
        rows: Key frames to train on.
        seed: Seed of the shuffling.
        batch_size: Key frames per optimiser step, over all processes.
        micro_batch_size: Key frames per forward pass in one process.
        steps: Optimiser steps of the whole run.
        first_step: Where to start.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        *,
        seed: int,
        batch_size: int,
        micro_batch_size: int,
        steps: int,
        first_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.rows = rows
        self.seed = seed
        self.batch_size = batch_size
        self.micro_batch_size = micro_batch_size
        self.steps = steps
        self.first_step = first_step
        self.rank = rank
        self.world_size = world_size
        self._latest: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        share = self.batch_size // self.world_size
        return (self.steps - self.first_step) * (share // self.micro_batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        share = self.batch_size // self.world_size
        for step in range(self.first_step, self.steps):
            first = step * self.batch_size + self.rank * share
            for start in range(first, first + share, self.micro_batch_size):
                yield [self.draw(position) for position in range(start, start + self.micro_batch_size)]

    def draw(self, position: int) -> Draw:
        """Return the key frame at a position of the endless line, and the epoch it belongs to."""
        epoch, position_in_epoch = divmod(position, len(self.rows))
        return Draw(row=int(self._shuffled(epoch)[position_in_epoch]), epoch=epoch)

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        """Shuffle the key frames of an epoch; the latest epoch is kept."""
        if self._latest is None or self._latest[0] != epoch:
            self._latest = epoch, np.random.default_rng((self.seed, epoch)).permutation(self.rows)
        return self._latest[1]


def steps_for(key_frames: int, epochs: int, batch_size: int) -> int:
    """Return the number of optimiser steps that take `epochs` passes over the key frames, rounded up."""
    return -(-key_frames * epochs // batch_size)

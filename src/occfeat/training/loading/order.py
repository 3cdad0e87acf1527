"""Which key frames each optimiser step sees: a function of the seed and the step alone.

Epochs are laid end to end; step s takes draws s*b to (s+1)*b - 1 of that endless line, b being the batch
size. An epoch has as many draws as there are key frames. Each data set is shuffled pass by pass, and goes on
where the epoch before ended. So nothing is dropped, a set smaller than a batch works, and a resumed run
continues at any step without replaying the ones before it. With a single data set an epoch is one pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from occfeat.data.dataset import Draw


@dataclass(frozen=True)
class Mix:
    """Key frames to train on by data set, and how often each set is drawn."""

    sets: tuple[NDArray[np.int64], ...]
    """Rows of each data set, at least one of each."""
    exponent: float = 0.5
    """A set is drawn in proportion to its number of key frames to this power: 1 draws every key frame equally
    often, 0 every set."""

    def __len__(self) -> int:
        return sum(map(len, self.sets))

    @property
    def first(self) -> int:
        """The first key frame of the first set."""
        return int(self.sets[0][0])

    @property
    def rows(self) -> NDArray[np.int64]:
        """All key frames, set by set."""
        return np.concatenate(self.sets)

    @cached_property
    def draws(self) -> tuple[int, ...]:
        """Draws of each set in an epoch, at least 1, which add up to the number of key frames."""
        weights = np.array([len(rows) for rows in self.sets]) ** float(self.exponent)
        exact = len(self) * weights / weights.sum()
        draws = np.floor(exact + 1e-9).astype(int)
        most_left = np.argsort(draws - exact, kind="stable")
        draws[most_left[: len(self) - draws.sum()]] += 1
        while (draws == 0).any():
            draws[draws.argmax()] -= 1
            draws[draws.argmin()] += 1
        return tuple(draws.tolist())


class TrainingOrder(Sampler[list[Draw]]):
    """Yields the draws of each micro-batch of this process, from a step on.

    Args:
        mix: Key frames to train on.
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
        mix: Mix,
        *,
        seed: int,
        batch_size: int,
        micro_batch_size: int,
        steps: int,
        first_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.mix = mix
        self.seed = seed
        self.batch_size = batch_size
        self.micro_batch_size = micro_batch_size
        self.steps = steps
        self.first_step = first_step
        self.rank = rank
        self.world_size = world_size
        self._epoch: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None
        self._passes: dict[int, tuple[int, NDArray[np.int64]]] = {}

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
        """Return the key frame at a position of the endless line, and the pass over its set it belongs to."""
        epoch, position_in_epoch = divmod(position, len(self.mix))
        sets, draws = self._interleaved(epoch)
        number = int(sets[position_in_epoch])
        passed, position_in_pass = divmod(int(draws[position_in_epoch]), len(self.mix.sets[number]))
        return Draw(row=int(self._shuffled(number, passed)[position_in_pass]), epoch=passed)

    def _interleaved(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the set of each draw of an epoch, and how many draws of it came before."""
        if self._epoch is None or self._epoch[0] != epoch:
            counts = self.mix.draws
            sets = np.arange(len(counts)).repeat(counts)
            if len(counts) > 1:
                sets = np.random.default_rng((self.seed, epoch, 1)).permutation(sets)
            draws = np.empty_like(sets)
            for number, count in enumerate(counts):
                draws[sets == number] = epoch * count + np.arange(count)
            self._epoch = epoch, sets, draws
        return self._epoch[1:]

    def _shuffled(self, number: int, passed: int) -> NDArray[np.int64]:
        """Shuffle a set for one pass; the latest pass of each set is kept."""
        if number not in self._passes or self._passes[number][0] != passed:
            entropy = (self.seed, passed, *((number + 1,) if number else ()))
            shuffled = np.random.default_rng(entropy).permutation(self.mix.sets[number])
            self._passes[number] = passed, shuffled
        return self._passes[number][1]


def steps_for(key_frames: int, epochs: int, batch_size: int) -> int:
    """Return the number of optimiser steps that take `epochs` passes over the key frames, rounded up."""
    return -(-key_frames * epochs // batch_size)

"""The order of key frames and the learning rate are functions of the step alone."""

import numpy as np
import pytest

from occfeat.data.dataset import Draw
from occfeat.training.order import TrainingOrder, steps_for


def _draws(steps: int = 6, first_step: int = 0, **changes: int) -> list[list[Draw]]:
    settings = {"seed": 3, "batch_size": 4, "micro_batch_size": 2} | changes
    return list(TrainingOrder(np.arange(10, 17), steps=steps, first_step=first_step, **settings))


def test_order__every_epoch_takes_each_key_frame_once() -> None:
    line = [draw for batch in _draws(steps=7) for draw in batch]
    for epoch in range(4):
        assert sorted(draw.row for draw in line if draw.epoch == epoch) == list(range(10, 17))
    assert len({tuple(draw.row for draw in line if draw.epoch == epoch) for epoch in range(4)}) > 1


def test_order__resuming_continues_the_same_line() -> None:
    assert _draws(first_step=3) == _draws()[6:]
    assert len(TrainingOrder(np.arange(7), seed=0, batch_size=4, micro_batch_size=2, steps=5)) == 10


def test_order__processes_share_each_batch() -> None:
    together = [
        [draw for batch in pair for draw in batch] for pair in zip(*[iter(_draws())] * 2, strict=True)
    ]
    first, second = (_draws(rank=rank, world_size=2) for rank in range(2))
    assert [one + other for one, other in zip(first, second, strict=True)] == together


def test_order__a_set_smaller_than_a_batch_works() -> None:
    order = TrainingOrder(np.array([5]), seed=0, batch_size=3, micro_batch_size=3, steps=1)
    assert list(order) == [[Draw(5, 0), Draw(5, 1), Draw(5, 2)]]


def test_order__seeds_differ() -> None:
    assert _draws(seed=3) == _draws(seed=3)
    assert _draws(seed=3) != _draws(seed=4)


@pytest.mark.parametrize(("key_frames", "epochs", "steps"), [(8, 3, 6), (9, 1, 3), (1, 1, 1)])
def test_steps_for__rounds_up(key_frames: int, epochs: int, steps: int) -> None:
    assert steps_for(key_frames, epochs, batch_size=4) == steps

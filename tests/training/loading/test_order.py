"""The order of key frames and the learning rate are functions of the step alone."""

import numpy as np
import pytest

from occfeat.data.dataset import Draw
from occfeat.training.loading.order import Mix, TrainingOrder, steps_for


def _draws(steps: int = 6, first_step: int = 0, **changes: int) -> list[list[Draw]]:
    settings = {"seed": 3, "batch_size": 4, "micro_batch_size": 2} | changes
    return list(TrainingOrder(Mix((np.arange(10, 17),)), steps=steps, first_step=first_step, **settings))


def test_order__every_epoch_takes_each_key_frame_once() -> None:
    line = [draw for batch in _draws(steps=7) for draw in batch]
    for epoch in range(4):
        assert sorted(draw.row for draw in line if draw.epoch == epoch) == list(range(10, 17))
    assert len({tuple(draw.row for draw in line if draw.epoch == epoch) for epoch in range(4)}) > 1


def test_order__resuming_continues_the_same_line() -> None:
    assert _draws(first_step=3) == _draws()[6:]
    assert len(TrainingOrder(Mix((np.arange(7),)), seed=0, batch_size=4, micro_batch_size=2, steps=5)) == 10


def test_order__processes_share_each_batch() -> None:
    together = [
        [draw for batch in pair for draw in batch] for pair in zip(*[iter(_draws())] * 2, strict=True)
    ]
    first, second = (_draws(rank=rank, world_size=2) for rank in range(2))
    assert [one + other for one, other in zip(first, second, strict=True)] == together


def test_order__a_set_smaller_than_a_batch_works() -> None:
    order = TrainingOrder(Mix((np.array([5]),)), seed=0, batch_size=3, micro_batch_size=3, steps=1)
    assert list(order) == [[Draw(5, 0), Draw(5, 1), Draw(5, 2)]]


def test_order__seeds_differ() -> None:
    assert _draws(seed=3) == _draws(seed=3)
    assert _draws(seed=3) != _draws(seed=4)


@pytest.mark.parametrize(("key_frames", "epochs", "steps"), [(8, 3, 6), (9, 1, 3), (1, 1, 1)])
def test_steps_for__rounds_up(key_frames: int, epochs: int, steps: int) -> None:
    assert steps_for(key_frames, epochs, batch_size=4) == steps


TWO = Mix((np.arange(10, 14), np.arange(100, 116)))
"""4 and 16 key frames: their roots are as 2 to 4."""


def _line(mix: Mix, steps: int = 40, **changes: int) -> list[Draw]:
    settings = {"seed": 3, "batch_size": 4, "micro_batch_size": 2} | changes
    return [draw for batch in TrainingOrder(mix, steps=steps, **settings) for draw in batch]


@pytest.mark.parametrize(("exponent", "draws"), [(0.0, (10, 10)), (0.5, (7, 13)), (1.0, (4, 16))])
def test_mix__draws_sets_by_a_power_of_their_size(exponent: float, draws: tuple[int, int]) -> None:
    assert Mix(TWO.sets, exponent).draws == draws


def test_mix__draws_a_tiny_set_at_least_once() -> None:
    mix = Mix((np.arange(1), np.arange(1, 1000), np.arange(1000, 1003)), 1.0)
    assert mix.draws == (1, 999, 3)
    assert Mix((np.arange(1), np.arange(1, 5001)), 0.99).draws[0] == 1
    assert sum(Mix(mix.sets, 0.3).draws) == len(mix) == 1003


def test_order__of_sets_draws_each_as_often_as_said_in_every_epoch() -> None:
    line = _line(TWO)
    for epoch in range(8):
        part = line[epoch * 20 : (epoch + 1) * 20]
        assert sum(draw.row < 100 for draw in part) == 7
    assert len({tuple(draw.row < 100 for draw in line[epoch * 20 :][:20]) for epoch in range(8)}) > 1


def test_order__of_sets_goes_through_each_set_pass_by_pass() -> None:
    line = _line(TWO)
    for rows in TWO.sets:
        mine = [draw for draw in line if draw.row in rows]
        for number in range(len(mine) // len(rows)):
            passed = mine[number * len(rows) : (number + 1) * len(rows)]
            assert sorted(draw.row for draw in passed) == rows.tolist()
            assert {draw.epoch for draw in passed} == {number}


def test_order__of_sets_resumes_and_is_shared() -> None:
    assert _line(TWO, first_step=7) == _line(TWO)[28:]
    whole, half = TrainingOrder(TWO, seed=3, batch_size=4, micro_batch_size=2, steps=9), []
    for rank in range(2):
        order = TrainingOrder(TWO, seed=3, batch_size=4, micro_batch_size=2, steps=9, rank=rank, world_size=2)
        half.append(list(order))
    assert [one for pair in zip(*half, strict=True) for one in pair] == list(whole)


def test_order__of_a_single_set_is_the_permutation_of_its_epochs() -> None:
    rows = np.arange(10, 17)
    line = _line(Mix((rows,)), steps=7)
    wanted = [
        Draw(int(row), epoch)
        for epoch in range(4)
        for row in np.random.default_rng((3, epoch)).permutation(rows)
    ]
    assert line == wanted

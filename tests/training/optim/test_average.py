"""Averaged weights: beside a plain loop, with running statistics, and without what is frozen."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from occfeat.training.optim.average import WeightAverage


def _network() -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    network[2].requires_grad_(False)
    return network


def _states(network: nn.Module, steps: int, average: WeightAverage | None = None) -> list[dict[str, Tensor]]:
    """The state after each of some steps of training, which an average follows."""
    optimizer = torch.optim.SGD([one for one in network.parameters() if one.requires_grad], lr=0.1)
    states = []
    for step in range(1, steps + 1):
        network(torch.randn(5, 3)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        if average:
            average.update(step)
        states.append({name: value.clone() for name, value in network.state_dict().items()})
    return states


def _plain(states: list[dict[str, Tensor]], horizon: int) -> dict[str, Tensor]:
    """The same average: the equal mean of the first steps, then an exponential one."""
    averages = {}
    for name in states[0]:
        values = [state[name].double() for state in states]
        mean = torch.stack(values[:horizon]).mean(0)
        for value in values[horizon:]:
            mean = (1 - 1 / horizon) * mean + value / horizon
        averages[name] = mean
    return averages


@pytest.mark.parametrize(("steps", "horizon"), [(1, 4), (3, 4), (4, 4), (20, 4), (6, 1)])
def test_average__is_that_of_a_plain_loop(steps: int, horizon: int) -> None:
    network = _network()
    average = WeightAverage(network, horizon)
    states = _states(network, steps, average)
    expected = _plain(states, horizon)
    assert set(average.tensors) == {name for name in expected if not name.startswith("2.")}
    for name, value in average.tensors.items():
        if name == "1.num_batches_tracked":
            assert int(value) == steps
        else:
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_average__of_one_step_is_the_last_weights_to_the_bit() -> None:
    network = _network()
    average = WeightAverage(network, 1)
    last = _states(network, 7, average)[-1]
    average.write()
    assert all(torch.equal(value, last[name]) for name, value in network.state_dict().items())


def test_average__leaves_training_alone_until_it_is_written() -> None:
    followed, alone = _network(), _network()
    average = WeightAverage(followed, 3)
    torch.manual_seed(1)
    seen = _states(followed, 5, average)[-1]
    torch.manual_seed(1)
    unseen = _states(alone, 5)[-1]
    assert all(torch.equal(seen[name], unseen[name]) for name in seen)
    average.write()
    assert not torch.equal(followed[0].weight, alone[0].weight)
    assert torch.equal(followed[2].weight, alone[2].weight)


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: {},
        lambda saved: {**saved, "0.weight": torch.zeros(4, 2)},
        lambda saved: {**saved, "more": torch.zeros(1)},
    ],
)
def test_restore__refuses_averages_of_another_network(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
) -> None:
    average = WeightAverage(_network(), 3)
    with pytest.raises(ValueError, match="averages of 7 tensors"):
        average.restore(change(dict(average.tensors)))

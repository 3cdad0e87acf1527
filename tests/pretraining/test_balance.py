"""The ratio of gradients at the BEV features, and the weight that holds it."""

import copy
from itertools import pairwise

import pytest
import torch

from occfeat.models.recompute import recompute_activations
from occfeat.pretraining.balance import FASTEST, Balance, pull
from occfeat.pretraining.network import PretrainingNetwork, Targets
from occfeat.pretraining.objectives.features import FeatureTarget
from occfeat.pretraining.objectives.occupancy import OccupancyTarget
from occfeat.settings.sections import PretrainLossConfig
from tests.pretraining.small_networks import FEATURES, build_network
from tests.support.rigs import GRID, batch_of

BOTH = PretrainLossConfig(occupancy=2.0, features=0.5)
AUTO = PretrainLossConfig(features="auto", ratio=0.2)


def targets(key_frames: int = 2) -> Targets:
    random = torch.Generator().manual_seed(1)
    occupied = torch.rand(key_frames, *GRID.shape, generator=random) < 0.1
    cells = occupied.nonzero()
    features = FeatureTarget(cells, torch.randn(len(cells), FEATURES, generator=random))
    return {"occupancy": OccupancyTarget(occupied), "features": features}


def ratios(network: PretrainingNetwork, step: int) -> dict[str, float]:
    network.begin_step(step)
    metrics = network(batch_of(), targets()).metrics
    return {name: ratio.value() for name, ratio in metrics.items() if name.startswith(("ratio", "weight"))}


@pytest.mark.parametrize("own", [None, 7])
def test_ratio__is_that_of_the_gradients_of_two_separate_networks(own: int | None) -> None:
    network = build_network(BOTH, own=own)
    found = ratios(network, 49)
    pulls = []
    for name in ("features", "occupancy"):
        alone = build_network(BOTH, own=own)
        step = alone(batch_of(), {name: targets()[name]})
        [gradient] = torch.autograd.grad(step.loss, alone.student.bev)
        pulls.append(sum(float(one.norm()) for one in gradient))
    assert found == {"ratio/features": pytest.approx(pulls[0] / pulls[1], rel=1e-5)}


def test_ratio__is_measured_in_every_fiftieth_step_and_changes_no_gradient() -> None:
    network, plain = build_network(BOTH), build_network(BOTH)
    assert [step for step in range(101) if ratios(network, step)] == [49, 99]
    for one, step in ((network, 49), (plain, 0)):
        one.begin_step(step)
        one(batch_of(), targets()).loss.backward()
    for one, other in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)  # type: ignore[arg-type]


def test_ratio__needs_occupancy_and_a_student_that_learns() -> None:
    assert ratios(build_network(PretrainLossConfig(occupancy=0, features=1.0)), 49) == {}
    assert ratios(build_network(PretrainLossConfig(features=0)), 49) == {}
    network = build_network(BOTH)
    network.student.bev.requires_grad_(False)
    assert ratios(network, 49) == {}


def test_ratio__is_the_same_with_recomputed_activations_and_close_in_half_precision() -> None:
    network = build_network(BOTH)
    recomputed = copy.deepcopy(network)
    recompute_activations(recomputed)
    plain = ratios(network, 49)["ratio/features"]
    assert ratios(recomputed, 49)["ratio/features"] == plain
    with torch.autocast("cpu", torch.bfloat16):
        assert ratios(network, 49)["ratio/features"] == pytest.approx(plain, rel=0.03)


def test_ratio__does_not_depend_on_the_size_of_micro_batches() -> None:
    network = build_network(BOTH)
    network.begin_step(49)
    target = targets()
    whole = network(batch_of(), target).metrics["ratio/features"]
    features: FeatureTarget = target["features"]
    parts = []
    for number in range(2):
        chosen = features.cells[:, 0] == number
        cells = features.cells[chosen] * torch.tensor([0, 1, 1, 1])
        part: Targets = {
            "occupancy": OccupancyTarget(target["occupancy"].occupied[number : number + 1]),
            "features": FeatureTarget(cells, features.features[chosen]),
        }
        one = network_of_key_frame(network, number)
        parts.append(one(batch_of(1), part).metrics["ratio/features"])
    numerator = sum(float(part.numerator) for part in parts)
    pooled = numerator / sum(float(part.denominator) for part in parts)
    assert pooled == pytest.approx(whole.value(), rel=0.02)  # voxels of the key frames are equally many


def network_of_key_frame(network: PretrainingNetwork, number: int) -> PretrainingNetwork:
    """The same network for one of two key frames, whose BEV features are parameters."""
    alone = copy.deepcopy(network)
    alone.student.bev = torch.nn.Parameter(network.student.bev[number : number + 1].detach().clone())
    return alone


def test_auto__the_first_step_measures_and_the_next_has_the_wanted_ratio() -> None:
    network = build_network(AUTO)
    first = ratios(network, 0)
    assert first == {"ratio/features": 0, "weight/features": 0}
    network.begin_step(1)
    network.measures = True
    metrics = network(batch_of(), targets()).metrics
    assert metrics["ratio/features"].value() == pytest.approx(0.2, rel=1e-5)
    assert metrics["weight/features"].value() > 0
    loss = metrics["loss/occupancy"].value()
    loss += metrics["weight/features"].value() * metrics["loss/features"].value()
    assert metrics["loss"].value() == pytest.approx(loss, rel=1e-5)


def test_auto__its_weight_is_in_the_state_and_a_restored_network_goes_on_alike() -> None:
    network = build_network(AUTO)
    ratios(network, 0)
    saved = copy.deepcopy(network.state_dict())  # between measuring and adjusting
    assert {"balances.features.in_use", "balances.features.pulls"} <= saved.keys()
    restored = build_network(AUTO)
    restored.load_state_dict(saved)
    for one in (network, restored):
        one.begin_step(1)
    weights = [one.state_dict()["balances.features.in_use"] for one in (network, restored)]
    assert weights[0] > 0
    assert torch.equal(*weights)
    assert not any("balances" in name for name in build_network(BOTH).state_dict())


def test_balance__approaches_the_wanted_weight_in_bounded_steps() -> None:
    balance, weights = Balance(0.5), []
    for own in [1.0, 0.001, 0.001, *[0.01] * 20]:
        balance.observe(torch.tensor(own), torch.tensor(2.0))
        balance.adjust()
        weights.append(float(balance.weight))
    assert weights[:3] == pytest.approx([1, FASTEST, FASTEST**2])
    assert weights[-1] == pytest.approx(100, rel=0.01)
    factors = [later / former for former, later in pairwise(weights)]
    assert max(factors) <= FASTEST


@pytest.mark.parametrize(("own", "occupancy"), [(0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_balance__keeps_its_weight_where_there_is_nothing_to_compare(own: float, occupancy: float) -> None:
    balance = Balance(0.5)
    balance.observe(torch.tensor(1.0), torch.tensor(3.0))
    balance.adjust()
    balance.observe(torch.tensor(own), torch.tensor(occupancy))
    balance.adjust()
    assert float(balance.weight) == 1.5
    assert balance.pulls.tolist() == [0, 0]


def test_balance__holds_the_ratio_while_a_network_learns() -> None:
    network = build_network(AUTO)
    network.ratio_every = 2
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    found = []
    for step in range(60):
        network.begin_step(step)
        result = network(batch_of(), targets())
        optimizer.zero_grad()
        result.loss.backward()
        optimizer.step()
        if "ratio/features" in result.metrics:
            found.append(result.metrics["ratio/features"].value())
    assert found[-10:] == pytest.approx([0.2] * 10, rel=0.4)


def test_pull__of_a_loss_that_does_not_read_the_features_is_zero() -> None:
    bev, other = torch.randn(1, 2, 3, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    assert float(pull(other.sum(), bev)) == 0

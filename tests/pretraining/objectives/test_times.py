"""Occupancy at other times: loss and metrics beside plain loops, and that it is learned."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from occfeat.data.sample.lidar import EMPTY, OCCUPIED, TimedStates
from occfeat.data.sample.sample import Batch
from occfeat.pretraining.network import TargetMaker
from occfeat.pretraining.objectives.occupancy import voxel_logits
from occfeat.pretraining.objectives.times import TimedOccupancy, timed_losses
from occfeat.settings.sections import PretrainLossConfig
from tests.pretraining.small_networks import build_network, learn
from tests.support.rigs import GRID, batch_of

TIMES = PretrainLossConfig(
    occupancy=0, features=0, times=2.0, times_s=(-0.5, 0.0, 1.0), times_weights=(0.5, 1.0, 0.25)
)


def batch_with_times() -> Batch:
    random = torch.Generator().manual_seed(3)
    draw = torch.rand(2, 3, *GRID.shape, generator=random)
    states = torch.where(draw < 0.1, OCCUPIED, torch.where(draw < 0.6, EMPTY, 0)).to(torch.uint8)
    states[1, 2] = 0
    present = torch.tensor([[True, True, True], [True, True, False]])
    return replace(batch_of(), times=TimedStates(states, present))


def test_timed_losses__equal_plain_loops() -> None:
    target = batch_with_times().times
    assert target is not None
    logits = torch.randn(2, 3, *GRID.shape)
    losses = timed_losses(logits, target)
    for number in range(3):
        total, count = 0.0, 0
        for key_frame in range(2):
            known = target.states[key_frame, number] > 0
            occupied = (target.states[key_frame, number] == OCCUPIED)[known].float()
            total += float(
                F.binary_cross_entropy_with_logits(
                    logits[key_frame, number][known], occupied, reduction="sum"
                )
            )
            count += int(known.sum())
        assert losses[number].item() == pytest.approx(total / count, rel=1e-4)
    unknown = TimedStates(torch.zeros_like(target.states), target.present)
    assert timed_losses(logits, unknown).tolist() == [0, 0, 0]


def test_step__weights_times_and_says_what_is_missing() -> None:
    network, batch = build_network(TIMES), batch_with_times()
    targets = TargetMaker(network.objectives, GRID)(batch)
    step = network(batch, targets)
    metrics = {name: ratio.value() for name, ratio in step.metrics.items()}
    every = {f"occupancy_iou_at_{time}s" for time in ("-0.5", "+0", "+1")}
    assert set(metrics) == {"loss", "loss/times", "times_present", *every}
    assert metrics["times_present"] == pytest.approx(5 / 6)
    voxels = network.see(batch.images, batch.cameras)["voxels"]
    logits = voxel_logits(network.outputs["times"], voxels)
    losses = timed_losses(logits, targets["times"])
    expected = 2 * (0.5 * losses[0] + losses[1] + 0.25 * losses[2])
    assert step.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    known, occupied = targets["times"].known[:, 2], targets["times"].occupied[:, 2]
    predicted = (logits[:, 2] > 0) & known
    iou = float((predicted & occupied).sum() / (predicted | occupied).sum())
    assert metrics["occupancy_iou_at_+1s"] == pytest.approx(iou)
    now = network.occupancy_probability(network.see(batch.images, batch.cameras))
    assert now is not None
    assert torch.allclose(now, logits[:, 1].sigmoid(), atol=1e-6)


def test_times__without_the_present_draw_no_occupancy() -> None:
    objective = TimedOccupancy(1.0, (0.5,), (1.0,))
    assert objective.occupancy_probability(torch.nn.Conv3d(1, 1, 1), torch.zeros(1, 1, 2, 2, 2)) is None


def test_step__learns_something_that_moves() -> None:
    states = torch.full((2, 3, *GRID.shape), EMPTY, dtype=torch.uint8)
    for number in range(3):
        states[0, number, 4 * number : 4 * number + 4, 6:9] = OCCUPIED
        states[1, number, 3:6, 12 - 4 * number : 16 - 4 * number] = OCCUPIED
    batch = replace(batch_of(), times=TimedStates(states, torch.ones(2, 3, dtype=torch.bool)))
    network = build_network(TIMES, blocks=1)
    targets = TargetMaker(network.objectives, GRID)(batch)
    steps = learn(network, batch, targets, steps=150, rate=0.03)
    assert steps[-1]["loss"] < 0.2 * steps[0]["loss"]
    for time in ("-0.5", "+0", "+1"):
        assert steps[-1][f"occupancy_iou_at_{time}s"] > 0.8


def test_key_frames__keep_their_own_times() -> None:
    network, batch = build_network(TIMES), batch_with_times()
    target = TargetMaker(network.objectives, GRID)(batch)["times"]
    some = network.objectives[0].of_key_frames(target, torch.tensor([1]))
    assert torch.equal(some.states, target.states[1:])
    assert some.present.tolist() == [[True, True, False]]
    with pytest.raises(ValueError, match="states at several times"):
        TargetMaker(network.objectives, GRID)(batch_of())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"times_s": ()}, "expected different times, and at least one"),
        ({"times_s": (0.5, 0.5), "times_weights": (1, 1)}, "expected different times"),
        ({"times_s": (0.0, 0.5)}, "expected as many times_weights as times_s, got 5 and 2"),
        ({"features_window_s": 0.6}, "expects window_s and features above 0"),
        ({"features_window_s": 0.6, "window_s": 0.5, "features": 0}, "expects window_s and features"),
    ],
)
def test_settings__that_do_not_fit_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PretrainLossConfig(**wrong)

"""Occupancy of a window of sweeps as an objective: what counts, what is logged, and that it is learned."""

from dataclasses import replace

import pytest
import torch

from occfeat.data.sample.lidar import EMPTY, IN_CONFLICT, OCCUPIED, Window
from occfeat.data.sample.sample import Batch
from occfeat.pretraining.network import TargetMaker
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.pretraining.objectives.contract import needs_of
from occfeat.pretraining.objectives.entropy import mean_entropy
from occfeat.pretraining.objectives.occupancy import occupancy_logits
from occfeat.settings.sections import PretrainLossConfig
from tests.pretraining.small_networks import build_network
from tests.support import rigs

LOSS = PretrainLossConfig(features=0, window_s=0.5)


def windowed_batch() -> Batch:
    batch = rigs.batch_of()
    drawn = torch.rand(2, *rigs.GRID.shape, generator=torch.Generator().manual_seed(1))
    states = EMPTY * (drawn < 0.5) + OCCUPIED * (drawn > 0.9) + IN_CONFLICT * (drawn > 0.95)
    window = Window(states.to(torch.uint8), torch.tensor([21, 4]), torch.tensor([0, 3]))
    return replace(batch, window=window)


def test_window__says_what_is_occupied_and_what_counts() -> None:
    network, batch = build_network(LOSS), windowed_batch()
    assert batch.window is not None
    target = TargetMaker(network.objectives, rigs.GRID)(batch)["occupancy"]
    states = batch.window.states
    assert torch.equal(target.occupied, (states == OCCUPIED) | (states == OCCUPIED + IN_CONFLICT))
    assert torch.equal(target.counted, states != 0)
    assert torch.equal(batch.window.in_conflict, states >= IN_CONFLICT)


def test_step__of_a_window_names_its_metrics_and_counts_files() -> None:
    network, batch = build_network(LOSS), windowed_batch()
    targets = TargetMaker(network.objectives, rigs.GRID)(batch)
    step = network(batch, targets)
    assert set(step.metrics) == {
        "loss",
        "loss/occupancy",
        "window_occupancy_iou",
        "occupancy_recall",
        "window_share",
        "window_sweeps",
        "window_lost",
    }
    assert step.metrics["window_sweeps"].value() == 12.5
    assert step.metrics["window_lost"].value() == 1.5
    voxels = network.see(batch.images, batch.cameras)["voxels"]
    logits = occupancy_logits(network.outputs["occupancy"], voxels)
    target = targets["occupancy"]
    expected = mean_entropy(logits, target.occupied, target.counted)
    torch.testing.assert_close(step.loss, expected)


def test_window__of_some_key_frames() -> None:
    (objective,) = build_objectives(LOSS)
    maker = TargetMaker((objective,), rigs.GRID)
    target = maker(windowed_batch())["occupancy"]
    second = objective.of_key_frames(target, torch.tensor([1]))
    assert torch.equal(second.occupied, target.occupied[1:])
    assert second.window.sweeps.tolist() == [4]


def test_window__with_unseen_voxels_left_out() -> None:
    network = build_network(LOSS.model_copy(update={"unseen": "ignore"}))
    batch = windowed_batch()
    maker = TargetMaker(network.objectives, rigs.GRID)
    target = maker(batch)["occupancy"]
    assert batch.window is not None
    assert torch.equal(target.counted, batch.window.known & maker.evidence(batch).seen)
    assert "window_seen_occupancy_iou" in network(batch, {"occupancy": target}).metrics


def test_window__missing_in_a_batch_is_an_error() -> None:
    with pytest.raises(ValueError, match="expected a batch with a window of sweeps"):
        TargetMaker(build_objectives(LOSS), rigs.GRID)(rigs.batch_of())


def test_needs__only_a_window_that_is_asked_for() -> None:
    assert "window" in needs_of(build_objectives(LOSS))
    assert "window" not in needs_of(build_objectives(PretrainLossConfig(features=0)))


def test_settings__a_window_needs_an_mean_entropy() -> None:
    with pytest.raises(ValueError, match="window_s above 0 expects an occupancy weight above 0"):
        PretrainLossConfig(occupancy=0, window_s=0.5)

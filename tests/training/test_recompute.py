"""Recomputed activations: less is kept, and nothing else changes."""

import copy

import pytest
import torch

from occfeat.models.recompute import recompute_activations
from occfeat.models.students.build import build_student
from occfeat.pretraining.network import PretrainingNetwork
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.pretraining.objectives.occupancy import OccupancyTarget
from occfeat.settings.sections import HeadConfig, PretrainLossConfig
from occfeat.settings.students import STUDENTS
from occfeat.training.step import Step
from tests.support.rigs import GRID, batch_of

SMALL = {"backbone": "resnet18", "backbone_weights": "none", "image_channels": 16, "bev_channels": 16}


def step_of(network: PretrainingNetwork) -> Step:
    batch = batch_of(key_frames=2)
    occupied = torch.zeros(2, *GRID.shape, dtype=torch.bool)
    occupied[:, ::3] = True
    return network(batch, {"occupancy": OccupancyTarget(occupied)})


def kept_bytes(network: PretrainingNetwork) -> int:
    """Bytes of the tensors that a forward pass keeps for the backward pass, each storage once."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step_of(network)
    return sum(kept.values())


@pytest.mark.parametrize("kind", ["simplebev", "bevformer", "lss"])
def test_recompute__same_loss_and_gradients_with_less_kept(kind: str) -> None:
    torch.manual_seed(0)
    own = {"layers": 2, "heads": 4} if kind == "bevformer" else {}
    student = build_student(STUDENTS[kind].model_validate({**SMALL, **own}), GRID)
    objectives, head = build_objectives(PretrainLossConfig(features=0)), HeadConfig(channels=4)
    plain = PretrainingNetwork(student, objectives, heights=GRID.shape[2], head=head).train()
    again = copy.deepcopy(plain)
    recompute_activations(again)
    assert plain.state_dict().keys() == again.state_dict().keys()
    losses = [step_of(network).loss for network in (plain, again)]
    for loss in losses:
        loss.backward()
    assert torch.equal(*losses)
    for one, other in zip(plain.parameters(), again.parameters(), strict=True):
        assert one.grad is None if other.grad is None else torch.equal(one.grad, other.grad)
    assert kept_bytes(again) < 0.8 * kept_bytes(plain)

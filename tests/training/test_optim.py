"""The schedule of the learning rate, and who gets which share of it."""

import pytest
import torch
from torch import nn

from occfeat.segmentation.head import SegmentationHead
from occfeat.segmentation.task import FinetuningNetwork, Segmenter
from occfeat.settings.sections import OptimConfig
from occfeat.training.optim import build_optimizer, learning_rate_at, set_learning_rate


class Network(nn.Module):
    """A student and a head, each with a layer that learns and one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
        self.head = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
        self.student[0].requires_grad_(False)
        self.head[0].requires_grad_(False)


def test_student_rate__is_a_share_of_the_others() -> None:
    network = Network()
    optimizer = build_optimizer(network, OptimConfig(learning_rate=0.5, student_rate=0.1))
    rates = {id(one): group["lr"] for group in optimizer.param_groups for one in group["params"]}
    assert rates == {
        **{id(one): pytest.approx(0.05) for one in network.student[1].parameters()},
        **{id(one): 0.5 for one in network.head[1].parameters()},
    }
    set_learning_rate(optimizer, 2.0)
    assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(0.2), 2.0]


def test_student_rate__is_not_that_of_another_module_of_that_name() -> None:
    network = Network()
    network.head.add_module("student", nn.Linear(1, 1))
    optimizer = build_optimizer(network, OptimConfig(student_rate=0.1))
    sizes = [sum(one.numel() for one in group["params"]) for group in optimizer.param_groups]
    assert sizes == [3 * 3 + 3, 3 + 1 + 2]


def test_student_rate__of_the_student_of_a_segmenter() -> None:
    network = Network()
    segmenter = Segmenter(network.student, SegmentationHead(3, 1, linear=True))
    tuning = FinetuningNetwork(
        segmenter, positive_weight=1.0, ignore_low_visibility=False, has_visibility=True
    )
    optimizer = build_optimizer(tuning, OptimConfig(student_rate=0.1))
    student = {id(one) for one in network.student[1].parameters()}
    assert [{id(one) for one in group["params"]} == student for group in optimizer.param_groups] == [
        True,
        False,
    ]


def test_student_rate__of_a_frozen_student_is_nobodys() -> None:
    network = Network()
    network.student.requires_grad_(False)
    optimizer = build_optimizer(network, OptimConfig(student_rate=0.1))
    assert [group["lr"] for group in optimizer.param_groups] == [OptimConfig().learning_rate]


def test_student_rate__one_is_what_a_single_group_does() -> None:
    ends = []
    for single in (False, True):
        torch.manual_seed(0)
        network = Network()
        optimizer = build_optimizer(network, OptimConfig(learning_rate=0.1))
        if single:
            learns = [one for one in network.parameters() if one.requires_grad]
            optimizer = torch.optim.AdamW(learns, lr=0.1, weight_decay=OptimConfig().weight_decay)
        for _ in range(3):
            network.head(network.student(torch.ones(4, 2))).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append(torch.cat([one.detach().flatten() for one in network.parameters()]))
    assert torch.equal(*ends)


def test_learning_rate__equals_torch_one_cycle() -> None:
    config, steps = OptimConfig(learning_rate=0.1, warmup=0.25), 40
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=steps, pct_start=0.25, anneal_strategy="linear", cycle_momentum=False
    )
    for step in range(steps):
        assert learning_rate_at(step, steps, config) == pytest.approx(cycle.get_last_lr()[0], rel=1e-6)
        optimizer.step()
        if step < steps - 1:
            cycle.step()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_learning_rate__shortest_runs_stay_finite(steps: int) -> None:
    for step in range(steps):
        assert 0 < learning_rate_at(step, steps, OptimConfig()) <= OptimConfig().learning_rate

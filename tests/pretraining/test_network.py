"""Trunk, outputs, losses and the step of pretraining."""

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from occfeat.errors import SettingsError
from occfeat.pretraining.network import PretrainingNetwork, TargetMaker, Targets
from occfeat.pretraining.objectives.build import add_own, build_objectives
from occfeat.pretraining.objectives.contract import HeadShape, Objective, Reads, Term
from occfeat.pretraining.objectives.entropy import mean_entropy
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.features import FeatureOutput, FeatureTarget, cosine, feature_loss
from occfeat.pretraining.objectives.occupancy import OccupancyTarget
from occfeat.pretraining.trunk import Trunk
from occfeat.settings.sections import HeadConfig, PretrainLossConfig
from occfeat.settings.students import LssConfig
from tests.pretraining.small_networks import FEATURES, PlainStudent, build_network, learn
from tests.support.rigs import GRID, batch_of

BOTH = PretrainLossConfig(features=1.0)
DISTILLATION = PretrainLossConfig(occupancy=0, features=1.0)


@dataclass(frozen=True)
class Zero(Objective[nn.Linear, None]):
    """An objective that is to be read from some part of the network."""

    name: str
    reads: Reads = "bev"
    weight: float = 1.0

    def build_output(self, shape: HeadShape) -> nn.Linear:
        return nn.Linear(1, 1)

    def target(self, evidence: Evidence) -> None:
        return None

    def loss(self, output: nn.Linear, read: Tensor, target: None) -> Term:
        return Term(output(read.mean()[None])[0] * 0)


def _target() -> Targets:
    random = torch.Generator().manual_seed(1)
    occupied = torch.rand(2, *GRID.shape, generator=random) < 0.1
    cells = occupied.nonzero()
    features = FeatureTarget(cells, torch.randn(len(cells), FEATURES, generator=random))
    return {"occupancy": OccupancyTarget(occupied), "features": features}


@pytest.mark.parametrize("own", [None, 7])
def test_features_at__same_loss_and_gradients_as_projecting_every_voxel(own: int | None) -> None:
    network, target = build_network(DISTILLATION, own=own), _target()["features"]
    head, output = network.outputs, network.outputs["features"]
    assert isinstance(output, FeatureOutput)
    parameters = [network.student.bev, *head.parameters()]
    views = network.see(batch_of().images, batch_of().cameras)
    gathered = network.features_at(views, target.cells)
    assert gathered is not None
    sparse = feature_loss(cosine(gathered, target.features))
    sparse_gradients = torch.autograd.grad(sparse, parameters)
    views = network.see(batch_of().images, batch_of().cameras)
    voxels = output.own_voxels(views["bev" if own else "voxels"])
    everywhere = output.linear(output.activation(voxels.permute(0, 2, 3, 4, 1)))  # (B, X, Y, Z, F)
    dense = feature_loss(cosine(everywhere[tuple(target.cells.unbind(1))], target.features))
    dense_gradients = torch.autograd.grad(dense, parameters)
    assert torch.allclose(sparse, dense, atol=1e-6)
    for one, other in zip(sparse_gradients, dense_gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_network__a_branch_of_its_own_keeps_the_features_out_of_the_trunk() -> None:
    network, target = build_network(BOTH, own=7), _target()["features"]
    assert network.trunk is not None
    views = network.see(batch_of().images, batch_of().cameras)
    predicted = network.features_at(views, target.cells)
    assert predicted is not None
    feature_loss(cosine(predicted, target.features)).backward()
    assert network.trunk.unsplat.weight.grad is None
    assert network.outputs["features"].branch.weight.grad is not None
    assert network.occupancy_probability(views).shape == (2, *GRID.shape)


def test_network__has_no_part_that_no_objective_reads() -> None:
    assert build_network(DISTILLATION, own=7).trunk is None
    assert list(build_network(DISTILLATION).outputs) == ["features"]
    assert list(build_network(BOTH).outputs) == ["occupancy", "features"]


def test_trunk__voxel_order_follows_the_unsplatting() -> None:
    trunk = Trunk(1, GRID.shape[2], HeadConfig(channels=2, blocks=1))
    trunk.blocks = nn.Sequential()
    nn.init.zeros_(trunk.unsplat.weight)
    assert trunk.unsplat.bias is not None
    trunk.unsplat.bias.data = torch.arange(2 * GRID.shape[2]).float()
    voxels = trunk(torch.zeros(1, 1, *GRID.bev.shape))
    assert voxels.shape == (1, 2, *GRID.shape)
    assert voxels[0, 1, 3, 4].tolist() == [4, 5, 6, 7]  # channel 1, heights from below


def test_occupancy_loss__counts_every_voxel() -> None:
    logits, occupied = torch.randn(2, 3, 4, 5), torch.rand(2, 3, 4, 5) < 0.3
    probability = logits.sigmoid()
    plain = -torch.where(occupied, probability.log(), (1 - probability).log()).mean()
    assert torch.allclose(mean_entropy(logits, occupied), plain, atol=1e-6)


def test_feature_loss__is_the_negative_mean_cosine() -> None:
    predicted, target = torch.randn(7, 5), torch.randn(7, 5)
    plain = sum(
        float(one @ other / one.norm() / other.norm()) for one, other in zip(predicted, target, strict=True)
    )
    assert feature_loss(cosine(predicted, target)).item() == pytest.approx(-plain / 7, abs=1e-6)
    assert cosine(target, 3 * target).tolist() == pytest.approx([1] * 7, abs=1e-6)


def test_cosine__is_torchs_in_value_and_gradient_and_in_float32_under_autocast() -> None:
    predicted, target = torch.randn(60, 384, requires_grad=True), torch.randn(60, 384)
    with torch.no_grad():
        predicted[0], target[1] = 0, 0
    with torch.autocast("cpu", torch.bfloat16):
        ours = cosine(predicted, target)
    theirs = F.cosine_similarity(predicted, target, dim=-1)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)
    assert ours[:2].tolist() == [0, 0]
    weights = torch.randn(58)
    [gradient] = torch.autograd.grad(ours[2:] @ weights, predicted, retain_graph=True)
    [expected] = torch.autograd.grad(theirs[2:] @ weights, predicted)
    assert torch.allclose(gradient, expected, rtol=1e-5, atol=1e-8)
    assert torch.autograd.grad(ours.sum(), predicted)[0].isfinite().all()


def test_feature_loss__without_voxels_is_zero_and_differentiable() -> None:
    predicted = torch.zeros(0, 5, requires_grad=True)
    loss = feature_loss(cosine(predicted, torch.zeros(0, 5)))
    loss.backward()
    assert loss.item() == 0
    assert predicted.grad is not None


def test_step__total_is_the_weighted_sum() -> None:
    network = build_network(PretrainLossConfig(occupancy=2.0, features=0.5))
    step = network(batch_of(), _target())
    metrics = {name: ratio.value() for name, ratio in step.metrics.items()}
    expected = 2 * metrics["loss/occupancy"] + 0.5 * metrics["loss/features"]
    assert step.loss.item() == pytest.approx(expected, rel=1e-6)
    assert metrics["loss/features"] == pytest.approx(-metrics["cosine"], abs=1e-6)
    assert 0 <= metrics["occupancy_iou"] <= metrics["occupancy_recall"] <= 1


def test_settings__auto_expects_occupancy() -> None:
    with pytest.raises(ValueError, match="features `auto` expects an occupancy weight above 0, got 0"):
        PretrainLossConfig(occupancy=0, features="auto")


def test_step__without_teacher_learns_occupancy_alone() -> None:
    network = build_network(PretrainLossConfig(features=0))
    targets = TargetMaker(network.objectives, GRID)(batch_of())
    step = network(batch_of(), targets)
    assert set(step.metrics) == {"loss", "loss/occupancy", "occupancy_iou", "occupancy_recall"}


def test_step__distillation_only_leaves_occupancy_out() -> None:
    step = build_network(DISTILLATION)(batch_of(), _target())
    assert set(step.metrics) == {"loss", "loss/features", "cosine"}


@pytest.mark.parametrize("own", [None, 7])
@pytest.mark.parametrize("occupancy", [0.0, 1.0])
def test_step__everything_that_learns_has_a_gradient(occupancy: float, own: int | None) -> None:
    network = build_network(PretrainLossConfig(occupancy=occupancy, features=1.0), own=own)
    network(batch_of(), _target()).loss.backward()
    without = [name for name, one in network.named_parameters() if one.grad is None]
    assert without == []


def test_step__gradient_steps_lower_the_loss() -> None:
    network = build_network(BOTH)
    losses = [step["loss"] for step in learn(network, batch_of(), _target(), steps=30, rate=0.02)]
    assert losses[-1] < losses[0] - 0.5


def test_target_maker__refuses_batches_without_what_objectives_need() -> None:
    maker = TargetMaker(build_objectives(PretrainLossConfig(features=0)), GRID)
    with pytest.raises(ValueError, match="LiDAR points"):
        maker(replace(batch_of(), points=None))
    with pytest.raises(ValueError, match="a teacher and"):
        TargetMaker(build_objectives(DISTILLATION), GRID)(batch_of(teacher_size=(28, 28)))


def test_add_own__refuses_what_no_network_can_be_built_of() -> None:
    assert [one.name for one in add_own(build_objectives(BOTH), [Zero("mine")], ["mine"])] == [
        "occupancy",
        "features",
        "mine",
    ]
    assert len(add_own([], [Zero("mine")], ["mine"])) == 1
    with pytest.raises(SettingsError, match="nothing to learn"):
        add_own(build_objectives(PretrainLossConfig(occupancy=0, features=0)), [], [])
    depth_alone = PretrainLossConfig(occupancy=0, features=0, depth=1)
    with pytest.raises(SettingsError, match="nothing to learn"):
        add_own(build_objectives(depth_alone, student=LssConfig()), [], [])
    for name in ("Mean height", "a.b", "keys", "Upper"):
        with pytest.raises(SettingsError, match="cannot be named"):
            add_own([], [Zero(name)], [name])
    with pytest.raises(SettingsError, match="2 objectives are named occupancy"):
        add_own(build_objectives(BOTH), [Zero("occupancy")], ["occupancy"])
    with pytest.raises(
        SettingsError, match=r"(?s)objectives \['mine'\] of the settings, got \[\].*`objectives="
    ):
        add_own(build_objectives(BOTH), [], ["mine"])


def test_network__depth_is_for_a_student_that_guesses_it() -> None:
    with pytest.raises(SettingsError, match=r"loss\.depth expects the student lss, got simplebev"):
        build_objectives(PretrainLossConfig(depth=1))
    with pytest.raises(SettingsError, match="PlainStudent predicts no depth"):
        PretrainingNetwork(PlainStudent(1), [Zero("mine", reads="depth")], heights=4, head=HeadConfig())

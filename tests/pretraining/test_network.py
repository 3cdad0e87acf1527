"""Head, losses and the step of pretraining."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from occfeat.pretraining.head import PretrainingHead
from occfeat.pretraining.losses import cosine, feature_loss, occupancy_loss
from occfeat.pretraining.targets import FeatureTarget
from occfeat.pretraining.task import PretrainingNetwork, PretrainingTarget, TargetMaker
from torch import nn

from occfeat.data.sample import Cameras
from occfeat.settings.sections import HeadConfig, PretrainLossConfig
from tests.rigs import GRID, batch_of


class PlainStudent(nn.Module):
    """A BEV map that is learned directly, whatever the images show."""

    def __init__(self, key_frames: int, channels: int = 6) -> None:
        super().__init__()
        self.bev = nn.Parameter(torch.randn(key_frames, channels, *GRID.bev.shape))

    def forward(self, images: torch.Tensor, cameras: Cameras) -> torch.Tensor:
        return self.bev


def _head(features: int = 5, own: int | None = None) -> PretrainingHead:
    torch.manual_seed(0)
    return PretrainingHead(6, GRID.shape[2], features, HeadConfig(channels=8, blocks=2, feature_channels=own))


def _target(features: int = 5) -> PretrainingTarget:
    random = torch.Generator().manual_seed(1)
    occupied = torch.rand(2, *GRID.shape, generator=random) < 0.1
    cells = occupied.nonzero()
    return PretrainingTarget(
        occupied, FeatureTarget(cells, torch.randn(len(cells), features, generator=random))
    )


@pytest.mark.parametrize("own", [None, 7])
def test_features_at__same_loss_and_gradients_as_projecting_every_voxel(own: int | None) -> None:
    head, target = _head(own=own), _target()
    assert head.features is not None
    assert target.features is not None
    bev = torch.randn(2, 6, *GRID.bev.shape, requires_grad=True)
    gathered = head.features_at(head(bev), target.features.cells)
    sparse = feature_loss(cosine(gathered, target.features.features))
    sparse_gradients = torch.autograd.grad(sparse, [bev, *head.parameters()], allow_unused=True)
    everywhere = head.features(head.activation(head(bev).own).permute(0, 2, 3, 4, 1))  # (B, X, Y, Z, F)
    dense = feature_loss(cosine(everywhere[target.occupied], target.features.features))
    dense_gradients = torch.autograd.grad(dense, [bev, *head.parameters()], allow_unused=True)
    assert torch.allclose(sparse, dense, atol=1e-6)
    assert sum(gradient is not None for gradient in dense_gradients) > 4
    for one, other in zip(sparse_gradients, dense_gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert torch.allclose(one, other, atol=1e-6)


def test_head__a_branch_of_its_own_keeps_the_features_out_of_the_occupancy() -> None:
    head, target = _head(own=7), _target()
    assert target.features is not None
    voxels = head(torch.randn(2, 6, *GRID.bev.shape))
    feature_loss(cosine(head.features_at(voxels, target.features.cells), target.features.features)).backward()
    assert head.unsplat.weight.grad is None
    assert head.branch is not None
    assert head.branch.weight.grad is not None
    assert head.occupancy_logits(voxels).shape == (2, *GRID.shape)


def test_head__voxel_order_follows_the_unsplatting() -> None:
    head = PretrainingHead(1, GRID.shape[2], 0, HeadConfig(channels=2, blocks=1))
    head.blocks = nn.Sequential()
    nn.init.zeros_(head.unsplat.weight)
    assert head.unsplat.bias is not None
    head.unsplat.bias.data = torch.arange(2 * GRID.shape[2]).float()
    voxels = head(torch.zeros(1, 1, *GRID.bev.shape)).shared
    assert voxels.shape == (1, 2, *GRID.shape)
    assert voxels[0, 1, 3, 4].tolist() == [4, 5, 6, 7]  # channel 1, heights from below


def test_occupancy_loss__counts_every_voxel() -> None:
    logits, occupied = torch.randn(2, 3, 4, 5), torch.rand(2, 3, 4, 5) < 0.3
    probability = logits.sigmoid()
    plain = -torch.where(occupied, probability.log(), (1 - probability).log()).mean()
    assert torch.allclose(occupancy_loss(logits, occupied), plain, atol=1e-6)


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
    network = PretrainingNetwork(PlainStudent(2), _head(), PretrainLossConfig(occupancy=2.0, features=0.5))
    step = network(batch_of(), _target())
    metrics = {name: ratio.value() for name, ratio in step.metrics.items()}
    expected = 2 * metrics["loss/occupancy"] + 0.5 * metrics["loss/features"]
    assert step.loss.item() == pytest.approx(expected, rel=1e-6)
    assert metrics["loss/features"] == pytest.approx(-metrics["cosine"], abs=1e-6)
    assert 0 <= metrics["occupancy_iou"] <= metrics["occupancy_recall"] <= 1


def test_step__without_teacher_learns_occupancy_alone() -> None:
    network = PretrainingNetwork(PlainStudent(2), _head(0), PretrainLossConfig(features=0))
    target = TargetMaker(GRID, None)(batch_of())
    assert target.features is None
    step = network(batch_of(), target)
    assert set(step.metrics) == {"loss", "loss/occupancy", "occupancy_iou", "occupancy_recall"}


def test_step__distillation_only_leaves_occupancy_out() -> None:
    network = PretrainingNetwork(PlainStudent(2), _head(), PretrainLossConfig(occupancy=0))
    step = network(batch_of(), _target())
    assert set(step.metrics) == {"loss", "loss/features", "cosine"}
    step.loss.backward()
    assert network.head.occupancy.weight.grad is None


@pytest.mark.parametrize("own", [None, 7])
@pytest.mark.parametrize("occupancy", [0.0, 1.0])
def test_step__everything_that_learns_has_a_gradient(occupancy: float, own: int | None) -> None:
    weights = PretrainLossConfig(occupancy=occupancy, features=1.0)
    network = PretrainingNetwork(PlainStudent(2), _head(own=own), weights)
    network(batch_of(), _target()).loss.backward()
    lacking = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert lacking == []
    assert network.head.branch is None or network.head.branch.weight.grad is not None


def test_step__gradient_steps_lower_the_loss() -> None:
    torch.manual_seed(0)
    network = PretrainingNetwork(PlainStudent(2), _head(), PretrainLossConfig(features=1.0))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        step = network(batch_of(), _target())
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        losses.append(step.loss.item())
    assert losses[-1] < losses[0] - 0.5


def test_target_maker__refuses_batches_without_points() -> None:
    with pytest.raises(ValueError, match="LiDAR points"):
        TargetMaker(GRID, None)(replace(batch_of(), points=None))

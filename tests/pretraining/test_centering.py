"""What the teacher's features have in common."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from occfeat.data.sample import FeatureMaps, TeacherMaps
from occfeat.errors import TrainingError
from occfeat.pretraining.objectives.contract import HeadShape
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.features import Features, FeatureTarget, common_feature, cosine
from tests.rigs import GRID, batch_of, ring_of_cameras


def _target(features: torch.Tensor) -> FeatureTarget:
    return FeatureTarget(torch.zeros(len(features), 4, dtype=torch.int64), features)


def test_common_feature__pools_voxels_not_batches() -> None:
    features = torch.randn(30, 5) + torch.tensor([3.0, 0, 0, 0, 0])
    parts = [_target(features[:4]), _target(features[4:4]), _target(features[4:])]
    common = common_feature(parts)
    assert torch.allclose(common.mean, features.mean(dim=0), atol=1e-6)
    assert common.constant_cosine == pytest.approx(common_feature([_target(features)]).constant_cosine)


def test_common_feature__no_constant_vector_has_a_higher_cosine() -> None:
    torch.manual_seed(0)
    features = torch.randn(200, 4) * torch.rand(200, 1) * 9 + torch.tensor([1.0, -2, 0, 0])
    constant = torch.zeros(4, requires_grad=True)
    optimizer = torch.optim.Adam([constant], lr=0.1)
    constant.data = torch.randn(4)
    for _ in range(300):
        optimizer.zero_grad()
        loss = -F.cosine_similarity(constant[None], features, dim=1).mean()
        loss.backward()
        optimizer.step()
    assert common_feature([_target(features)]).constant_cosine == pytest.approx(-loss.item(), abs=1e-4)


def test_common_feature__without_a_target_says_what_to_look_at() -> None:
    with pytest.raises(TrainingError, match=r"(?s)No occupied voxel is visible.*view --calibration"):
        common_feature([_target(torch.zeros(0, 4))])


def test_prepare__keeps_the_mean_of_the_targets_if_they_are_centred() -> None:
    shape = HeadShape(bev_channels=4, voxel_channels=8, heights=GRID.shape[2], teacher_channels=6)
    parts = [_target(torch.randn(7, 6)), _target(torch.randn(2, 6))]
    mean = torch.cat([part.features for part in parts]).mean(dim=0)
    for centered in (True, False):
        objective = Features(1.0, centered=centered)
        output = objective.build_output(shape)
        found = objective.prepare(output, parts)
        assert found["mean"] == pytest.approx(mean.tolist(), abs=1e-6)
        assert 0 < found["constant_cosine"] < 1
        kept = output.state_dict()
        assert ("center" in kept) == centered
        assert not centered or torch.allclose(kept["center"], mean, atol=1e-6)


def test_features__loss_and_comparison_take_the_centre_off_every_target() -> None:
    scales = torch.ones(2, 4, 3, 5)
    maps = FeatureMaps(torch.randint(-100, 100, (2, 4, 3, 5, 6)).to(torch.int8), scales)
    batch = replace(batch_of(), teacher=TeacherMaps(maps, ring_of_cameras(4, (42, 70), 2)))
    shape = HeadShape(bev_channels=4, voxel_channels=8, heights=GRID.shape[2], teacher_channels=6)
    objective, evidence = Features(1.0, centered=True), Evidence(batch, GRID)
    output, voxels = objective.build_output(shape), torch.randn(2, 8, *GRID.shape)
    assert output.center is not None
    output.center.copy_(torch.arange(6.0))
    target = objective.target(evidence)
    assert len(target.features) > 0
    compared = objective.compare_features(output, voxels, evidence)
    assert torch.equal(compared.cells, target.cells)
    assert torch.equal(compared.taught, target.features - torch.arange(6.0))
    term = objective.loss(output, voxels, target)
    assert term.loss.item() == pytest.approx(-cosine(compared.predicted, compared.taught).mean().item())
    assert set(term.metrics) == {"centered_cosine"}

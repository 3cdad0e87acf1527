"""What the teacher's features have in common."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from occfeat.pretraining.centering import common_feature
from occfeat.pretraining.targets import FeatureTarget
from occfeat.pretraining.task import TargetMaker

from occfeat.data.sample import FeatureMaps
from occfeat.errors import TrainingError
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
    with pytest.raises(TrainingError, match=r"(?s)No camera sees.*view --calibration"):
        common_feature([_target(torch.zeros(0, 4))])


def test_target_maker__takes_the_center_off_every_target() -> None:
    scales = torch.ones(2, 4, 3, 5)
    maps = FeatureMaps(torch.randint(-100, 100, (2, 4, 3, 5, 6)).to(torch.int8), scales)
    batch = replace(batch_of(), teacher_cameras=ring_of_cameras(4, (42, 70), 2), teacher_maps=maps)
    plain = TargetMaker(GRID, None)(batch).features
    center = torch.arange(6.0)
    centered = TargetMaker(GRID, None, center)(batch).features
    assert plain is not None
    assert centered is not None
    assert len(plain.features) > 0
    assert torch.equal(centered.cells, plain.cells)
    assert torch.equal(centered.features, plain.features - center)

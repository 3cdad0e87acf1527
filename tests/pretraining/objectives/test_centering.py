"""What the teacher's features have in common."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from occfeat.data.sample.teacher import FeatureMaps, TeacherMaps
from occfeat.errors import SettingsError, TrainingError
from occfeat.pretraining.objectives.contract import HeadShape, TeacherShape
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.features import (
    FeatureOutput,
    Features,
    FeatureTarget,
    common_feature,
    cosine,
    feature_target,
)
from occfeat.pretraining.objectives.position import PositionSurvey, UsualMaps
from occfeat.settings.sections import Center
from tests.support.rigs import GRID, batch_of, ring_of_cameras


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


SHAPE = HeadShape(4, 8, GRID.shape[2], TeacherShape((6,), cameras=4, patches=(3, 5)))


def evidence_of(seed: int = 0, usual_maps: UsualMaps | None = None) -> Evidence:
    """Two key frames with stored features; the feature of a patch leans to that of its position."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randint(-20, 20, (2, 4, 3, 5, 6), generator=random)
    usual = 80 * torch.randn(4, 3, 5, 6, generator=torch.Generator().manual_seed(99)).clamp(-1, 1)
    maps = FeatureMaps((values + usual).to(torch.int8), torch.ones(2, 4, 3, 5))
    batch = replace(batch_of(seed=seed), teacher=TeacherMaps(maps, ring_of_cameras(4, (42, 70), 2)))
    return Evidence(batch, GRID, None, usual_maps)


class Survey:
    """Evidence of some batches, made again for each iteration as a run does."""

    def __init__(self, objective: Features, output: FeatureOutput, seeds: range) -> None:
        self.objective, self.output, self.seeds = objective, output, seeds

    def __iter__(self) -> Iterator[Evidence]:
        for seed in self.seeds:
            yield evidence_of(seed, self.objective.usual_maps(self.output))

    def targets(self) -> torch.Tensor:
        return torch.cat([self.objective.target(evidence).features for evidence in self])


@pytest.mark.parametrize("center", ["none", "mean", "position"])
def test_prepare__keeps_the_means_that_are_subtracted(center: Center) -> None:
    objective = Features(1.0, center=center)
    output = objective.build_output(SHAPE)
    survey = Survey(objective, output, range(3))
    raw = survey.targets()
    found = objective.prepare(output, survey)
    assert found["constant_cosine"] == pytest.approx(common_feature([_target(raw)]).constant_cosine)
    kept = output.state_dict()
    assert ("center" in kept, "position" in kept) == (center != "none", center == "position")
    assert ("position_share" in found) == (center == "position")
    now = survey.targets()
    assert found["mean"] == pytest.approx(now.mean(dim=0).tolist(), abs=1e-4)
    assert torch.equal(now, raw) == (center != "position")
    if center != "none":
        assert output.relative(now).mean(dim=0).tolist() == pytest.approx([0] * 6, abs=1e-4)
    if center == "position":
        maps = torch.stack([evidence.teacher_maps for evidence in survey])
        assert maps.unflatten(1, (2, 4)).mean(dim=(0, 1)).abs().max() < 1e-4
        assert found["position_share"] > 0.5
        assert output.relative(now).norm() < 0.8 * (raw - raw.mean(dim=0)).norm()


@pytest.mark.parametrize("center", ["mean", "position"])
def test_features__loss_and_comparison_take_the_centre_off_every_target(center: Center) -> None:
    objective = Features(1.0, center=center)
    output, voxels = objective.build_output(SHAPE), torch.randn(2, 8, *GRID.shape)
    usual = torch.randn(4, 6, 3, 5)
    assert output.center is not None
    output.center.copy_(torch.arange(6.0))
    if output.position is not None:
        output.position.copy_(usual)
    evidence = evidence_of(usual_maps=objective.usual_maps(output))
    target = objective.target(evidence)
    assert len(target.features) > 0
    compared = objective.compare_features(output, voxels, evidence)
    assert torch.equal(compared.cells, target.cells)
    assert torch.equal(compared.taught, target.features - torch.arange(6.0))
    term = objective.loss(output, voxels, target)
    assert term.loss.item() == pytest.approx(-cosine(compared.predicted, compared.taught).mean().item())
    assert set(term.metrics) == {"centered_cosine"}
    plain = objective.target(evidence_of())
    sampled = feature_target(
        evidence.occupied, usual.repeat(2, 1, 1, 1), evidence.teacher_cameras, GRID
    ).features
    wanted = plain.features - sampled if center == "position" else plain.features
    assert torch.allclose(target.features, wanted, atol=1e-4)


def test_usual_maps__of_another_rig_are_refused() -> None:
    usual = UsualMaps(("",), torch.zeros(1, 6, 6, 3, 5))
    with pytest.raises(SettingsError, match=r"(?s)expects the 6 x 3 x 5 patches.*got 4 x 3 x 5.*`mean`"):
        _ = evidence_of(usual_maps=usual).teacher_maps


def test_usual_maps__of_several_data_sets_are_those_of_their_key_frames() -> None:
    usual = UsualMaps(("town", "farm"), torch.randn(2, 6, 6, 3, 5))  # one of them has six cameras
    evidence = evidence_of()
    batch = replace(evidence.batch, data_sets=("farm", "town"))
    found = Evidence(batch, GRID, None, usual).teacher_maps.unflatten(0, (2, 4))
    plain = evidence.teacher_maps.unflatten(0, (2, 4))
    assert torch.allclose(found[0], plain[0] - usual.maps[1, :4])
    assert torch.allclose(found[1], plain[1] - usual.maps[0, :4])
    with pytest.raises(SettingsError, match="knows the cameras of town, farm, got one data set"):
        _ = Evidence(evidence.batch, GRID, None, usual).teacher_maps


def test_prepare__finds_the_means_of_each_data_set() -> None:
    objective = Features(1.0, center="position")
    sees = TeacherShape((6,), cameras=6, patches=(3, 5), data_sets=("town", "farm"))
    output = objective.build_output(HeadShape(4, 8, GRID.shape[2], sees))
    batches = [replace(evidence_of(seed).batch, data_sets=("farm", "town")) for seed in range(3)]
    found = objective.prepare(output, [Evidence(batch, GRID) for batch in batches])
    raw = torch.stack([Evidence(batch, GRID).teacher_maps.unflatten(0, (2, 4)) for batch in batches])
    assert output.position is not None
    assert output.position.shape == (2, 6, 6, 3, 5)
    for number, key_frame in ((0, 1), (1, 0)):
        assert torch.allclose(output.position[number, :4], raw[:, key_frame].mean(dim=0), atol=1e-4)
    assert found["position_share"].keys() == {"town", "farm"}
    usual = objective.usual_maps(output)
    assert usual is not None
    assert usual.data_sets == ("town", "farm")


def _maps(key_frames: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(3)
    return torch.randn(key_frames, 3, 4, 2, 5, generator=random) + 2


def test_position_survey__pools_present_cameras_and_fills_those_never_met() -> None:
    maps, present = _maps(4), torch.ones(4, 3, dtype=torch.bool)
    present[:, 2], present[0, 0] = False, False
    survey = PositionSurvey(maps.shape[1:])
    for number in range(0, 4, 2):
        survey.add(maps[number : number + 2, :2], present[number : number + 2, :2])  # without the last camera
    mean = survey.mean()
    assert torch.allclose(mean[0], maps[1:, 0].mean(dim=0), atol=1e-6)
    assert torch.allclose(mean[1], maps[:, 1].mean(dim=0), atol=1e-6)
    others = torch.cat((maps[1:, 0], maps[:, 1])).mean(dim=0)
    assert torch.allclose(mean[2], others, atol=1e-6)


def test_position_survey__share_is_none_of_noise_and_all_of_what_never_changes() -> None:
    noise, still, both = (PositionSurvey(_maps(1).shape[1:]) for _ in range(3))
    present = torch.ones(40, 3, dtype=torch.bool)
    usual = _maps(1).expand(40, -1, -1, -1, -1)
    noise.add(_maps(40), present)
    still.add(usual, present)
    both.add(_maps(40) + usual, present)
    assert noise.explained() == pytest.approx(0, abs=0.02)
    assert still.explained() == pytest.approx(1)
    assert both.explained() == pytest.approx(0.5, abs=0.1)
    one = PositionSurvey(_maps(1).shape[1:])
    one.add(_maps(1), present[:1])
    assert one.explained() is None

"""Every option of the features learns: on eight key frames its loss falls."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from occfeat.data.sample.sample import Batch
from occfeat.data.sample.teacher import FeatureMaps, TeacherMaps
from occfeat.pretraining.network import PretrainingNetwork, TargetMaker
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.pretraining.objectives.contract import TeacherShape
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.settings.sections import HeadConfig, PretrainLossConfig
from tests.pretraining.small_networks import PlainStudent
from tests.rigs import GRID, batch_of, ring_of_cameras

KEY_FRAMES, CAMERAS, PATCHES = 8, 4, (3, 5)


def eight_key_frames(channels: int) -> Batch:
    """Eight key frames with random features of a teacher, which lean to those of their position."""
    random = torch.Generator().manual_seed(0)
    values = torch.randn(KEY_FRAMES, CAMERAS, *PATCHES, channels, generator=random)
    values += 2 * torch.randn(CAMERAS, *PATCHES, channels, generator=random)
    maps = FeatureMaps(values.half(), torch.ones(values.shape[:-1]))
    teacher = TeacherMaps(maps, ring_of_cameras(CAMERAS, (42, 70), KEY_FRAMES))
    return replace(batch_of(KEY_FRAMES, CAMERAS), teacher=teacher)


@pytest.mark.parametrize(
    ("loss", "parts"),
    [
        (PretrainLossConfig(features="auto", ratio=3.0, ratio_every=5), (6,)),
        (PretrainLossConfig(features=1.0, center="mean"), (6,)),
        (PretrainLossConfig(features=1.0, center="position"), (6,)),
        (PretrainLossConfig(features=1.0, center="position"), (4, 2)),
    ],
    ids=["auto", "mean", "position", "two teachers"],
)
def test_option__its_loss_falls_on_eight_key_frames(loss: PretrainLossConfig, parts: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    batch, head = eight_key_frames(sum(parts)), HeadConfig(channels=8)
    objectives, sees = build_objectives(loss, head=head), TeacherShape(parts, CAMERAS, PATCHES)
    student = PlainStudent(KEY_FRAMES)
    network = PretrainingNetwork(
        student, objectives, heights=GRID.shape[2], head=head, teacher=sees, ratio_every=loss.ratio_every
    )
    maker = TargetMaker(objectives, GRID, None, network.usual_maps)
    for one in objectives:
        if one.survey:
            one.prepare(network.outputs[one.name], _Survey(maker, batch))
    targets = maker(batch)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    metrics = []
    for number in range(60):
        network.begin_step(number)
        step = network(batch, targets)
        optimizer.zero_grad()
        step.loss.backward()
        optimizer.step()
        metrics.append({name: ratio.value() for name, ratio in step.metrics.items()})
    first, last = metrics[0], metrics[-1]
    assert last["loss/features"] < first["loss/features"] - 0.3
    name = "cosine" if loss.center == "none" else "centered_cosine"
    assert last[name] == pytest.approx(-last["loss/features"], abs=1e-5)
    if len(parts) > 1:
        each = [last[f"{name}/{which}"] for which in ("first", "second")]
        assert last[name] == pytest.approx(sum(each) / 2, abs=1e-5)
        assert min(each) > 0.2


class _Survey:
    """Evidence of one batch, made again for each iteration."""

    def __init__(self, maker: TargetMaker, batch: Batch) -> None:
        self.maker, self.batch = maker, batch

    def __iter__(self) -> Iterator[Evidence]:
        yield self.maker.evidence(self.batch)

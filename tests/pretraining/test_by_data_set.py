"""Metrics of each data set in a batch: those of its key frames alone."""

from dataclasses import replace

import pytest
import torch

from occfeat.data.sample.lidar import Points
from occfeat.data.sample.sample import Batch
from occfeat.data.sample.teacher import FeatureMaps, TeacherMaps
from occfeat.pretraining.network import PretrainingNetwork, TargetMaker
from occfeat.settings.sections import PretrainLossConfig, QueryConfig
from tests.pretraining.small_networks import FEATURES, build_network
from tests.support import rigs

NAMES = ("north", "south", "north")


def batch() -> Batch:
    """Three key frames with stored features of a teacher."""
    whole = rigs.batch_of(key_frames=3, cameras=2, teacher_size=(32, 64))
    assert whole.teacher is not None
    values = torch.randn(3, 2, 4, 8, FEATURES, generator=torch.Generator().manual_seed(1)).half()
    teacher = TeacherMaps(FeatureMaps(values, torch.ones(3, 2, 4, 8)), whole.teacher.cameras)
    return replace(whole, teacher=teacher, data_sets=NAMES)


def part_of(whole: Batch, chosen: list[int]) -> Batch:
    """Some key frames of a batch, as a batch without names of sets."""
    points, teacher = whole.points, whole.teacher
    assert points is not None
    assert isinstance(teacher, TeacherMaps)
    clouds = [points.of_key_frame(number) for number in chosen]
    cameras = [
        replace(
            one, **{name: getattr(one, name)[chosen] for name in ("intrinsics", "ego_from_camera", "present")}
        )
        for one in (whole.cameras, teacher.cameras)
    ]
    return Batch(
        tokens=tuple(whole.tokens[number] for number in chosen),
        images=whole.images[chosen],
        cameras=cameras[0],
        teacher=TeacherMaps(
            FeatureMaps(teacher.maps.values[chosen], teacher.maps.scales[chosen]), cameras[1]
        ),
        points=Points(
            torch.cat([cloud.points_ego for cloud in clouds]),
            torch.cat([cloud.origins_ego for cloud in clouds]),
            torch.arange(len(chosen)).repeat_interleave(400),
        ),
    )


def metrics_of(network: PretrainingNetwork, one: Batch, seed: int = 0) -> dict[str, float]:
    torch.manual_seed(seed)
    targets = TargetMaker(network.objectives, rigs.GRID)(one)
    return {name: ratio.value() for name, ratio in network(one, targets).metrics.items()}


@pytest.mark.parametrize("own", [None, 4])
def test_metrics__of_a_set_are_those_of_its_key_frames_alone(own: int | None) -> None:
    loss = PretrainLossConfig(features=0.3, unknown="ignore", unseen="ignore")
    network = build_network(loss, key_frames=3, own=own)
    whole = batch()
    found = metrics_of(network, whole)
    bev = network.student.bev
    for name in ("north", "south"):
        chosen = [number for number, of in enumerate(NAMES) if of == name]
        network.student.bev = torch.nn.Parameter(bev[chosen])
        alone = metrics_of(network, part_of(whole, chosen))
        mine = {key.removeprefix(f"{name}/"): value for key, value in found.items() if key.startswith(name)}
        assert mine == pytest.approx(alone, rel=1e-5)
        assert {"loss", "loss/occupancy", "loss/features", "cosine", "known_seen_occupancy_iou"} <= set(mine)
    network.student.bev = bev
    nameless = metrics_of(network, replace(whole, data_sets=()))
    assert nameless == {key: value for key, value in found.items() if not key.startswith(("north", "south"))}


def test_metrics__of_queries_are_split_as_well() -> None:
    queries = QueryConfig(returns=64)
    network = build_network(
        PretrainLossConfig(occupancy=0, features=0, queries=1), key_frames=3, queries=queries
    )
    whole = replace(batch(), teacher=None)
    torch.manual_seed(0)
    targets = TargetMaker(network.objectives, rigs.GRID)(whole)
    metrics = network(whole, targets).metrics
    total = sum(metrics[f"{name}/query_iou"].denominator for name in ("north", "south"))
    assert total == metrics["query_iou"].denominator
    share = (targets["queries"].queries.key_frame == 1).float().mean()
    mixed = (1 - share) * metrics["north/loss"].numerator + share * metrics["south/loss"].numerator
    assert torch.allclose(mixed, metrics["loss"].numerator, rtol=1e-5)


def test_metrics__of_a_batch_of_one_set_are_those_of_the_batch() -> None:
    network = build_network(PretrainLossConfig(features=0), key_frames=3)
    found = metrics_of(network, replace(batch(), data_sets=("north",) * 3))
    assert all(found[name.removeprefix("north/")] == value for name, value in found.items())


def test_gradients__do_not_know_of_sets() -> None:
    gradients = []
    for names in (NAMES, ()):
        network = build_network(PretrainLossConfig(features=0), key_frames=3)
        whole = replace(batch(), data_sets=names)
        network(whole, TargetMaker(network.objectives, rigs.GRID)(whole)).loss.backward()
        gradients.append([weight.grad for weight in network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))

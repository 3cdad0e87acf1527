"""Every option of the objectives learns: on eight key frames of a street its loss falls and it is right."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchmetrics import AveragePrecision

from occfeat.commands.cache.cache import cache as make_cache
from occfeat.data.index.index import Index
from occfeat.data.sample.sample import Batch, collate
from occfeat.geometry.grid import build_grid
from occfeat.pretraining.build import Rigs, build_network, objectives_of
from occfeat.pretraining.key_frames import key_frames_of
from occfeat.pretraining.network import TargetMaker, Targets
from occfeat.pretraining.objectives.contract import Panel, needs_of
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.features import OF_TEACHERS
from occfeat.settings.commands import CacheConfig, PretrainConfig
from occfeat.settings.sections import (
    NO_TEACHER,
    EngineConfig,
    GridConfig,
    HeadConfig,
    PretrainLossConfig,
    TeacherConfig,
    ViewConfig,
)
from occfeat.settings.students import SimpleBevConfig
from occfeat.teacher.cache import TeacherCache
from streetworld.build import build_world
from streetworld.config import WorldConfig
from tests.pretraining.small_networks import learn

KEY_FRAMES, STEPS = 8, 30
IMAGES = (48, 80)
Teachers = dict[str, TeacherConfig]


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drive of eight key frames, with a sweep between each two."""
    out = tmp_path_factory.mktemp("street") / "drive"
    return build_world(
        WorldConfig(
            out=out,
            scenes=1,
            key_frames=KEY_FRAMES,
            val_scenes=0,
            test_scenes=0,
            sweeps=4,
            sweep_hz=10,
            town_size=3,
            image_size=IMAGES,
            workers=1,
            lights=("noon",),
        )
    )


@pytest.fixture(scope="session")
def teachers(teacher_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Teachers:
    """Teachers with random weights: a transformer, two blocks of it, and a network with stages."""
    torch.manual_seed(0)
    weights = tmp_path_factory.mktemp("weights") / "stages.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    transformer = TeacherConfig(name="test_vit", weights=str(teacher_weights), image_size=(64, 96))
    return {
        "transformer": transformer,
        "blocks": transformer.model_copy(update={"block": (0, 1)}),
        "stages": TeacherConfig(name="test_resnet", weights=str(weights), image_size=(64, 96)),
    }


@pytest.fixture(scope="session")
def cache(drive: Path, teachers: Teachers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The transformer's features of the drive."""
    out, engine = tmp_path_factory.mktemp("caches") / "cache", EngineConfig(workers=0, device="cpu")
    make_cache(CacheConfig(data=drive, split="all", out=out, teacher=teachers["transformer"], engine=engine))
    return out


@dataclass(frozen=True)
class Learned:
    """What a network learned from eight key frames."""

    evidence: Evidence
    targets: Targets
    panels: list[Panel]
    """What would be drawn."""
    metrics: list[dict[str, float]]
    """Those of each step."""

    def fell(self, name: str) -> float:
        """By what share of its first value a loss fell."""
        first, last = (self.metrics[number][f"loss/{name}"] for number in (0, -1))
        return (first - last) / first

    def scores(self) -> dict[str, tuple[float, float]]:
        """Return the average precision of what is drawn, by title, and that of a constant."""
        precision, scores = AveragePrecision(task="binary"), {}
        for panel in self.panels:
            true = panel.true[panel.known]
            scores[panel.title] = (
                float(precision(panel.probability[panel.known], true.long())),
                float(true.float().mean()),
            )
        return scores


@pytest.fixture
def learned(drive: Path, tmp_path: Path) -> Callable[..., Learned]:
    """Train the network of some settings on the whole drive at once."""

    def of(loss: PretrainLossConfig, **settings: Any) -> Learned:
        config = PretrainConfig(
            data=(drive,),
            split=("all",),
            out=tmp_path / "run",
            view=ViewConfig(image_size=IMAGES),
            grid=GridConfig(lower_m=(-16, -16, -1.5), upper_m=(16, 16, 3.5), cell_m=(1, 1, 1.25)),
            student=SimpleBevConfig(
                backbone="test_efficientnet", backbone_weights="none", image_channels=16, bev_channels=16
            ),
            head=HeadConfig(channels=16),
            loss=loss,
            **settings,
        )
        objectives, index = objectives_of(config), Index.open(config.sources[0])
        cache = None if config.teacher_cache[0] is None else TeacherCache(config.teacher_cache[0])
        key_frames = key_frames_of(config, index, cache, needs_of(objectives), learn=False)
        batch = collate([key_frames.sample(row) for row in range(KEY_FRAMES)])
        network, teacher = build_network(config, objectives, cache, Rigs(batch.images.shape[1]), None)
        maker = TargetMaker(objectives, build_grid(config.grid), teacher, network.usual_maps)
        for one in objectives:
            if one.survey:
                one.prepare(network.outputs[one.name], Survey(maker, batch))
        targets = maker(batch)
        metrics = learn(network, batch, targets, steps=STEPS, rate=0.01)
        with torch.no_grad():
            panels = network.panels(network.see(batch.images, batch.cameras), targets)
        return Learned(maker.evidence(batch), targets, panels, metrics)

    return of


class Survey:
    """Evidence of one batch, made again for each iteration."""

    def __init__(self, maker: TargetMaker, batch: Batch) -> None:
        self.maker, self.batch = maker, batch

    def __iter__(self) -> Iterator[Evidence]:
        yield self.maker.evidence(self.batch)


def assert_right(found: Learned, titles: list[str]) -> None:
    """Check what is drawn: clearly better than one probability for all cells would be."""
    scores = found.scores()
    assert list(scores) == titles
    for score, constant in scores.values():
        assert score > constant + 0.3 * (1 - constant)


def test_window__is_learned(learned: Callable[..., Learned]) -> None:
    found = learned(PretrainLossConfig(features=0, window_s=0.5))
    target = found.targets["occupancy"]
    constant = (target.occupied & target.counted).sum() / target.counted.sum()  # all are said to be occupied
    assert target.window.sweeps.tolist() == [6, *[11] * 6, 6]
    assert found.fell("occupancy") > 0.5
    assert found.metrics[-1]["window_occupancy_iou"] > constant + 0.3
    assert_right(found, ["occupied in the window"])


def test_times__are_learned(learned: Callable[..., Learned]) -> None:
    found = learned(PretrainLossConfig(occupancy=0, features=0, times=1))
    assert found.fell("times") > 0.4
    states = found.evidence.timed_states
    for number, time in enumerate(("-1s", "-0.5s", "+0s", "+0.5s", "+1s")):
        there = states.present[:, number]
        constant = states.occupied[there, number].sum() / states.known[there, number].sum()
        assert found.metrics[-1][f"occupancy_iou_at_{time}"] > constant + 0.2
    assert_right(found, [f"occupied at {time} s" for time in ("-1", "-0.5", "+0", "+0.5", "+1")])


def test_path__is_learned(learned: Callable[..., Learned]) -> None:
    found = learned(
        PretrainLossConfig(features=0, path=1, car_lower_m=(-0.657, -0.865), car_upper_m=(3.427, 0.865))
    )
    target = found.targets["path"]
    constant = target.driven.sum() / target.known.sum()
    assert found.fell("path") > 0.5
    assert found.metrics[-1]["path_iou"] > constant + 0.3
    assert_right(found, ["path of the car"])


@pytest.mark.parametrize("teacher", ["transformer", "blocks", "stages", "two"])
def test_features__of_each_kind_of_teacher_are_learned(
    learned: Callable[..., Learned], teachers: Teachers, teacher: str
) -> None:
    first = teachers["transformer" if teacher == "two" else teacher]
    second = teachers["stages"] if teacher == "two" else NO_TEACHER
    loss = PretrainLossConfig(features=1, center="mean")
    found = learned(loss, teacher=first, second_teacher=second)
    names = [f"centered_cosine/{which}" for which in OF_TEACHERS] if second != NO_TEACHER else []
    for name in ("centered_cosine", *names):
        assert found.metrics[0][name] < 0.2
        assert found.metrics[-1][name] > 0.35  # of a constant: about 0
    assert found.fell("occupancy") > 0.4


def test_features__over_time_are_learned(
    learned: Callable[..., Learned], teachers: Teachers, cache: Path
) -> None:
    loss = PretrainLossConfig(features=1, center="mean", window_s=0.5, features_window_s=0.6)
    found = learned(loss, teacher=teachers["transformer"], teacher_cache=(cache,))
    assert found.metrics[0]["centered_cosine"] < 0.2
    assert found.metrics[-1]["centered_cosine"] > 0.35
    assert len(found.evidence.teacher_cameras.present[1]) == 18  # three key frames


def test_features__without_the_mean_of_their_patch_are_learned(
    learned: Callable[..., Learned], teachers: Teachers
) -> None:
    found = learned(PretrainLossConfig(features=1, center="position"), teacher=teachers["transformer"])
    assert found.metrics[0]["centered_cosine"] < 0.2
    assert found.metrics[-1]["centered_cosine"] > 0.3


def test_features__with_an_adjusted_weight_are_learned(
    learned: Callable[..., Learned], teachers: Teachers
) -> None:
    loss = PretrainLossConfig(features="auto", center="mean", ratio=0.5, ratio_every=5)
    found = learned(loss, teacher=teachers["transformer"])
    assert found.metrics[0]["weight/features"] == 0
    assert found.metrics[-1]["centered_cosine"] > 0.2
    assert found.fell("occupancy") > 0.4
    ratios = [step["ratio/features"] for step in found.metrics if "ratio/features" in step]
    assert len(ratios) == 7
    assert 0.25 < sum(ratios[-3:]) / 3 < 1

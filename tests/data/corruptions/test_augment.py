from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from occfeat.data.corruptions.augment import OccasionalCorruption, training_effect
from occfeat.data.corruptions.corruptions import NAMES, SEVERITIES
from occfeat.data.dataset import Draw, KeyFrames
from occfeat.data.index.index import Index
from occfeat.data.sample.contents import Contents
from occfeat.data.sample.sample import Sample
from occfeat.settings.sections import AugmentConfig, DataConfig, ViewConfig
from tests.data.corruptions.test_corruptions import GRID
from tests.support.nuscenes_folder import CHANNELS


def effect(probability: float, *names: str) -> OccasionalCorruption:
    config = AugmentConfig.model_validate({"corruptions": names, "corruption_probability": probability})
    made = training_effect(config, CHANNELS, 0)
    assert made is not None
    return made


def test_training_effect__without_corruptions_there_is_none() -> None:
    assert training_effect(AugmentConfig(), CHANNELS, 0) is None
    assert training_effect(AugmentConfig(corruptions=("Fog",), corruption_probability=0), CHANNELS, 0) is None


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_probability__out_of_range_is_refused(probability: float) -> None:
    with pytest.raises(ValidationError, match="corruption_probability"):
        effect(probability, "Fog")


def test_draw__every_name_and_severity_as_often() -> None:
    made = effect(0.4, "all")
    drawn = [made.draw(f"token-{token}", epoch) for token in range(600) for epoch in range(10)]
    corrupted = [one for one in drawn if one is not None]
    assert len(corrupted) / len(drawn) == pytest.approx(0.4, abs=0.026)
    for name in NAMES:
        assert sum(one.name == name for one in corrupted) / len(corrupted) == pytest.approx(1 / 8, abs=0.028)
    for severity in SEVERITIES:
        share = sum(one.severity == severity for one in corrupted) / len(corrupted)
        assert share == pytest.approx(1 / 3, abs=0.04)


def test_draw__is_the_same_for_the_same_key_and_another_in_another_epoch() -> None:
    made = effect(1, "all")
    assert made.draw("token", 4) == effect(1, "all").draw("token", 4)
    assert len({made.draw("token", epoch) for epoch in range(20)}) == 20


def test_draw__crashed_cameras_change() -> None:
    made = effect(1, "CameraCrash")
    crashed = {corruption.crashed for token in range(30) if (corruption := made.draw(str(token), 0))}
    assert len(crashed) > 5


def test_key_frames__all_cameras_suffer_the_same_or_none_does(folder: Path) -> None:
    index = Index.open(DataConfig(root=folder))
    view = ViewConfig(image_size=(90, 160))
    plain = KeyFrames(index, view, Contents(), grid=GRID)
    changed = KeyFrames(index, view, Contents(), grid=GRID, effect=effect(0.5, "ColorQuant"))
    seen = set()
    for row in range(6):
        for epoch in range(4):
            before, after = plain.read(Draw(row, epoch)), changed.read(Draw(row, epoch))
            assert isinstance(before, Sample)
            assert isinstance(after, Sample)
            same = [torch.equal(*pair) for pair in zip(before.images, after.images, strict=True)]
            assert all(same) or not any(same)
            seen.add(same[0])
            again = changed.read(Draw(row, epoch))
            assert isinstance(again, Sample)
            assert torch.equal(again.images, after.images)
    assert seen == {True, False}

from pathlib import Path

import pytest
import yaml

from occfeat.errors import SettingsError
from occfeat.settings.commands import EvaluateConfig, FinetuneConfig, PretrainConfig
from occfeat.settings.layers import build
from occfeat.settings.several import name_of_splits, names_of


def pretraining(**settings: object) -> PretrainConfig:
    return build(PretrainConfig, {"out": "run", **settings})


def test_names_of__as_many_parts_as_tell_them_apart() -> None:
    assert names_of([Path("/r/a"), Path("/r/b")]) == ["a", "b"]
    assert names_of([Path("/one/a"), Path("/two/a"), Path("/two/b")]) == ["one/a", "two/a", "two/b"]
    assert names_of([Path("/r/a")]) == ["a"]


def test_name_of_splits__names_each_once() -> None:
    assert name_of_splits(("val",)) == name_of_splits(("val", None, "val")) == "val"
    assert name_of_splits(("val", "mini_val")) == "val-mini_val"


def test_one_data_set__is_written_as_a_single_value() -> None:
    written = pretraining(data="/a").model_dump(mode="json")
    assert written["data"] == "/a"
    assert (written["version"], written["split"], written["teacher_cache"]) == (None, "train", None)
    assert PretrainConfig.model_validate(written) == pretraining(data=["/a"])


def test_several_data_sets__read_back_from_yaml() -> None:
    settings = pretraining(data=["/a", Path("/b")], version=["v1", None], teacher_cache=["/c", "/d"])
    text = yaml.safe_dump(settings.model_dump(mode="json"))
    assert PretrainConfig.model_validate(yaml.safe_load(text)) == settings
    assert [source.version for source in settings.sources] == ["v1", None]
    assert settings.each(settings.split) == ("train", "train")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": []}, "at least 1"),
        ({"data": ["/a", "/a"]}, "expected each data set once, got /a twice"),
        ({"data": ["/a", "/b"], "split": ["x", "y", "z"]}, "expected one split, or 2 for 2 data sets, got 3"),
        ({"data": ["/a", "/b"], "version": ["x"] * 3}, "expected one version, or 2 for 2 data sets, got 3"),
        ({"data": ["/a", "/b"], "teacher_cache": "/c"}, "expected 2 teacher_cache, one per data set, got 1"),
        ({"data": ["/a", "/b"], "teacher_cache": ["/c", None]}, "expected 2 teacher_cache"),
        ({"data": ["/a", "/b"], "set_exponent": 2}, "set_exponent"),
    ],
)
def test_several_data_sets__that_cannot_be(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        pretraining(**settings)
    assert message in str(caught.value)


def test_several_data_sets__of_two_versions_in_one_folder() -> None:
    settings = pretraining(data=["/a", "/a"], version=["v1", "v2"])
    assert [(str(source.root), source.version) for source in settings.sources] == [("/a", "v1"), ("/a", "v2")]


def test_several_data_sets__some_without_validation() -> None:
    settings = build(FinetuneConfig, {"out": "run", "data": ["/a", "/b"], "val_split": ["val", None]})
    assert settings.val_split == ("val", None)


def test_several_data_sets__have_no_corruptions() -> None:
    with pytest.raises(SettingsError, match="expected one data set with corruptions, got 2"):
        build(EvaluateConfig, {"run": "run", "data": ["/a", "/b"], "corruptions": ["Fog"]})

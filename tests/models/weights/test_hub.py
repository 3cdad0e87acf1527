from typing import Any

import pytest
import timm

from occfeat.errors import SettingsError, WeightsError
from occfeat.models.students.build import WITHOUT_NETWORK
from occfeat.models.weights import hub


def test_refuse_unknown__accepts_names_and_tags() -> None:
    hub.refuse_unknown("resnet50")
    hub.refuse_unknown("resnet50.a1_in1k")


def test_refuse_unknown__suggests_close_names() -> None:
    with pytest.raises(SettingsError, match=r"'resnet5O'(.|\n)*resnet50"):
        hub.refuse_unknown("resnet5O")


def test_refuse_unknown__lists_tags() -> None:
    with pytest.raises(SettingsError, match=r"'lvd'(.|\n)*vit_small_patch14_dinov2\.lvd142m"):
        hub.refuse_unknown("vit_small_patch14_dinov2.lvd")


def test_create_pretrained__says_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any, **__: Any) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(timm, "create_model", no_network)
    with pytest.raises(WeightsError, match=r"unreachable(.|\n)*path of a file(.|\n)*none"):
        hub.create_pretrained("resnet50", WITHOUT_NETWORK)


def test_color_statistics() -> None:
    assert hub.color_statistics("tf_efficientnet_lite0") == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert hub.color_statistics("resnet50")[0] == (0.485, 0.456, 0.406)

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from occfeat.config import GridConfig, SimpleBevConfig
from occfeat.errors import SettingsError, WeightsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.models import student as student_module
from occfeat.models.student import build_student
from tests.models.rigs import SQUARE_GRID


def small(**settings: object) -> SimpleBevConfig:
    return SimpleBevConfig.model_validate({"image_channels": 8, "bev_channels": 16, **settings})


def test_build_student__default_size() -> None:
    config = GridConfig()
    grid = VoxelGrid(config.lower_m, config.upper_m, config.cell_m)
    student = build_student(SimpleBevConfig(backbone_weights="none"), grid)
    parts = {
        name: sum(weight.numel() for weight in part.parameters()) for name, part in student.named_children()
    }
    backbone = sum(weight.numel() for weight in student.encoder.backbone.parameters())
    assert parts == {"encoder": 1_191_392, "compress": 1_179_904, "bev_encoder": 3_224_576}
    assert backbone == 851_808  # EfficientNet-B0 up to stride 16


@pytest.mark.parametrize("name", ["efficientnet_b0", "resnet18", "convnext_atto"])
@pytest.mark.parametrize("form", ["whole", "trimmed", "no classifier"])
def test_build_student__file_of_timm_weights(tmp_path: Path, name: str, form: str) -> None:
    torch.manual_seed(5)
    whole = timm.create_model(name, num_classes=7 if form == "whole" else 0)
    path = tmp_path / "weights.safetensors"
    tensors = whole.state_dict()
    if form == "trimmed":
        tensors = build_student(small(backbone=name, backbone_weights="none"), SQUARE_GRID)
        tensors = tensors.encoder.backbone.state_dict()
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    student = build_student(small(backbone=name, backbone_weights=str(path)), SQUARE_GRID)
    loaded = student.encoder.backbone.state_dict()
    by_flat_name = {key.replace(".", "_"): tensor for key, tensor in tensors.items()}
    assert all(torch.equal(tensor, by_flat_name[key.replace(".", "_")]) for key, tensor in loaded.items())


def test_build_student__features_are_those_of_the_whole_network(tmp_path: Path) -> None:
    whole = timm.create_model("efficientnet_b0").eval()
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    config = small(backbone_weights=str(tmp_path / "weights.safetensors"))
    backbone = build_student(config, SQUARE_GRID).encoder.backbone.eval()
    images = torch.randn(1, 3, 64, 96)
    expected = whole.forward_intermediates(images, indices=[2, 3], intermediates_only=True)
    for found, wanted in zip(backbone(images), expected, strict=True):
        assert torch.allclose(found, wanted, atol=1e-5)


def test_build_student__file_of_another_network(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "weights.safetensors")
    config = small(backbone_weights=str(tmp_path / "weights.safetensors"))
    with pytest.raises(WeightsError, match=r"backbone efficientnet_b0(.|\n)*missing: conv_stem\.weight"):
        build_student(config, SQUARE_GRID)


def test_build_student__hub(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = timm.create_model("resnet18")
    monkeypatch.setattr(student_module, "create_pretrained", lambda *_: whole)
    student = build_student(small(backbone="resnet18", backbone_weights="hub"), SQUARE_GRID)
    loaded = student.encoder.backbone.state_dict()
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in loaded.items())


def test_build_student__packaged_is_for_one_network_only() -> None:
    with pytest.raises(SettingsError, match="tf_efficientnet_lite0, not for resnet18"):
        build_student(small(backbone="resnet18", backbone_weights="packaged"), SQUARE_GRID)


@pytest.mark.packaged
def test_build_student__packaged() -> None:
    config = small(backbone="tf_efficientnet_lite0", backbone_weights="packaged")
    encoder = build_student(config, SQUARE_GRID).encoder
    assert encoder.mean.tolist() == pytest.approx([127 / 255] * 3)
    assert encoder.std.tolist() == pytest.approx([128 / 255] * 3)
    again = build_student(config.model_copy(update={"backbone_weights": "none"}), SQUARE_GRID).encoder
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.mean, encoder.mean)

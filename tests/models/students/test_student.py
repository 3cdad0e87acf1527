from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from occfeat.errors import SettingsError, WeightsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.students import build as student_module
from occfeat.models.students.build import build_student
from occfeat.settings.recipes import RECIPES
from occfeat.settings.sections import GridConfig
from occfeat.settings.students import SimpleBevConfig
from tests.models.rigs import SQUARE_GRID, surround


def small(**settings: object) -> SimpleBevConfig:
    return SimpleBevConfig.model_validate({"image_channels": 8, "bev_channels": 16, **settings})


def paper_grid() -> VoxelGrid:
    config = GridConfig()
    return VoxelGrid(config.lower_m, config.upper_m, config.cell_m)


ENCODERS = {"b0": 1_191_392, "r50": 10_477_248}
"""Parameters of the backbone up to stride 16 and of the neck."""
LIFTINGS = {"simplebev": 1_179_904, "bevformer": 6_181_696, "lss": 153_001}
"""Parameters between image encoder and BEV encoder."""
TOTALS = {
    "paper-simplebev-b0": 5_595_872,
    "paper-simplebev-r50": 14_881_728,
    "paper-bevformer-b0": 10_597_664,
    "paper-bevformer-r50": 19_883_520,
    "lss-b0": 4_568_969,
}
"""Parameters of the paper-sized students, as in docs/method.md."""


def weights_in(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize("recipe", TOTALS)
def test_build_student__parameters_of_the_recipes(recipe: str) -> None:
    config = RECIPES[recipe]().student
    student = build_student(config, paper_grid(), load_backbone=False)
    assert weights_in(student) == TOTALS[recipe]
    encoder, bev_encoder = weights_in(student.encoder), weights_in(student.bev_encoder)
    assert encoder == ENCODERS[recipe.split("-")[-1]]
    assert bev_encoder == 3_224_576
    assert weights_in(student) - encoder - bev_encoder == LIFTINGS[config.kind]
    with torch.no_grad():
        features = student.encoder(torch.zeros(1, 3, 224, 400, dtype=torch.uint8))
    assert features.shape == (1, 128, 28, 50)


@pytest.mark.parametrize("recipe", ["paper-simplebev-b0", "paper-bevformer-b0", "lss-b0"])
def test_build_student__bev_of_the_recipes(recipe: str) -> None:
    student = build_student(RECIPES[recipe]().student, paper_grid(), load_backbone=False)
    cameras = surround(cameras=1)
    with torch.no_grad():
        bev = student(torch.zeros(1, 1, 3, 32, 56, dtype=torch.uint8), cameras)
    assert bev.shape == (1, 128, 200, 200)
    assert bev.isfinite().all()


def test_docs__have_the_parameters_of_the_recipes() -> None:
    text = (Path(__file__).parents[3] / "docs" / "method.md").read_text(encoding="utf-8")
    assert [name for name, count in TOTALS.items() if f"| `{name}` | {count:,} |" not in text] == []


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


def test_build_student__packaged_is_for_known_networks_only() -> None:
    known = "tf_efficientnet_lite0 and vit_small_patch14_dinov2, not for resnet18"
    with pytest.raises(SettingsError, match=known):
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

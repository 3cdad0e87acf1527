"""Vision transformers as image encoders: where features lie, what is frozen, low-rank updates."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from occfeat.errors import SettingsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.encoders.encoder import feature_size
from occfeat.models.encoders.vit import VitEncoder, is_transformer
from occfeat.models.students.build import build_student
from occfeat.models.weights.packaged import TEACHER_BLOCK, TEACHER_NAME
from occfeat.settings.students import SimpleBevConfig
from tests.support.rigs import GRID


@pytest.fixture
def encoder() -> VitEncoder:
    torch.manual_seed(0)
    return VitEncoder("test_vit", channels=6)


def _images(*size: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 3, *size), generator=random, dtype=torch.uint8)


def _config(weights: Path | str, **changes: object) -> SimpleBevConfig:
    settings = {"backbone": "test_vit", "backbone_weights": str(weights), "image_channels": 8}
    return SimpleBevConfig.model_validate({**settings, "bev_channels": 8, **changes})


def _build(config: SimpleBevConfig, grid: VoxelGrid = GRID) -> VitEncoder:
    encoder = build_student(config, grid).encoder
    assert isinstance(encoder, VitEncoder)
    return encoder


@pytest.mark.parametrize("size", [(64, 96), (56, 75), (33, 40)])
def test_vit_encoder__stride_8_for_any_size(encoder: VitEncoder, size: tuple[int, int]) -> None:
    features = encoder(_images(*size))
    assert features.shape == (2, 6, *feature_size(size))
    assert features.isfinite().all()


def test_vit_encoder__cells_are_read_where_they_lie(encoder: VitEncoder) -> None:
    """Patches of 16 pixels that hold their own position give cells of 8 pixels that hold theirs."""
    y, x = torch.meshgrid(torch.arange(4) * 16.0 + 8, torch.arange(6) * 16.0 + 8, indexing="ij")
    patches = torch.stack((x, y))[None]
    encoder.backbone.forward_intermediates = lambda *_, **__: (patches,)
    read = encoder.read(torch.zeros(1, 3, 60, 90))  # padded to 64 x 96
    assert read.shape == (1, 2, 8, 12)
    assert read[0, 0, 0, 1:11].tolist() == pytest.approx([8 * i + 4 for i in range(1, 11)])
    assert read[0, 1, 1:7, 0].tolist() == pytest.approx([8 * i + 4 for i in range(1, 7)])


def test_low_rank__changes_nothing_at_first_and_then_learns_alone(encoder: VitEncoder) -> None:
    images = _images(32, 48)
    before = encoder(images)
    base = {name: tensor.clone() for name, tensor in encoder.backbone.state_dict().items()}
    encoder.add_low_rank(2)
    assert torch.allclose(encoder(images), before, atol=1e-6)
    learning = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert {name for name in learning if "neck" not in name} == {
        f"backbone.blocks.{block}.attn.{layer}.parametrizations.weight.0.{part}"
        for block in range(len(encoder.backbone.blocks))
        for layer in ("qkv", "proj")
        for part in ("up", "down")
    }
    optimizer = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=1.0)
    encoder(images).square().mean().backward()
    optimizer.step()
    assert not torch.allclose(encoder(images), before, atol=1e-6)
    after = encoder.backbone.state_dict()
    for name, tensor in base.items():
        kept = name if name in after else name.replace(".weight", ".parametrizations.weight.original")
        assert torch.equal(after[kept], tensor)


def test_build_student__transformer_with_weights_of_a_file(teacher_weights: Path) -> None:
    plain = _build(_config(teacher_weights)).backbone.state_dict()
    frozen = _build(_config(teacher_weights, freeze_backbone=True))
    assert not any(parameter.requires_grad for parameter in frozen.backbone.parameters())
    assert all(torch.equal(tensor, plain[name]) for name, tensor in frozen.backbone.state_dict().items())
    tuned = _build(_config(teacher_weights, lora_rank=4))
    original = tuned.backbone.state_dict()["blocks.0.attn.qkv.parametrizations.weight.original"]
    assert torch.equal(original, plain["blocks.0.attn.qkv.weight"])


@pytest.mark.packaged
def test_build_student__packaged_transformer() -> None:
    encoder = _build(_config("packaged", backbone="vit_small_patch14_dinov2", lora_rank=2))
    assert encoder.patch_px == 14
    with torch.inference_mode():
        assert encoder(_images(56, 84)).shape == (2, 8, 7, 11)


def test_is_transformer__tells_plain_ones_from_others() -> None:
    assert is_transformer("test_vit")
    assert is_transformer("vit_small_patch14_reg4_dinov2")
    assert not is_transformer("resnet18")
    assert not is_transformer("swin_tiny_patch4_window7_224")


def test_settings__that_make_no_sense_are_refused(teacher_weights: Path) -> None:
    with pytest.raises(SettingsError, match="test_vit has no stem"):
        build_student(_config(teacher_weights, freeze_stem=True), GRID)
    with pytest.raises(SettingsError, match="resnet18 is not one"):
        build_student(_config(teacher_weights, backbone="resnet18", lora_rank=1), GRID)
    for name in ("lora_rank", "freeze_backbone"):
        with pytest.raises(ValidationError, match=f"with {name}, got none \\(random weights\\)"):
            _config("none", **{name: 1})


@pytest.mark.parametrize("backbone", ["test_vit", "test_vit2", "test_vit3"])
def test_vit_encoder__all_that_learns_is_read(backbone: str) -> None:
    """Also where the last LayerNorm is for averaged patches (vit2), or where patches are pooled (vit3)."""
    torch.manual_seed(0)
    encoder = VitEncoder(backbone, channels=6)
    encoder(_images(32, 48)).square().sum().backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []


@pytest.mark.packaged
def test_packaged_transformer__ends_with_the_block_that_is_not_collapsed() -> None:
    changes = {"backbone": TEACHER_NAME, "lora_rank": 2}
    config = _config("packaged", **changes)
    for load in (True, False):  # as for a run that is trained, and for one that is loaded
        encoder = build_student(config, GRID, load_backbone=load).encoder
        assert len(encoder.backbone.blocks) == TEACHER_BLOCK + 1

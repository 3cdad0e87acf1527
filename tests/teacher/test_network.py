import logging
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from occfeat.errors import SettingsError, WeightsError
from occfeat.models.lifting.sampling import sample_at_pixels
from occfeat.settings.sections import TeacherConfig
from occfeat.teacher import network as teacher_module
from occfeat.teacher.network import Teacher, build_teacher


def tiny(name: str = "vit_small_patch14_dinov2", **options: object) -> nn.Module:
    torch.manual_seed(3)
    sizes = {"depth": 3, "embed_dim": 32, "num_heads": 2, **options}
    return timm.create_model(name, num_classes=0, dynamic_img_size=True, **sizes)


def noise(height: int, width: int, count: int = 2) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=random)


TRANSFORMERS = [
    ("vit_small_patch14_dinov2", 14),
    ("vit_small_patch14_reg4_dinov2", 14),
    ("vit_small_patch16_dinov3", 16),
    ("vit_small_patch16_224", 16),
]


@pytest.mark.parametrize(("name", "patch_px"), TRANSFORMERS)
def test_teacher__shape_and_place_of_patches(name: str, patch_px: int) -> None:
    teacher = Teacher(tiny(name), block=0, normalize=False)
    black = torch.zeros(1, 3, 4 * patch_px, 7 * patch_px, dtype=torch.uint8)
    changed = black.clone()
    changed[..., 2 * patch_px : 3 * patch_px, 5 * patch_px : 6 * patch_px] = 255
    change = (teacher(changed) - teacher(black)).norm(dim=1)[0]
    assert (teacher.patch_px, teacher.channels) == (patch_px, 32)
    assert change.shape == (4, 7)
    assert divmod(int(change.argmax()), 7) == (2, 5)


class PatchMeans(nn.Module):
    """Stands for a transformer: the feature of a patch is its mean colour."""

    def __init__(self, patch_px: int) -> None:
        super().__init__()
        self.embed_dim = 3
        self.blocks = nn.ModuleList([nn.Identity()])
        self.norm = nn.LayerNorm(3)
        self.patch_embed = nn.AvgPool2d(patch_px)
        self.patch_embed.patch_size = (patch_px, patch_px)  # type: ignore[assignment]

    def forward_intermediates(
        self, images: Tensor, indices: list[int], norm: bool, output_fmt: str, intermediates_only: bool
    ) -> list[Tensor]:
        return [self.patch_embed(images)]


@pytest.mark.parametrize("size", [(224, 392), (112, 140), (28, 28)])
def test_teacher__projected_coordinates_are_recovered(size: tuple[int, int]) -> None:
    """An image whose colours encode the position of each pixel, seen through patches and sampled again."""
    height, width = size
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack((u // 2, u % 2, v)).to(torch.uint8)[None]
    teacher = Teacher(PatchMeans(14), 0, normalize=False, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    pixels = torch.rand(1, 500, 2) * torch.tensor([width - 14.0, height - 14.0]) + 7
    half_u, parity, row = sample_at_pixels(teacher(image), pixels, size)[0]
    recovered = torch.stack((2 * half_u + parity, row), dim=1) + 0.5
    assert (recovered - pixels[0]).abs().max() < 0.01


def test_teacher__block_and_norm() -> None:
    transformer = tiny()
    images = noise(56, 84)
    normal = (images / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(3, 1, 1)
    with torch.no_grad():
        tokens = transformer._pos_embed(transformer.patch_embed(normal))
        for block in list(transformer.blocks)[:2]:
            tokens = block(tokens)
        plain = tokens[:, 1:].unflatten(1, (4, 6)).permute(0, 3, 1, 2)
        normed = transformer.norm(tokens)[:, 1:].unflatten(1, (4, 6)).permute(0, 3, 1, 2)
    assert torch.allclose(Teacher(tiny(), 1, normalize=False)(images), plain, atol=1e-4)
    assert torch.allclose(Teacher(tiny(), 1, normalize=True)(images), normed, atol=1e-4)
    assert len(Teacher(tiny(), 1, normalize=True).transformer.blocks) == 2


def test_teacher__is_frozen_and_always_evaluates() -> None:
    teacher = Teacher(tiny(proj_drop_rate=0.5), 2, normalize=True)
    around = nn.Sequential(teacher).train()
    features = teacher(noise(28, 42))
    assert around.training
    assert not any(module.training for module in teacher.modules())
    assert not any(weight.requires_grad for weight in teacher.parameters())
    assert not features.requires_grad
    assert torch.equal(features, teacher(noise(28, 42)))
    loss = (torch.ones_like(features, requires_grad=True) * features).sum()  # may take part in a loss
    loss.backward()


def test_teacher__float32_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert Teacher(tiny(), 2, normalize=True)(noise(28, 42)).dtype == torch.float32


def test_teacher__wrong_image_size() -> None:
    with pytest.raises(SettingsError, match=r"patch of 14 (.|\n)*225 x 400(.|\n)*224 x 406"):
        Teacher(tiny(), 0, normalize=True)(noise(225, 400))
    with pytest.raises(SettingsError, match="14 x 14"):
        Teacher(tiny(), 0, normalize=True)(noise(3, 3))


def test_teacher__no_such_block() -> None:
    with pytest.raises(SettingsError, match=r"from 0 to 2, got 3"):
        Teacher(tiny(), 3, normalize=True)


def test_teacher__no_norm() -> None:
    transformer = tiny()
    transformer.norm = nn.Identity()
    with pytest.raises(SettingsError, match="normalize"):
        Teacher(transformer, 0, normalize=True)


SMALL = "vit_tiny_patch16_224"


@pytest.mark.parametrize("classes", [0, 5])
def test_build_teacher__timm_file(tmp_path: Path, classes: int, caplog: pytest.LogCaptureFixture) -> None:
    source = timm.create_model(SMALL, num_classes=classes).eval()
    save_file(source.state_dict(), tmp_path / "vit.safetensors")
    config = TeacherConfig(name=SMALL, weights=str(tmp_path / "vit.safetensors"), image_size=(224, 224))
    with caplog.at_level(logging.INFO, logger="occfeat"):
        teacher = build_teacher(config)
    assert f"teacher {SMALL}: loaded 150/150 tensors" in caplog.text
    assert teacher.block == 11
    images = noise(224, 224, 1)
    expected = source.forward_intermediates(
        (images / 255 - 0.5) / 0.5, indices=[11], norm=True, intermediates_only=True
    )
    assert torch.allclose(teacher(images), expected[0], atol=1e-4)


def test_build_teacher__meta_file(tmp_path: Path) -> None:
    source = timm.create_model("vit_small_patch14_dinov2", num_classes=0).eval()
    torch.save(source.state_dict() | {"mask_token": torch.zeros(1, 384)}, tmp_path / "dinov2_vits14.pth")
    config = TeacherConfig(weights=str(tmp_path / "dinov2_vits14.pth"), block=2, image_size=(28, 42))
    teacher = build_teacher(config)
    assert teacher.channels == 384
    assert torch.equal(teacher.transformer.blocks[2].mlp.fc1.weight, source.blocks[2].mlp.fc1.weight)


def test_build_teacher__file_of_another_network(tmp_path: Path) -> None:
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "resnet.safetensors")
    config = TeacherConfig(name=SMALL, weights=str(tmp_path / "resnet.safetensors"), image_size=(224, 224))
    with pytest.raises(WeightsError, match=f"teacher {SMALL}(.|\n)*missing: cls_token"):
        build_teacher(config)


@pytest.mark.parametrize("weights", ["hub", "weights.safetensors"])
def test_build_teacher__of_convolutions_is_refused_before_its_weights_are_sought(weights: str) -> None:
    with pytest.raises(SettingsError, match="resnet18"):
        build_teacher(TeacherConfig(name="resnet18", weights=weights))


def test_build_teacher__hub(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(teacher_module, "create_pretrained", lambda *_, **__: tiny())
    with caplog.at_level(logging.INFO, logger="occfeat"):
        teacher = build_teacher(TeacherConfig(image_size=(28, 42)))
    assert "loaded 48/48 tensors from the hub" in caplog.text
    assert teacher(noise(28, 42)).shape == (2, 32, 2, 3)


@pytest.mark.parametrize("name", ["resnet18", "vit_small_patch14_dinovv2"])
def test_build_teacher__not_a_transformer(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        build_teacher(TeacherConfig(name=name, weights="none.pth"))


@pytest.mark.packaged
def test_build_teacher__packaged() -> None:
    teacher = build_teacher(TeacherConfig(name="packaged"))
    features = teacher(noise(224, 392, 1))
    assert features.shape == (1, 384, 16, 28)
    assert teacher.block == 10
    assert features.mean(1).abs().max() < 1  # normalised
    with pytest.raises(SettingsError, match="224 x 406"):
        build_teacher(TeacherConfig(name="packaged", image_size=(224, 400)))

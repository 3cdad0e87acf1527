import logging
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from occfeat.errors import SettingsError, WeightsError
from occfeat.models.lifting.sampling import sample_at_pixels
from occfeat.settings.sections import TeacherConfig
from occfeat.teacher import build as building
from occfeat.teacher.build import build_teacher
from occfeat.teacher.convolutional import ConvolutionalTeacher
from occfeat.teacher.network import IMAGENET
from occfeat.teacher.transformer import TransformerTeacher


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
    teacher = TransformerTeacher(tiny(name), blocks=(0,), normalize=False)
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
    teacher = TransformerTeacher(PatchMeans(14), (0,), normalize=False, colors=((0.0,) * 3, (1 / 255,) * 3))
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
    assert torch.allclose(TransformerTeacher(tiny(), (1,), normalize=False)(images), plain, atol=1e-4)
    assert torch.allclose(TransformerTeacher(tiny(), (1,), normalize=True)(images), normed, atol=1e-4)
    assert len(TransformerTeacher(tiny(), (1,), normalize=True).transformer.blocks) == 2


def test_teacher__is_frozen_and_always_evaluates() -> None:
    teacher = TransformerTeacher(tiny(proj_drop_rate=0.5), (2,), normalize=True)
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
        assert TransformerTeacher(tiny(), (2,), normalize=True)(noise(28, 42)).dtype == torch.float32


def test_teacher__wrong_image_size() -> None:
    with pytest.raises(SettingsError, match=r"patch of 14 (.|\n)*225 x 400(.|\n)*224 x 406"):
        TransformerTeacher(tiny(), (0,), normalize=True)(noise(225, 400))
    with pytest.raises(SettingsError, match="14 x 14"):
        TransformerTeacher(tiny(), (0,), normalize=True)(noise(3, 3))


def test_teacher__several_blocks_are_concatenated_behind_their_norms() -> None:
    images = noise(56, 84)
    apart = [TransformerTeacher(tiny(), (block,), normalize=True)(images) for block in (0, 2)]
    both = TransformerTeacher(tiny(), (2, 0), normalize=True)
    assert torch.allclose(both(images), torch.cat(apart, dim=1), atol=1e-5)
    assert (both.channels, both.parts) == (64, (64,))


@pytest.mark.parametrize("blocks", [(0, 3), (-1,), (1, 1), ()])
def test_teacher__wrong_blocks_are_refused(blocks: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match=r"block of the teacher from 0 to 2, each once, got"):
        TransformerTeacher(tiny(), blocks, normalize=True)


@pytest.mark.parametrize("stages", [(0, 5), (-1,), (1, 1), ()])
def test_convolutional_teacher__wrong_stages_are_refused(stages: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match=r"stage of the teacher from 0 to 4, each once, got"):
        _cnn(stages)


def test_teacher__no_such_block() -> None:
    with pytest.raises(SettingsError, match=r"from 0 to 2, each once, got 3"):
        TransformerTeacher(tiny(), (3,), normalize=True)


def test_teacher__no_norm() -> None:
    transformer = tiny()
    transformer.norm = nn.Identity()
    with pytest.raises(SettingsError, match="normalize"):
        TransformerTeacher(transformer, (0,), normalize=True)


def _cnn(stages: tuple[int, ...] | None, *, normalize: bool = True) -> ConvolutionalTeacher:
    torch.manual_seed(3)
    return ConvolutionalTeacher("test_resnet", stages, normalize)


def test_convolutional_teacher__its_map_is_that_of_the_stage() -> None:
    images, teacher = noise(64, 96), _cnn((2,), normalize=False)
    torch.manual_seed(3)
    network = timm.create_model("test_resnet", features_only=True, out_indices=(2,)).eval()
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    (expected,) = network((images / 255 - mean) / std)
    assert torch.allclose(teacher(images), expected, atol=1e-5)
    assert teacher.patches((64, 96)) == teacher(images).shape[2:]
    normal = _cnn((2,))(images)
    assert torch.allclose(normal.mean(dim=1), torch.zeros(()), atol=1e-4)
    assert not any(weight.requires_grad for weight in teacher.parameters())


def test_convolutional_teacher__stages_are_joined_at_the_finest() -> None:
    images, teacher = noise(64, 128), _cnn((1, 3))
    assert (teacher.patch_px, teacher.multiple_px) == (4, 16)
    features = teacher(images)
    assert features.shape == (2, teacher.channels, 16, 32)
    fine = _cnn((1,))(images)
    assert features.shape[1] > fine.shape[1]
    with pytest.raises(SettingsError, match="multiple of the patch of 16 pixels"):
        teacher(noise(64, 100))


def test_convolutional_teacher__takes_the_deepest_stage_of_stride_16_by_default() -> None:
    assert _cnn(None).patch_px == 16


def test_convolutional_teacher__place_of_its_cells() -> None:
    teacher = _cnn((2,), normalize=False)
    black = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
    changed = black.clone()
    changed[..., 32:40, 56:64] = 255  # the cell of row 4 and column 7
    change = (teacher(changed) - teacher(black)).norm(dim=1)[0]
    row, column = divmod(int(change.argmax()), 12)
    assert abs(row - 4) <= 1
    assert abs(column - 7) <= 1


def test_build_teacher__convolutional_from_a_file(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet", num_classes=7)
    save_file(source.state_dict(), tmp_path / "resnet.safetensors")
    config = TeacherConfig(
        name="test_resnet", weights=str(tmp_path / "resnet.safetensors"), image_size=(64, 96), block=3
    )
    teacher = build_teacher(config)
    loaded = teacher.state_dict()
    assert torch.equal(loaded["network.layer2.0.conv1.weight"], source.layer2[0].conv1.weight)
    assert teacher.patch_px == 16


def test_build_teacher__two_teachers_side_by_side(teacher_weights: Path, tmp_path: Path) -> None:
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "resnet.safetensors")
    first = TeacherConfig(name="test_vit", weights=str(teacher_weights), image_size=(64, 96))
    second = TeacherConfig(
        name="test_resnet", weights=str(tmp_path / "resnet.safetensors"), image_size=(96, 144), block=2
    )
    pair, alone = build_teacher(first, second), build_teacher(first)
    images = noise(64, 96)
    features = pair(images)
    assert pair.parts == (alone.channels, build_teacher(second).channels)
    assert features.shape == (2, pair.channels, 4, 6)
    assert torch.equal(features[:, : alone.channels], alone(images))
    scaled = F.interpolate(images.float(), (96, 144), mode="bilinear", antialias=True).round()
    other = build_teacher(second)(scaled.to(torch.uint8))  # of 12 x 18 cells
    pooled = F.interpolate(other, (4, 6), mode="bilinear", antialias=True)
    assert torch.allclose(features[:, alone.channels :], pooled, atol=1e-5)


@pytest.mark.packaged
def test_build_teacher__packaged_efficientnet() -> None:
    config = TeacherConfig(name="tf_efficientnet_lite0", weights="packaged", image_size=(224, 384))
    teacher = build_teacher(config)
    assert teacher(noise(224, 384, 1)).shape == (1, 112, 14, 24)
    with pytest.raises(SettingsError, match="no packaged weights of resnet18"):
        build_teacher(TeacherConfig(name="resnet18", weights="packaged", image_size=(224, 384)))


SMALL = "vit_tiny_patch16_224"


@pytest.mark.parametrize("classes", [0, 5])
def test_build_teacher__timm_file(tmp_path: Path, classes: int, caplog: pytest.LogCaptureFixture) -> None:
    source = timm.create_model(SMALL, num_classes=classes).eval()
    save_file(source.state_dict(), tmp_path / "vit.safetensors")
    config = TeacherConfig(name=SMALL, weights=str(tmp_path / "vit.safetensors"), image_size=(224, 224))
    with caplog.at_level(logging.INFO, logger="occfeat"):
        teacher = build_teacher(config)
    assert f"teacher {SMALL}: loaded 150/150 tensors" in caplog.text
    assert teacher.blocks == [11]
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


def test_build_teacher__hub(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(building, "create_pretrained", lambda *_, **__: tiny())
    with caplog.at_level(logging.INFO, logger="occfeat"):
        teacher = build_teacher(TeacherConfig(image_size=(28, 42)))
    assert "loaded 48/48 tensors from the hub" in caplog.text
    assert teacher(noise(28, 42)).shape == (2, 32, 2, 3)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "vit_small_patch14_dinovv2"])
def test_build_teacher__without_patches_or_stages(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        build_teacher(TeacherConfig(name=name, weights="none.pth"))


@pytest.mark.packaged
def test_build_teacher__packaged() -> None:
    teacher = build_teacher(TeacherConfig(name="packaged"))
    features = teacher(noise(224, 392, 1))
    assert features.shape == (1, 384, 16, 28)
    assert teacher.blocks == [10]
    assert features.mean(1).abs().max() < 1  # normalised
    with pytest.raises(SettingsError, match="224 x 406"):
        build_teacher(TeacherConfig(name="packaged", image_size=(224, 400)))

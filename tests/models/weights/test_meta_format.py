import pytest
import timm
import torch
from torch import Tensor, nn

from occfeat.errors import WeightsError
from occfeat.models.weights.loading import load_checked
from occfeat.models.weights.meta_format import is_meta_format, timm_from_meta


def tiny(name: str, **options: object) -> nn.Module:
    torch.manual_seed(3)
    return timm.create_model(
        name, num_classes=0, dynamic_img_size=True, depth=2, embed_dim=32, num_heads=2, **options
    )


def features(network: nn.Module) -> Tensor:
    images = torch.randn(2, 3, 56, 84, generator=torch.Generator().manual_seed(0))
    (maps,) = network.eval().forward_intermediates(images, indices=[1], norm=True, intermediates_only=True)
    return maps


def dinov2_file(registers: bool, chunks: bool, gated: bool = False) -> dict[str, Tensor]:
    """A file as Meta's code would write it, with random numbers."""
    random = torch.Generator().manual_seed(7)

    def tensor(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random) * 0.1

    stored = {
        "cls_token": tensor(1, 1, 32),
        "pos_embed": tensor(1, 1 + 37 * 37, 32),
        "mask_token": tensor(1, 32),
        "patch_embed.proj.weight": tensor(32, 3, 14, 14),
        "patch_embed.proj.bias": tensor(32),
        "norm.weight": tensor(32),
        "norm.bias": tensor(32),
    }
    if registers:
        stored["register_tokens"] = tensor(1, 4, 32)
    for block in range(2):
        prefix = f"blocks.{block}.{block}" if chunks else f"blocks.{block}"
        mlp = {"w12": (176, 32), "w3": (32, 88)} if gated else {"fc1": (128, 32), "fc2": (32, 128)}
        linear = {"attn.qkv": (96, 32), "attn.proj": (32, 32)}
        linear |= {f"mlp.{name}": shape for name, shape in mlp.items()}
        for name, (outputs, inputs) in linear.items():
            stored[f"{prefix}.{name}.weight"] = tensor(outputs, inputs)
            stored[f"{prefix}.{name}.bias"] = tensor(outputs)
        for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
            stored[f"{prefix}.{name}"] = tensor(32)
    return stored


@pytest.mark.parametrize("chunks", [False, True])
@pytest.mark.parametrize("registers", [False, True])
def test_timm_from_meta__dinov2_as_timm_converts_it(registers: bool, chunks: bool) -> None:
    name = "vit_small_patch14_reg4_dinov2" if registers else "vit_small_patch14_dinov2"
    network, oracle = tiny(name), tiny(name)
    stored = dinov2_file(registers, chunks)
    assert is_meta_format(stored)
    load_checked(network, timm_from_meta(stored, network.state_dict()), "teacher")
    by_timm = timm.models.vision_transformer.checkpoint_filter_fn(dinov2_file(registers, False), oracle)
    oracle.load_state_dict(by_timm, strict=True)
    assert torch.equal(features(network), features(oracle))


def test_timm_from_meta__dinov2_with_gated_mlp() -> None:
    """The names of DINOv2-g."""
    giant = timm.create_model("vit_giant_patch14_dinov2", num_classes=0, depth=2, embed_dim=32, num_heads=2)
    renamed = timm_from_meta(dinov2_file(registers=False, chunks=False, gated=True), ())
    assert set(renamed) == set(giant.state_dict())


def dinov3_file(bias: float) -> dict[str, Tensor]:
    """A file as Meta's code would write it, of a small network."""
    stored = {
        "cls_token": torch.randn(1, 1, 32),
        "storage_tokens": torch.randn(1, 4, 32),
        "mask_token": torch.zeros(1, 32),
        "rope_embed.periods": torch.randn(16),
        "patch_embed.proj.weight": torch.randn(32, 3, 16, 16),
        "patch_embed.proj.bias": torch.randn(32),
        "norm.weight": torch.randn(32),
        "norm.bias": torch.randn(32),
    }
    for block in (0, 1):
        shapes = {"attn.qkv.weight": (96, 32), "attn.proj.weight": (32, 32), "attn.proj.bias": (32,)}
        shapes |= {"mlp.fc1.weight": (128, 32), "mlp.fc1.bias": (128,)}
        shapes |= {"mlp.fc2.weight": (32, 128), "mlp.fc2.bias": (32,), "ls1.gamma": (32,), "ls2.gamma": (32,)}
        shapes |= {f"norm{i}.{kind}": (32,) for i in (1, 2) for kind in ("weight", "bias")}
        stored |= {f"blocks.{block}.{name}": torch.randn(shape) for name, shape in shapes.items()}
        stored[f"blocks.{block}.attn.qkv.bias"] = torch.full((96,), bias)
        stored[f"blocks.{block}.attn.qkv.bias_mask"] = torch.ones(96)
    return stored


@pytest.mark.parametrize(("name", "bias"), [("", 0.0), ("_qkvb", 0.5)])
def test_timm_from_meta__dinov3_as_timm_converts_it(
    name: str, bias: float, capsys: pytest.CaptureFixture[str]
) -> None:
    network, oracle = (tiny(f"vit_small_patch16_dinov3{name}") for _ in range(2))
    stored = dinov3_file(bias)
    load_checked(network, timm_from_meta(stored, network.state_dict()), "teacher")
    oracle.load_state_dict(timm.models.eva.checkpoint_filter_fn(stored, oracle), strict=True)
    capsys.readouterr()  # timm prints
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.state_dict().values(), oracle.state_dict().values(), strict=True)
    )


def test_timm_from_meta__dinov3_biases_are_not_lost() -> None:
    network = tiny("vit_small_patch16_dinov3")
    with pytest.raises(WeightsError, match=r"blocks\.0\.attn\.qkv\.bias(.|\n)*_qkvb"):
        timm_from_meta(dinov3_file(bias=0.5), network.state_dict())


def test_timm_from_meta__unknown_tensors_keep_their_names() -> None:
    stored = dinov2_file(registers=False, chunks=True) | {"surprise": torch.ones(1)}
    assert "surprise" in timm_from_meta(stored, ())

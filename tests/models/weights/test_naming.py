"""Weights files by any of the names that their programs give to tensors."""

import pytest
import timm
import torch
from torch import Tensor

from occfeat.models.weights.meta_format import timm_from_meta
from occfeat.models.weights.naming import timm_names, without_prefixes
from tests.models.weights.test_meta_format import dinov2_file, dinov3_file


def transformers_file(stored: dict[str, Tensor], parts: dict[str, str], block: str) -> dict[str, Tensor]:
    """The same tensors by Hugging Face's names.

    Args:
        stored: Tensors by Meta's names.
        parts: Meta's and Hugging Face's parts of names; all that match apply.
        block: Hugging Face's beginning of a block.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        for old, new in parts.items():
            name = name.replace(old, new)
        beginning, found, kind = name.partition("qkv.")
        if not found:
            renamed[name.replace("blocks.", block)] = tensor
            continue
        for part, chunk in zip("qkv", tensor.chunk(3), strict=True):
            one = {"q": "query", "k": "key", "v": "value"}[part] if "encoder" in block else f"{part}_proj"
            renamed[f"{beginning.replace('blocks.', block)}{one}.{kind}"] = chunk
    return renamed


COMMON = {
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "register_tokens": "embeddings.register_tokens",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
}
DINOV2 = COMMON | {
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
    "attn.qkv.": "attention.attention.qkv.",
    "attn.proj.": "attention.output.dense.",
    "mlp.w12.": "mlp.weights_in.",
    "mlp.w3.": "mlp.weights_out.",
}
DINOV3 = COMMON | {
    "storage_tokens": "embeddings.register_tokens",
    "patch_embed.proj.": "embeddings.patch_embeddings.",
    "attn.qkv.": "attention.qkv.",
    "attn.proj.": "attention.o_proj.",
    "mlp.fc1.": "mlp.up_proj.",
    "mlp.fc2.": "mlp.down_proj.",
    "mlp.w1.": "mlp.gate_proj.",
    "mlp.w2.": "mlp.up_proj.",
    "mlp.w3.": "mlp.down_proj.",
}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("registers", [False, True])
def test_timm_names__dinov2_of_hugging_face(registers: bool, gated: bool) -> None:
    meta = dinov2_file(registers, chunks=False, gated=gated)
    renamed = {
        f"layer{name}" if name.startswith("norm.") else name: tensor
        for name, tensor in transformers_file(meta, DINOV2, "encoder.layer.").items()
    }
    for prefix in ("", "dinov2.", "module.backbone."):
        found = timm_names({f"{prefix}{name}": tensor for name, tensor in renamed.items()}, ())
        assert same(found, timm_from_meta(meta, ()))


@pytest.mark.parametrize("gated", [False, True])
def test_timm_names__dinov3_of_hugging_face(gated: bool) -> None:
    meta = dinov3_file(0.5)
    for name in list(meta):
        if name.endswith("qkv.bias"):
            meta[name][32:64] = 0
        if "periods" in name or "bias_mask" in name:  # Hugging Face computes these itself
            del meta[name]
        if gated and ".mlp.fc2." in name:
            meta[name.replace("fc2", "w3")] = meta.pop(name)
        if gated and ".mlp.fc1." in name:
            meta[name.replace("fc1", "w1")] = tensor = meta.pop(name)
            meta[name.replace("fc1", "w2")] = tensor + 1
    renamed = transformers_file(meta, DINOV3, "layer.")
    without_key_bias = {name: t for name, t in renamed.items() if not name.endswith("k_proj.bias")}
    wanted = {f"blocks.{block}.attn.{part}_bias" for block in range(2) for part in "qv"}
    assert same(timm_names(without_key_bias, wanted), timm_from_meta(meta, wanted))


def test_timm_names__vit_of_hugging_face() -> None:
    network = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=2)
    parts = DINOV2 | {
        ".norm1.": ".layernorm_before.",
        ".norm2.": ".layernorm_after.",
        "mlp.fc1.": "intermediate.dense.",
        "mlp.fc2.": "output.dense.",
    }
    stored = transformers_file(network.state_dict(), parts, "encoder.layer.")
    renamed = {
        f"layer{name}" if name.startswith("norm.") else name: tensor for name, tensor in stored.items()
    }
    renamed["pooler.dense.weight"] = torch.zeros(3)
    found = timm_names({f"vit.{name}": tensor for name, tensor in renamed.items()}, ())
    assert same(found, network.state_dict())


@pytest.mark.parametrize(
    "prefix", ["backbone.", "module.", "teacher.", "module.teacher.backbone.", "_orig_mod."]
)
def test_without_prefixes__names_of_wrappers_are_removed(prefix: str) -> None:
    tensors = {"cls_token": torch.zeros(1), "blocks.0.norm1.weight": torch.ones(2)}
    assert same(without_prefixes({f"{prefix}{name}": t for name, t in tensors.items()}), tensors)


def test_without_prefixes__the_teacher_is_taken_from_a_training(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    parts = ("teacher.backbone.norm.weight", "teacher.dino_head.mlp.weight", "student.backbone.norm.weight")
    found = without_prefixes({name: torch.full((1,), number) for number, name in enumerate(parts)})
    assert same(found, {"norm.weight": torch.full((1,), 0)})
    assert "took the 2 tensors of teacher., left out 1" in caplog.text


def test_timm_names__others_stay_as_they_are() -> None:
    network = timm.create_model("resnet18", num_classes=0)
    assert same(timm_names(network.state_dict(), ()), network.state_dict())

"""Rename the tensors of weights files to timm's names: prefixes of wrappers, names of Hugging Face and Meta.

An unknown tensor keeps its name, so that strict loading reports it.
"""

import logging
import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from occfeat.models.weights.meta_format import is_meta_format, timm_from_meta

logger = logging.getLogger(__name__)

WRAPPED = ("module.", "_orig_mod.", "model.", "dinov2.", "dinov2_with_registers.", "dinov3_vit.", "vit.")
"""What precedes names of networks that were wrapped; other tensors are kept."""
PARTS = ("teacher.", "backbone.")
"""What precedes names of the image model in a larger network; other tensors are left out."""

BLOCK = r"^(?:encoder\.)?layer\.(\d+)\."
"""Beginning of the tensors of a block, by Hugging Face's names."""
TRANSFORMERS = {
    r"^embeddings\.(cls_token|mask_token|register_tokens)$": r"\1",
    r"^embeddings\.position_embeddings$": "pos_embed",
    r"^embeddings\.patch_embeddings\.(?:projection\.)?(weight|bias)$": r"patch_embed.proj.\1",
    r"^layernorm\.": "norm.",
    BLOCK: r"blocks.\1.",
    r"\.layernorm_before\.": ".norm1.",
    r"\.layernorm_after\.": ".norm2.",
    r"\.attention\.(?:output\.dense|o_proj)\.": ".attn.proj.",
    r"\.layer_scale(\d)\.lambda1$": r".ls\1.gamma",
    r"\.mlp\.weights_in\.": ".mlp.w12.",
    r"\.mlp\.weights_out\.": ".mlp.w3.",
    r"(?<=\d)\.intermediate\.dense\.": ".mlp.fc1.",
    r"(?<=\d)\.output\.dense\.": ".mlp.fc2.",
}
"""Hugging Face's names of vision transformers and Meta's; all that match apply."""
PROJECTION = re.compile(BLOCK + r"attention\.(?:attention\.)?(query|key|value|[qkv]_proj)\.(weight|bias)$")
"""Names of queries, keys and values, which others keep in one tensor."""


def timm_names(tensors: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors of an image model under timm's names.

    Args:
        tensors: Content of a file.
        wanted: Names of the timm network.

    Raises:
        WeightsError: The file has biases that the network does not.
    """
    plain = without_prefixes(tensors)
    if any(name.startswith("embeddings.") for name in plain):
        plain = meta_from_transformers(plain)
    return timm_from_meta(plain, wanted) if is_meta_format(plain) else plain


def without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without the prefixes of wrappers, and of the image model in a larger network."""
    plain = dict(tensors)
    while prefix := next((one for one in (*WRAPPED, *PARTS) if any(n.startswith(one) for n in plain)), ""):
        kept = {name: tensor for name, tensor in plain.items() if name.startswith(prefix)}
        if prefix in PARTS and len(kept) < len(plain):
            logger.info("took the %d tensors of %s, left out %d", len(kept), prefix, len(plain) - len(kept))
            plain = kept
        plain = {name.removeprefix(prefix): tensor for name, tensor in plain.items()}
    return plain


def meta_from_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a ViT, DINO, DINOv2 or DINOv3 of Hugging Face by Meta's names."""
    renamed, parts = dict[str, Tensor](), dict[str, dict[str, Tensor]]()
    for name, tensor in tensors.items():
        if match := PROJECTION.match(name):
            target = f"blocks.{match[1]}.attn.qkv.{match[3]}"
            parts.setdefault(target, {})[match[2][0]] = tensor
        elif not name.startswith(("pooler.", "classifier.", "rope_embeddings.")):
            renamed[_renamed(name)] = tensor
    for target, of in parts.items():
        first = next(iter(of.values()))  # DINOv3 has no bias of keys
        renamed[target] = torch.cat([of.get(part, torch.zeros_like(first)) for part in "qkv"])
    if any(name.endswith(".ls1.gamma") for name in renamed):  # of DINOv2 or 3
        renamed.setdefault("mask_token", torch.zeros(1))
    return _of_dinov3(renamed) if "pos_embed" not in renamed else renamed


def _renamed(name: str) -> str:
    """Return Meta's name of a tensor that is whole."""
    for pattern, replacement in TRANSFORMERS.items():
        name = re.sub(pattern, replacement, name)
    return name


def _of_dinov3(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename what DINOv3 calls otherwise; of its two kinds of blocks, one is gated."""
    gated = any(".mlp.gate_proj." in name for name in tensors)
    names = {"gate_proj": "w1", "up_proj": "w2", "down_proj": "w3"}
    if not gated:
        names = {"up_proj": "fc1", "down_proj": "fc2"}
    names["register_tokens"] = "storage_tokens"
    pattern = re.compile("|".join(names))
    return {pattern.sub(lambda found: names[found[0]], name): tensor for name, tensor in tensors.items()}

"""Rename the tensors of Meta's DINOv2 and DINOv3 files to timm's names.

An unknown tensor keeps its name, so that strict loading reports it.
"""

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from occfeat.errors import WeightsError

TRAINING_ONLY = r"mask_token|rope_embed\.periods|local_cls_norm\..*|.*\.bias_mask"
"""Tensors that pretraining needed and dense features do not, or that timm computes itself."""


def is_meta_format(tensors: Collection[str]) -> bool:
    """Return whether these are names of Meta's files, which always hold the token of masked patches."""
    return "mask_token" in tensors


def timm_from_meta(tensors: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """Return the same tensors under timm's names.

    Args:
        tensors: Content of a file in Meta's format.
        wanted: Names of the timm network: variants of DINOv3 differ in how they store biases.

    Raises:
        WeightsError: The file has biases that the network does not.
    """
    kept = {_unchunked(name): t for name, t in tensors.items() if not re.fullmatch(TRAINING_ONLY, name)}
    if "storage_tokens" in kept:
        return _from_dinov3(kept, wanted)
    return _from_dinov2(kept)


def _unchunked(name: str) -> str:
    """Return `blocks.7.norm1` for `blocks.2.7.norm1`: files of sharded training count chunks, then blocks."""
    return re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name)


def _from_dinov2(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of DINOv2."""
    if (
        "register_tokens" in tensors
    ):  # timm adds positions to patches only, and so keeps the class token's in it
        tensors["reg_token"] = tensors.pop("register_tokens")
        tensors["cls_token"] = tensors["cls_token"] + tensors["pos_embed"][:, :1]
        tensors["pos_embed"] = tensors["pos_embed"][:, 1:]
    gated = {".mlp.w12.": ".mlp.fc1.", ".mlp.w3.": ".mlp.fc2."}
    return {_replace(name, gated): tensor for name, tensor in tensors.items()}


def _from_dinov3(tensors: dict[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """Rename the tensors of DINOv3."""
    gated = {".mlp.w1.": ".mlp.fc1_g.", ".mlp.w2.": ".mlp.fc1_x.", ".mlp.w3.": ".mlp.fc2."}
    changes = gated | {"storage_tokens": "reg_token", ".ls1.gamma": ".gamma_1", ".ls2.gamma": ".gamma_2"}
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(".attn.qkv.bias"):
            renamed |= _split_bias(name, tensor, wanted)
        else:
            renamed[_replace(name, changes)] = tensor
    return renamed


def _split_bias(name: str, bias: Tensor, wanted: Collection[str]) -> dict[str, Tensor]:
    """Return the biases of queries and values; Meta's network masks out that of keys, timm's has none."""
    query, _, value = bias.chunk(3)
    parts = {name.replace("qkv.bias", "q_bias"): query, name.replace("qkv.bias", "v_bias"): value}
    if set(parts) <= set(wanted):
        return parts
    if torch.count_nonzero(query) or torch.count_nonzero(value):
        raise WeightsError(
            f"{name} is not zero, but this network has no such bias.",
            hint="Take the variant of the network whose name ends in _qkvb.",
        )
    return {}


def _replace(name: str, changes: Mapping[str, str]) -> str:
    """Replace parts of a name."""
    for old, new in changes.items():
        name = name.replace(old, new)
    return name

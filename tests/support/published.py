"""Checkpoints in Simple-BEV's published format, built by the names of its code."""

from pathlib import Path

import timm
import torch
from torch import Tensor, nn


def published_tensors(backbone: str = "resnet101") -> dict[str, Tensor]:
    """Random tensors by their published names, heads and loss weights that are left out included."""
    torch.manual_seed(0)
    network = nn.ModuleDict(
        {
            "encoder": _encoder(timm.create_model(backbone)),
            "bev_compressor": nn.Sequential(_conv(8 * 128, 128)),
            "decoder": _decoder(timm.create_model("resnet18")),
        }
    )
    loss_weights = {f"{name}_weight": torch.zeros(()) for name in ("ce", "center", "offset")}
    return loss_weights | network.state_dict()


def hollow(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Zeros of the same shapes that take no space in a file."""
    return {name: torch.zeros((), dtype=t.dtype).expand(t.shape) for name, t in tensors.items()}


def save_published(path: Path, tensors: dict[str, Tensor], **more: object) -> Path:
    """A file as the published training program writes it."""
    torch.save({"model_state_dict": tensors, "optimizer_state_dict": {"state": {}}, **more}, path)
    return path


def _encoder(resnet: nn.Module) -> nn.ModuleDict:
    first = [resnet.conv1, resnet.bn1, resnet.act1, resnet.maxpool, resnet.layer1, resnet.layer2]
    neck = nn.Sequential(_conv(512 + 1024, 512), nn.Identity(), nn.ReLU(), _conv(512, 512))
    return nn.ModuleDict(
        {
            "backbone": nn.Sequential(*first),
            "layer3": resnet.layer3,
            "depth_layer": nn.Conv2d(512, 128, 1),
            "upsampling_layer": nn.ModuleDict({"conv": neck}),
        }
    )


def _decoder(resnet: nn.Module) -> nn.ModuleDict:
    parts = {"first_conv": nn.Conv2d(128, 64, 7, bias=False)}
    parts |= {name: getattr(resnet, name) for name in ("bn1", "layer1", "layer2", "layer3")}
    for name, coarse, fine in (("up3", 256, 128), ("up2", 128, 64), ("up1", 64, 128)):
        layer = nn.Sequential(nn.Identity(), nn.Conv2d(coarse, fine, 1, bias=False))
        parts[f"{name}_skip"] = nn.ModuleDict({"upsample_layer": layer})
    outputs = {"feat": 128, "segmentation": 1, "instance_offset": 2, "instance_center": 1}
    for name, count in outputs.items():
        head = (_conv(128, 128), nn.Identity(), nn.ReLU(), nn.Conv2d(128, count, 1))
        parts[f"{name}_head"] = nn.Sequential(*head)
    return nn.ModuleDict(parts)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, bias=False)

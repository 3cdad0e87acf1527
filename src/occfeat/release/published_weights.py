"""Conversion of Simple-BEV's published checkpoints to this package's names and axes.

Their BEV network orders cells from left to right, ours from right to left. The student flips its features at
run time. The kernels of the head are flipped here, once.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from occfeat.errors import WeightsError
from occfeat.models.weights.loading import load_checked, mismatches
from occfeat.segmentation.task import Segmenter

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Colour normalisation of the published network, for pixels of 0 to 1."""

PREFIXES = {
    "student.encoder.backbone.conv1.": "encoder.backbone.0.",
    "student.encoder.backbone.bn1.": "encoder.backbone.1.",
    "student.encoder.backbone.layer1.": "encoder.backbone.4.",
    "student.encoder.backbone.layer2.": "encoder.backbone.5.",
    "student.encoder.backbone.layer3.": "encoder.layer3.",
    "student.encoder.neck.6.": "encoder.depth_layer.",
    "student.encoder.neck.": "encoder.upsampling_layer.conv.",
    "student.compress.": "bev_compressor.",
    "student.bev_network.stem.0.": "decoder.first_conv.",
    "student.bev_network.stem.1.": "decoder.bn1.",
    "student.bev_network.stage_half.": "decoder.layer1.",
    "student.bev_network.stage_quarter.": "decoder.layer2.",
    "student.bev_network.stage_eighth.": "decoder.layer3.",
    "student.bev_network.up_quarter.project.0.": "decoder.up3_skip.upsample_layer.1.",
    "student.bev_network.up_half.project.0.": "decoder.up2_skip.upsample_layer.1.",
    "student.bev_network.up_full.project.0.": "decoder.up1_skip.upsample_layer.1.",
    "head.block.": "decoder.segmentation_head.",
    "head.output.": "decoder.segmentation_head.3.",
}
"""Prefixes of our names and of theirs; the first match applies."""

LEFT_OUT = (
    "ce_weight",
    "center_weight",
    "offset_weight",
    "decoder.feat_head.",
    "decoder.instance_offset_head.",
    "decoder.instance_center_head.",
)
"""Further tensors of the published network: loss weights, and heads for other tasks."""

BACKBONES: Mapping[tuple[int, ...], str] = {
    (3, 4, 6): "resnet50",
    (3, 4, 23): "resnet101",
    (3, 8, 36): "resnet152",
}
"""timm name of a ResNet by the number of blocks in its first three stages."""

STAGES = ("encoder.backbone.4.", "encoder.backbone.5.", "encoder.layer3.")
"""Beginnings of the published names of these stages."""

NORMALIZATION = ("student.encoder.mean", "student.encoder.std")
"""Tensors of ours that are constants in the published code."""

TURNED = "head.block.0.weight"
"""The only kernel of the head that is larger than one cell."""


def load_published(segmenter: Segmenter, tensors: Mapping[str, Tensor], path: Path) -> tuple[int, int]:
    """Load a published checkpoint into a network of kind `simplebev-published` and its head.

    Args:
        segmenter: The network, with one class.
        tensors: Tensors of the checkpoint by their published names.
        path: Path of the checkpoint, for messages.

    Returns:
        The numbers of tensors loaded and left out.

    Raises:
        WeightsError: They belong to another network; the first differences are named.
    """
    ours = segmenter.state_dict()
    theirs = {name: published_name(name) for name in ours if name not in NORMALIZATION}
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(LEFT_OUT)}
    problems = mismatches({theirs[name]: ours[name].shape for name in theirs}, kept)
    if problems:
        raise _another_network(path, problems, len(theirs), kept)
    renamed = {name: kept[theirs[name]] for name in theirs}
    renamed[TURNED] = renamed[TURNED].flip(-1)
    renamed |= dict(zip(NORMALIZATION, map(torch.tensor, (MEAN, STD)), strict=True))
    load_checked(segmenter, renamed, f"network of {path}")
    return len(kept), len(tensors) - len(kept)


def published_backbone(names: Collection[str]) -> str | None:
    """Return the timm name of the ResNet with these published names; None if there is another one."""
    blocks = tuple(
        len({name.removeprefix(stage).partition(".")[0] for name in names if name.startswith(stage)})
        for stage in STAGES
    )
    return BACKBONES.get(blocks) if "encoder.layer3.0.conv3.weight" in names else None


def published_name(name: str) -> str:
    """Return the published name of one of our tensors, such as `head.output.bias`."""
    ours = next(prefix for prefix in PREFIXES if name.startswith(prefix))
    return PREFIXES[ours] + name.removeprefix(ours)


def _another_network(
    path: Path, problems: list[str], count: int, tensors: Mapping[str, Tensor]
) -> WeightsError:
    """Return the error for a checkpoint of another network."""
    hint = "Give a camera-only checkpoint with ResNet-50, ResNet-101 or ResNet-152; the heights of "
    hint += "the grid must be those of its training (8)."
    if any("_conv_stem" in name for name in tensors):
        hint = "Its encoder is an EfficientNet; only those with a ResNet can be converted."
    if any(name.startswith(("student.", "head.")) for name in tensors):
        hint = "These are weights of this package, which need no conversion: use their run folder."
    return WeightsError(
        f"{path} is not a checkpoint of Simple-BEV's published network: {len(problems)} of {count} tensors "
        "differ.",
        first=problems[:6],
        hint=hint,
    )

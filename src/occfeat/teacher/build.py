"""Teachers from settings, with their weights."""

import logging
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from torch import nn

from occfeat.errors import SettingsError
from occfeat.models.weights import packaged
from occfeat.models.weights.hub import color_statistics, create_pretrained, refuse_unknown
from occfeat.models.weights.loading import load_checked, read_weights_file
from occfeat.models.weights.naming import timm_names, without_prefixes
from occfeat.models.weights.parts import load_part
from occfeat.settings.sections import NO_TEACHER, TeacherConfig
from occfeat.teacher.convolutional import ConvolutionalTeacher
from occfeat.teacher.network import Teacher, check_size
from occfeat.teacher.pair import TeacherPair
from occfeat.teacher.transformer import TransformerTeacher

logger = logging.getLogger(__name__)

WITHOUT_NETWORK = (
    "Without internet access, set teacher.weights to the path of a file in timm's or Meta's format, or "
    "teacher.name to packaged."
)


def build_teacher(config: TeacherConfig, second: TeacherConfig = NO_TEACHER) -> Teacher:
    """Build one teacher or two on the CPU, with their weights.

    Raises:
        SettingsError: A name, block or image size is invalid.
        WeightsError: The weights are not available or do not fit.
    """
    teacher = _build(config)
    if second == NO_TEACHER:
        return teacher
    return TeacherPair(teacher, _build(second), second.image_size)


def _build(config: TeacherConfig) -> Teacher:
    """Build one teacher."""
    is_packaged = config.name == "packaged"
    if is_packaged and config.weights != "hub":
        raise SettingsError(
            f"Expected no teacher.weights with the packaged teacher, got {config.weights}.",
            hint=f"Set teacher.name to {packaged.TEACHER_NAME} to load a file, or leave teacher.weights out.",
        )
    name = packaged.TEACHER_NAME if is_packaged else config.name
    refuse_unknown(name)
    blocks = (config.block,) if isinstance(config.block, int) else config.block
    if _is_transformer(name):
        teacher = _build_transformer(config, name, blocks)
    else:
        teacher = _build_convolutional(config, blocks)
    check_size(config.image_size, teacher.multiple_px)
    return teacher


def _is_transformer(name: str) -> bool:
    """Return whether a network has blocks behind patches, and takes images of any size."""
    try:
        with torch.device("meta"):
            network = timm.create_model(name, num_classes=0, dynamic_img_size=True)
    except TypeError:
        return False
    return hasattr(network, "blocks") and hasattr(network, "patch_embed")


def _build_transformer(config: TeacherConfig, name: str, blocks: Sequence[int] | None) -> Teacher:
    """Build a vision transformer with its weights."""
    is_packaged = config.name == "packaged"
    if config.weights == "hub" and not is_packaged:
        transformer = create_pretrained(name, WITHOUT_NETWORK, num_classes=0, dynamic_img_size=True)
        count = len(transformer.state_dict())
        logger.info("teacher %s: loaded %d/%d tensors from the hub", name, count, count)
    else:
        transformer = timm.create_model(name, num_classes=0, dynamic_img_size=True)
        if is_packaged:
            load_checked(transformer, packaged.packaged_teacher_weights(), "packaged teacher")
        else:
            _load_file(transformer, Path(config.weights), f"teacher {name}")
    default = packaged.TEACHER_BLOCK if is_packaged else len(transformer.blocks) - 1
    return TransformerTeacher(transformer, blocks or (default,), config.normalize, color_statistics(name))


def _build_convolutional(config: TeacherConfig, stages: Sequence[int] | None) -> Teacher:
    """Build a network with stages with its weights."""
    name, what, colors = config.name, f"teacher {config.name}", color_statistics(config.name)
    is_packaged = config.weights == "packaged"
    if is_packaged and name != packaged.STUDENT_BACKBONE:
        hint = f"Set teacher.name to {packaged.STUDENT_BACKBONE}, or teacher.weights to hub or a path."
        raise SettingsError(f"There are no packaged weights of {name}.", hint=hint)
    if is_packaged:
        colors = ((packaged.STUDENT_MEAN,) * 3, (packaged.STUDENT_STD,) * 3)
    teacher = ConvolutionalTeacher(name, stages, config.normalize, colors)
    if is_packaged:
        tensors = packaged.packaged_student_weights()
    elif config.weights == "hub":
        tensors = create_pretrained(name, WITHOUT_NETWORK).state_dict()
    else:
        tensors = without_prefixes(read_weights_file(Path(config.weights)))
    load_part(teacher.network, name, tensors, what)
    return teacher


def _load_file(transformer: nn.Module, path: Path, what: str) -> None:
    """Load a file with timm's, Meta's or Hugging Face's names, without its classifier."""
    tensors = timm_names(read_weights_file(path), transformer.state_dict())
    without_head = {name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}
    if len(without_head) < len(tensors):
        logger.info("%s: left out the classifier, %d tensors", what, len(tensors) - len(without_head))
    load_checked(transformer, without_head, what)

"""Build students from their settings, with the weights of their backbones."""

from pathlib import Path

from torch import nn

from occfeat.errors import SettingsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.encoders.encoder import ImageEncoder, default_neck
from occfeat.models.encoders.pyramid import PyramidEncoder
from occfeat.models.encoders.vit import VitEncoder, is_transformer
from occfeat.models.students.bevformer import BevFormer
from occfeat.models.students.lss import Lss
from occfeat.models.students.own import OwnStudent
from occfeat.models.students.published_simplebev import PublishedSimpleBev, published_neck
from occfeat.models.students.simplebev import SimpleBev
from occfeat.models.students.student import Student
from occfeat.models.weights import packaged
from occfeat.models.weights.hub import create_pretrained
from occfeat.models.weights.loading import read_weights_file
from occfeat.models.weights.naming import timm_names
from occfeat.models.weights.parts import load_part
from occfeat.settings.students import (
    BevFormerConfig,
    ImageStudentConfig,
    LssConfig,
    OwnStudentConfig,
    PublishedSimpleBevConfig,
    SimpleBevConfig,
    StudentConfig,
)

WITHOUT_NETWORK = (
    "Without network, set backbone_weights to the path of a file of timm weights, or to none to start from "
    "random weights."
)


def build_student(
    config: StudentConfig, grid: VoxelGrid, own: nn.Module | None = None, *, load_backbone: bool = True
) -> Student:
    """Build a student on the CPU, its backbone loaded as `backbone_weights` says and the rest random.

    Args:
        config: Which student, and its settings.
        grid: The grid its features are for.
        own: The user's module, for settings that name one.
        load_backbone: False leaves the backbone random, for weights that are loaded afterwards.

    Raises:
        SettingsError: The backbone does not exist or cannot be used, or the user's module is missing or
            not wanted.
        WeightsError: The backbone's weights are not available or do not fit.
    """
    if isinstance(config, OwnStudentConfig):
        return OwnStudent(_require_module(own, config.name), grid)
    if own is not None:
        raise SettingsError(
            f"Expected no module with a student of kind {config.kind}, got {type(own).__name__}.",
            hint="Leave `student` out.",
        )
    encoder = _build_encoder(config, load_backbone=load_backbone)
    match config:
        case SimpleBevConfig():
            return SimpleBev(encoder, grid, config.bev_channels)
        case BevFormerConfig():
            return BevFormer(encoder, grid, config)
        case LssConfig():
            return Lss(encoder, grid, config)
        case PublishedSimpleBevConfig():
            return PublishedSimpleBev(encoder, grid, config)


def _build_encoder(config: ImageStudentConfig, *, load_backbone: bool) -> ImageEncoder:
    """Build the image encoder: a transformer if the backbone is one."""
    name, channels, freeze = config.backbone, config.image_channels, config.freeze_backbone
    neck = published_neck if isinstance(config, PublishedSimpleBevConfig) else default_neck
    encoder: ImageEncoder
    if is_transformer(name):
        if config.freeze_stem:
            hint = "Set freeze_backbone, or lora_rank to learn low-rank updates only."
            raise SettingsError(f"The vision transformer {name} has no stem to freeze.", hint=hint)
        blocks = packaged.TEACHER_BLOCK + 1 if config.backbone_weights == "packaged" else None
        encoder = VitEncoder(name, channels, freeze_backbone=freeze, blocks=blocks, make_neck=neck)
    else:
        if config.lora_rank:
            hint = "Take a backbone such as vit_small_patch14_dinov2.lvd142m, or set lora_rank to 0."
            raise SettingsError(
                f"Low-rank updates are for vision transformers; {name} is not one.", hint=hint
            )
        stem = config.freeze_stem
        encoder = PyramidEncoder(name, channels, freeze_stem=stem, freeze_backbone=freeze, make_neck=neck)
    if load_backbone:
        _load_backbone_weights(encoder, config)
    if isinstance(encoder, VitEncoder) and config.lora_rank:
        encoder.add_low_rank(config.lora_rank)
    return encoder


def _require_module(own: nn.Module | None, name: str) -> nn.Module:
    """Return the user's module; refuse settings that name one if none was passed."""
    if own is None:
        raise SettingsError(
            f"The student is a module of your own, {name}, which settings cannot build.",
            hint="Use Python, and pass the module as `student=…`.",
        )
    return own


def _load_backbone_weights(encoder: ImageEncoder, config: ImageStudentConfig) -> None:
    """Load the backbone as the settings say."""
    weights = config.backbone_weights
    if weights == "packaged":
        _load_packaged(encoder, config.backbone)
    elif weights == "hub":
        whole = create_pretrained(config.backbone, WITHOUT_NETWORK)
        load_part(encoder.backbone, config.backbone, whole.state_dict(), f"backbone {config.backbone}")
    elif weights != "none":
        tensors = timm_names(read_weights_file(Path(weights)), encoder.backbone.state_dict())
        load_part(encoder.backbone, config.backbone, tensors, f"backbone {config.backbone}")


def _load_packaged(encoder: ImageEncoder, backbone: str) -> None:
    """Load the weights of the installed package, if they are of this backbone."""
    if backbone == packaged.TEACHER_NAME:
        load_part(encoder.backbone, backbone, packaged.packaged_teacher_weights(), f"backbone {backbone}")
        return
    if backbone != packaged.STUDENT_BACKBONE:
        known = f"{packaged.STUDENT_BACKBONE} and {packaged.TEACHER_NAME}"
        raise SettingsError(
            f"The packaged weights are for {known}, not for {backbone}.",
            hint="Set backbone to one of them, or backbone_weights to hub, none or a path.",
        )
    load_part(encoder.backbone, backbone, packaged.packaged_student_weights(), f"backbone {backbone}")
    encoder.set_normalization((packaged.STUDENT_MEAN,) * 3, (packaged.STUDENT_STD,) * 3)

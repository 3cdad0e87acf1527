"""Build students from their settings and give them the backbone weights asked for."""

import logging
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from occfeat.config import (
    BevFormerConfig,
    ImageStudentConfig,
    LssConfig,
    OwnStudentConfig,
    PublishedSimpleBevConfig,
    SimpleBevConfig,
    StudentConfig,
)
from occfeat.errors import SettingsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.models import packaged
from occfeat.models.backbone import ImageEncoder
from occfeat.models.bevformer import BevFormer
from occfeat.models.hub import create_pretrained
from occfeat.models.lss import Lss
from occfeat.models.own import OwnStudent
from occfeat.models.published_simplebev import PublishedSimpleBev, published_neck
from occfeat.models.simplebev import SimpleBev
from occfeat.models.weights import load_checked, read_weights_file

logger = logging.getLogger(__name__)

WITHOUT_NETWORK = (
    "Without network, set backbone_weights to the path of a file of timm weights, or to none to start from "
    "random weights."
)


Student = SimpleBev | BevFormer | Lss | PublishedSimpleBev | OwnStudent
"""A network with `channels` (C), whose call takes images and cameras to BEV features (B, C, X, Y)."""


def build_student(
    config: StudentConfig, grid: VoxelGrid, own: nn.Module | None = None, *, load_backbone: bool = True
) -> Student:
    """A student on the CPU, its backbone loaded as `backbone_weights` says and the rest random.

    Args:
        config: Which student, and its settings.
        grid: The grid its features are for.
        own: The user's module, for settings that name one.
        load_backbone: False leaves the backbone random, for weights that are loaded afterwards.

    Raises:
        SettingsError: The backbone does not exist or cannot be used, or the user's module is missing or
            has no place.
        WeightsError: The backbone's weights cannot be had or do not fit.
    """
    if isinstance(config, OwnStudentConfig):
        return OwnStudent(_require_module(own, config.name), grid)
    if own is not None:
        raise SettingsError(
            f"The student is {config.kind}, so there is no place for the module {type(own).__name__}.",
            hint="Leave `student` out.",
        )
    neck = published_neck if isinstance(config, PublishedSimpleBevConfig) else None
    encoder = ImageEncoder(
        config.backbone, config.image_channels, freeze_stem=config.freeze_stem, make_neck=neck
    )
    if load_backbone:
        _load_backbone_weights(encoder, config)
    match config:
        case SimpleBevConfig():
            return SimpleBev(encoder, grid, config.bev_channels)
        case BevFormerConfig():
            return BevFormer(encoder, grid, config)
        case LssConfig():
            return Lss(encoder, grid, config)
        case PublishedSimpleBevConfig():
            return PublishedSimpleBev(encoder, grid, config)


def _require_module(own: nn.Module | None, name: str) -> nn.Module:
    if own is None:
        raise SettingsError(
            f"The student is a module of your own, {name}, which settings cannot build.",
            hint="Use Python, and hand the module over as `student=…`.",
        )
    return own


def _load_backbone_weights(encoder: ImageEncoder, config: ImageStudentConfig) -> None:
    weights = config.backbone_weights
    if weights == "packaged":
        _load_packaged(encoder, config.backbone)
    elif weights == "hub":
        whole = create_pretrained(config.backbone, WITHOUT_NETWORK)
        _load_backbone(encoder, config.backbone, whole.state_dict())
    elif weights != "none":
        _load_backbone(encoder, config.backbone, read_weights_file(Path(weights)))


def _load_packaged(encoder: ImageEncoder, backbone: str) -> None:
    if backbone != packaged.STUDENT_BACKBONE:
        raise SettingsError(
            f"The packaged weights are for {packaged.STUDENT_BACKBONE}, not for {backbone}.",
            hint=f"Set backbone to {packaged.STUDENT_BACKBONE}, or backbone_weights to hub, none or a path.",
        )
    _load_backbone(encoder, backbone, packaged.packaged_student_weights())
    encoder.set_normalization((packaged.STUDENT_MEAN,) * 3, (packaged.STUDENT_STD,) * 3)


def _load_backbone(encoder: ImageEncoder, backbone: str, tensors: dict[str, Tensor]) -> None:
    """Load what the backbone kept of its network; only parts of the network it dropped may be left over."""
    with torch.device("meta"):
        whole = timm.create_model(backbone).state_dict()
    kept = {_flat(name): name for name in encoder.backbone.state_dict()}
    dropped = {_flat(name) for name in whole} - kept.keys()
    loaded = {kept.get(_flat(name), name): t for name, t in tensors.items() if _flat(name) not in dropped}
    load_checked(encoder.backbone, loaded, f"backbone {backbone}")
    left_out = len(tensors) - len(loaded)
    if left_out:
        logger.info("backbone %s: left out %d tensors of stages behind stride 16", backbone, left_out)


def _flat(name: str) -> str:
    """A name that is the same in a whole network and in its `features_only` form (stages.0 and stages_0)."""
    return name.replace(".", "_")

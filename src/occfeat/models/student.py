"""Build students from their settings and give them the backbone weights asked for."""

import logging
from pathlib import Path

import timm
import torch
from torch import Tensor

from occfeat.config import SimpleBevConfig
from occfeat.errors import SettingsError
from occfeat.geometry.grid import VoxelGrid
from occfeat.models import packaged
from occfeat.models.backbone import ImageEncoder
from occfeat.models.hub import create_pretrained
from occfeat.models.simplebev import SimpleBev
from occfeat.models.weights import load_checked, read_weights_file

logger = logging.getLogger(__name__)

WITHOUT_NETWORK = (
    "Without network, set backbone_weights to the path of a file of timm weights, or to none to start from "
    "random weights."
)


def build_student(config: SimpleBevConfig, grid: VoxelGrid) -> SimpleBev:
    """A student on the CPU, its backbone loaded as `backbone_weights` says and the rest random.

    Raises:
        SettingsError: The backbone does not exist or cannot be used.
        WeightsError: The backbone's weights cannot be had or do not fit.
    """
    encoder = ImageEncoder(config.backbone, config.image_channels, freeze_stem=config.freeze_stem)
    weights = config.backbone_weights
    if weights == "packaged":
        _load_packaged(encoder, config.backbone)
    elif weights == "hub":
        whole = create_pretrained(config.backbone, WITHOUT_NETWORK)
        _load_backbone(encoder, config.backbone, whole.state_dict())
    elif weights != "none":
        _load_backbone(encoder, config.backbone, read_weights_file(Path(weights)))
    return SimpleBev(encoder, grid, config.bev_channels)


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

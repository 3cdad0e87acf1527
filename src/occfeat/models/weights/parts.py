"""Weights of a part of a timm network, such as its first stages."""

import logging
from collections.abc import Mapping

import timm
import torch
from torch import Tensor, nn

from occfeat.models.weights.loading import load_checked

logger = logging.getLogger(__name__)


def load_part(part: nn.Module, name: str, tensors: Mapping[str, Tensor], what: str) -> None:
    """Load what a module kept of a timm network; only parts of the network it dropped may be left over.

    Args:
        part: The module, which may be the network's `features_only` form.
        name: timm name of the whole network.
        tensors: Tensors of the whole network, or of the part.
        what: Name of the part for messages.

    Raises:
        WeightsError: Tensors are missing, unexpected or of another shape; the first of them are named.
    """
    with torch.device("meta"):
        whole = timm.create_model(name).state_dict()
    kept = {shared_name(one): one for one in part.state_dict()}
    dropped = {shared_name(one) for one in whole} - kept.keys()
    loaded = {
        kept.get(shared_name(one), one): t for one, t in tensors.items() if shared_name(one) not in dropped
    }
    load_checked(part, loaded, what)
    if left_out := len(tensors) - len(loaded):
        logger.info("%s: left out %d tensors of layers that are not used", what, left_out)


def shared_name(name: str) -> str:
    """Return a name that a whole network and its `features_only` form share (stages.0 and stages_0)."""
    return name.replace(".", "_")

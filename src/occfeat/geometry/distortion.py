"""The mathematics of lenses, on tensors: cameras of different models in one call.

Axes: `N` cameras, `L` numbers of a lens, see `Lens.numbers`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from occfeat.geometry.lens import PINHOLE, Lens


def stack_lenses(lenses: Sequence[Lens]) -> Float[Tensor, "N L"] | None:
    """Return the numbers of the lenses of a rig, or None if all are pinholes."""
    if all(lens == PINHOLE for lens in lenses):
        return None
    return torch.tensor([lens.numbers() for lens in lenses])

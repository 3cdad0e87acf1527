"""Image features of rigs in which some cameras are absent.

Axes: `B` key frames, `N` cameras, `H W` image in pixels, `C` channels, `h w` feature cells.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from occfeat.machine.waiting import upload


def encode_present(
    encode: Callable[[UInt8[Tensor, "M 3 H W"]], Float[Tensor, "M C h w"]],
    images: UInt8[Tensor, "B N 3 H W"],
    present: Bool[Tensor, "B N"],
) -> Float[Tensor, "B N C h w"]:
    """Return the features of all images; those of absent cameras are 0.

    Absent cameras take no time, and no part in batch statistics. If all are absent, their black images are
    encoded, so that every weight has a gradient.

    Args:
        encode: Computes the features of images.
        images: Images of the rigs.
        present: Cameras that are not absent, on the CPU, so that no code waits for the device.
    """
    if present.all() or not present.any():
        features = encode(images.flatten(0, 1))
        return features.view(*present.shape, *features.shape[1:])
    rows = upload(present.flatten().nonzero()[:, 0], images.device)
    features = encode(images.flatten(0, 1)[rows])
    every = features.new_zeros(present.numel(), *features.shape[1:])
    if features.is_contiguous(memory_format=torch.channels_last):  # the layout of encoders
        every = every.to(memory_format=torch.channels_last)
    every = every.index_put((rows,), features)
    return every.view(*present.shape, *features.shape[1:])

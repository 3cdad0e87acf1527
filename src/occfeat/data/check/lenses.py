"""Lenses whose model ends before the image does: a note, as the black corners of a fisheye are no fault.

Axes: `n` images.
"""

import math

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.index.index import Index
from occfeat.geometry.lens import PINHOLE, Lens

LINES = 200
"""Lines of the raster along each axis of an image, on which its area is measured."""


def lens_notes(index: Index, rows: Int64[ndarray, " n"]) -> list[str]:
    """Return a note for each lens whose largest angle leaves a part of its images dark."""
    if all(lens == PINHOLE for lens in index.metadata.lenses):
        return []
    lists, notes = index.column("cameras"), {}
    offsets, images = lists.offsets.to_numpy(), lists.values
    used = np.concatenate([np.zeros(0, dtype=np.int64), *map(np.arange, offsets[rows], offsets[rows + 1])])
    channel, number = (images.field(name).to_numpy()[used] for name in ("channel", "lens"))
    _, first = np.unique(np.stack((channel, number)), axis=1, return_index=True)
    for image in used[first]:
        record = images[int(image)].as_py()
        lens, name = index.metadata.lenses[record["lens"]], index.channels[record["channel"]]
        intrinsics = np.array(record["intrinsics"], dtype=np.float64).reshape(3, 3)
        dark = dark_share(lens, intrinsics, (record["height"], record["width"]))
        if dark > 0:
            angle_deg = math.degrees(lens.max_angle_rad)
            notes[name] = (
                f"{name}: its lens {lens.model} is valid up to {angle_deg:.1f} degrees from the axis. "
                f"{100 * dark:.1f} % of the image lie beyond and are unused."
            )
    return list(notes.values())


def dark_share(lens: Lens, intrinsics: ndarray, size: tuple[int, int]) -> float:
    """Return the share of an image of (height, width) that lies beyond the largest angle of a lens.

    Tangential terms do not count. Singular intrinsics are reported elsewhere; their share is 0.
    """
    try:
        image_from_pixel = np.linalg.inv(intrinsics)
    except np.linalg.LinAlgError:
        return 0.0
    v, u = ((np.arange(LINES) + 0.5) / LINES * length for length in size)
    pixels = np.stack((*np.meshgrid(u, v), np.ones((LINES, LINES))))
    x, y, _ = np.einsum("ij,jvu->ivu", image_from_pixel, pixels)
    farthest = lens.radius(np.array([lens.max_angle_rad]))[0]
    return float((np.hypot(x, y) > farthest).mean())

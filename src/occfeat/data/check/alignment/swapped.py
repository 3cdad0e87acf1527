"""Cameras whose images are those of another camera.

Edges that the LiDARs see are drawn into the images of every camera, with the calibration of each. In its own
images the image edges below them are strong: 0.018 to 0.053 on a real scene, 0.1 on street worlds. In those
of other cameras they are as strong as anywhere: up to 0.006, and 0.014.

Axes: `F` key frames, `C` cameras, by calibration and by image.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from occfeat.data.check.alignment.match import Match, Shot
from occfeat.data.check.alignment.shots import Scan, read_grey, read_scan, shot_of
from occfeat.data.index.index import Index
from occfeat.data.index.subsets import spread
from occfeat.errors import KeyFrameError

LOOKED_AT = 8
"""Largest number of key frames that are read."""
LEVEL = 1
"""Level of the pyramid that is compared, at half the size."""
FEWEST_KEY_FRAMES = 4
"""Smallest number of key frames that tell whose images they are."""
FITS = 0.01
"""Smallest mean strength of edges by which images fit a calibration."""
STANDS_OUT = 2.0
"""Ratio of this strength to what both cameras have with images as they are, from which on these are swapped.
Scene-0916 of nuScenes has at most 0.17 over six key frames, a street world 0.13."""
SIGMAS = 4.0
"""Number of standard errors over key frames by which this strength is above none."""


def look_at_images_of_others(
    index: Index, rows: Int64[ndarray, " n"], channels: Collection[str], lidars: Collection[str]
) -> Iterator[str]:
    """Find cameras whose images fit the calibration of another one, and their own not at all.

    Args:
        index: The index of the data set.
        rows: Key frames, of which at most `LOOKED_AT` are read. What cannot be read is left out.
        channels: Cameras that are used.
        lidars: LiDARs that are used, all if empty.
    """
    names = [name for name in index.channels if name in channels]
    sums = [np.zeros((0, len(names), len(names), 2))]
    for row in spread(rows, LOOKED_AT).tolist():
        try:
            scan = read_scan(index, row, tuple(lidars))
        except KeyFrameError:
            continue
        if scan is not None:
            sums.append(_sums_between(_look(index, scan, names), names)[None])
    yield from faults_of(names, np.concatenate(sums))


def faults_of(names: Sequence[str], sums: Float64[ndarray, "F C C 2"]) -> Iterator[str]:
    """Return which cameras have the images of another one.

    Swapped images go round: each of the cameras has those of the next one, the last has those of the first.

    Args:
        names: The cameras.
        sums: Weighted strength of edges, and the weights, with the calibration of the first camera in the
            image of the second.
    """
    images = _best_images(sums)
    while lost := [camera for camera, other in images.items() if other not in images]:
        images = {camera: other for camera, other in images.items() if camera not in lost}
    for camera, other in images.items():
        yield f"{names[camera]} fits the images of {names[other]} and not its own: they may be swapped"


def _best_images(sums: Float64[ndarray, "F C C 2"]) -> dict[int, int]:
    """Return the camera whose images fit best, for each one whose own do not fit at all."""
    total = sums.sum(axis=0)
    strength = total[..., 0] / np.maximum(total[..., 1], 1e-9)
    off = sums[..., 0] - strength * sums[..., 1]
    error = np.sqrt((off**2).sum(axis=0)) / np.maximum(total[..., 1], 1e-9)
    own = np.maximum(np.diag(strength), 0)
    least = np.maximum(FITS, STANDS_OUT * np.maximum(own[:, None], own))
    fits = (strength > least) & (strength > SIGMAS * error) & (strength >= strength.max(axis=0, initial=0))
    fits &= (sums[..., 1] > 0).sum(axis=0) >= FEWEST_KEY_FRAMES
    best = strength.argmax(axis=1).tolist() if strength.size else []
    return {camera: other for camera, other in enumerate(best) if fits[camera, other]}


def _look(index: Index, scan: Scan, names: Collection[str]) -> dict[str, Shot]:
    """Read the image of each camera at one key frame; those that cannot be read are left out."""
    shots = {}
    for record in scan.key_frame.cameras:
        if record.channel in names and min(record.size):
            try:
                shots[record.channel] = shot_of(scan, record, read_grey(index, record))
            except KeyFrameError:
                continue
    return shots


def _sums_between(shots: Mapping[str, Shot], names: Sequence[str]) -> Float64[ndarray, "C C 2"]:
    """Return the weighted strength of edges, and the weights, of each camera in the image of each."""
    sums = np.zeros((len(names), len(names), 2))
    for place, name in enumerate(names):
        if name not in shots:
            continue
        match = Match([shots[name]])
        _, (height, width) = match.optics.at_level(LEVEL)
        for at, other in enumerate(names):
            if other in shots:
                edges = cv2.resize(shots[other].levels[LEVEL], (width, height), interpolation=cv2.INTER_AREA)
                sums[place, at] = match.sums(np.zeros(4), LEVEL, edges.reshape(-1, 3))[0]
    return sums

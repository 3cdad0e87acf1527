"""What the estimated errors of cameras mean: which are problems, which are too uncertain, as text.

An error is a problem if it lies above its limit by twice its uncertainty, and if the edges fit better with it
taken away in nearly all draws of the bootstrap. The uncertainty has two parts: the spread over key frames,
and what the method itself is off on sets whose calibration is right (`METHOD`). Edges between beams are known
to half the angle between two of them, and trees and the roofs of cars look different to the camera and to the
LiDAR above it, so a rotation about x is known worst.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy import ndarray

from occfeat.data.check.alignment.align import STILL, Alignment
from occfeat.data.check.alignment.search import Fit

LIMIT = (0.3, 0.3, 0.3, 0.02)
"""Smallest error about x, y and z of the camera, in degrees, and in time, in seconds, that is a problem."""
METHOD = (0.2, 0.1, 0.15, 0.003)
"""What the method is off by itself, one standard deviation. Six street worlds without errors have an r.m.s.
of 0.14, 0.03 and 0.14 degrees and 2 ms. A real scene has 0.33 degrees about x, which may be its own."""
SIGMAS = 2.0
"""Number of standard deviations by which a problem lies above its limit."""
SURE = 0.95
"""Share of the draws in which a correction must fit better."""
NAMES = ("x", "y", "z", "time")


def uncertainty(found: Fit) -> ndarray:
    """Return one standard deviation of each error; NaN where it was not searched."""
    return np.hypot(found.spread, METHOD)


def faults(alignments: Sequence[Alignment]) -> Iterator[str]:
    """Return each camera's errors that are problems."""
    for one in alignments:
        if one.fit is None or one.fit.gains < SURE:
            continue
        off = np.abs(one.fit.errors) > LIMIT + SIGMAS * np.nan_to_num(uncertainty(one.fit), nan=np.inf)
        if off.any():
            values = _values(one.fit)
            named = ", ".join(f"{NAMES[axis]} {values[axis]}" for axis in np.flatnonzero(off))
            yield f"{one.channel} does not fit the LiDAR: {named}"


def lines(alignments: Sequence[Alignment]) -> list[str]:
    """Return a table of the errors, and what cannot be told."""
    if not alignments:
        return ["Cameras and LiDAR cannot be compared: there is no LiDAR file that can be read."]
    width = max(len(one.channel) for one in alignments)
    header = "Errors of the given calibration about x (right), y (down), z (forward) of each camera, in time:"
    return [header, *(f"  {one.channel:<{width}}  {_line(one)}" for one in alignments)]


def _line(one: Alignment) -> str:
    """Return the line of a camera."""
    if one.fit is None:
        return f"cannot be told: {one.reason} ({one.key_frames} key frames, {one.edges} edges)"
    values, unsure = _values(one.fit), uncertainty(one.fit) > np.array(LIMIT)
    shown = [f"{value:>17}{'?' if unsure[axis] else ' '}" for axis, value in enumerate(values)]
    if one.reason == STILL:
        shown[3] = "  time cannot be told: the car stands, or its poses are unknown"
    before, after = one.fit.score
    return f"{''.join(shown)}  score {before:.3f} -> {after:.3f}, {one.edges} edges"


def _values(found: Fit) -> list[str]:
    """Return each error with its uncertainty."""
    each = zip(found.errors.tolist(), uncertainty(found).tolist(), strict=True)
    *turns, (time_s, time_spread_s) = each
    degrees = [f"{value:+.2f} ± {spread:.2f} deg" for value, spread in turns]
    return [*degrees, f"{1000 * time_s:+.0f} ± {1000 * time_spread_s:.0f} ms"]

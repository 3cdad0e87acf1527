"""Subsets of key frames: a fraction with labels, and a few that represent a whole split."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.index.index import Index
from occfeat.errors import SettingsError

_log = logging.getLogger(__name__)

FAR_MORE = 1.5
"""Ratio of the drawn to the requested fraction above which a warning is logged."""


@dataclass(frozen=True)
class EveryKthScene:
    """Labels of every k-th scene, in the order of the rows (as in the paper and ALSO)."""

    first: int = 0
    """Index of the first scene, below k; k is 1 / fraction, rounded."""


@dataclass(frozen=True)
class RandomKeyFrames:
    """Labels of single key frames, drawn at random."""

    seed: int = 0
    """Random seed of the draw."""


LabelDraw = EveryKthScene | RandomKeyFrames


def label_subset(
    index: Index, rows: Int64[ndarray, " n"], fraction: float, draw: LabelDraw
) -> Int64[ndarray, " left"]:
    """Draw a fraction of some key frames, in their order; warn if it is much larger than requested.

    Args:
        index: The index of the data folder.
        rows: Key frames to draw from.
        fraction: Fraction to draw, above 0 and at most 1.
        draw: How to draw.

    Raises:
        SettingsError: The fraction is out of range, or leaves no key frame.
    """
    if not 0 < fraction <= 1:
        what = f"Expected a label fraction above 0 and at most 1, got {fraction}."
        raise SettingsError(what, hint="Use 0.01 for 1 % of the labels, or 1 for all.")
    if fraction == 1:
        chosen = rows
    elif isinstance(draw, EveryKthScene):
        chosen = _scenes(index, rows, fraction, draw.first)
    else:
        chosen = _key_frames(rows, fraction, draw.seed)
    drawn_by = "scene" if isinstance(draw, EveryKthScene) else "key-frame"
    if len(chosen) == 0:
        raise SettingsError(
            f"Label fraction {fraction:g} of {len(rows)} key frames, drawn by {drawn_by}, leaves none.",
            hint="Use a larger fraction, or another draw or seed.",
        )
    share = len(chosen) / len(rows)
    _log.info("Labels: %d of %d key frames (%.3g %%).", len(chosen), len(rows), 100 * share)
    if share > FAR_MORE * fraction:
        text = "That is %.1f times the label fraction %g, drawn by %s."
        _log.warning(text, share / fraction, fraction, drawn_by)
    return chosen


def lines_of(tokens: Iterable[str]) -> str:
    """Return tokens as text, one per line."""
    return "".join(f"{token}\n" for token in tokens)


def _scenes(index: Index, rows: Int64[ndarray, " n"], fraction: float, first: int) -> ndarray:
    """Return the key frames of every k-th scene."""
    step = round(1 / fraction)
    if step == 1 or abs(1 / step - fraction) > 0.02 * fraction:
        hint = f"Use 1/{max(step, 2)} = {1 / max(step, 2):.4g}, or draw by key frame."
        raise SettingsError(f"Expected 1/k as label fraction to draw scenes, got {fraction:g}.", hint=hint)
    if first >= step:
        hint = f"Use a label seed from 0 to {step - 1}."
        raise SettingsError(f"Expected a label seed below {step} to draw scenes, got {first}.", hint=hint)
    scenes = index.scene_of(rows)
    names = list(dict.fromkeys(scenes.tolist()))
    chosen = names[first::step]
    _log.info("Labels of %d of %d scenes: every %dth from scene %d on.", len(chosen), len(names), step, first)
    kept: ndarray = rows[np.isin(scenes, chosen)]
    return kept


def _key_frames(rows: Int64[ndarray, " n"], fraction: float, seed: int) -> ndarray:
    """Return key frames drawn at random, in order."""
    positions = np.random.default_rng(seed).permutation(len(rows))[: round(fraction * len(rows))]
    kept: ndarray = rows[np.sort(positions)]
    return kept


def spread(rows: Int64[ndarray, " n"], count: int) -> Int64[ndarray, " some"]:
    """Return at most a number of key frames, evenly spaced, including the first and the last."""
    count = min(count, len(rows))
    return rows[np.arange(count) * (len(rows) - 1) // max(1, count - 1)]


def successors(index: Index, rows: Int64[ndarray, " n"], count: int) -> Int64[ndarray, "m 2"]:
    """Return some pairs of key frames that follow each other in a scene, evenly spread."""
    rows = np.sort(rows)
    follows = np.flatnonzero((np.diff(rows) == 1) & (np.diff(index.first_of_scene(rows)) == 0))
    first = rows[spread(follows, count)]
    return np.stack((first, first + 1), axis=1)

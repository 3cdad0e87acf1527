"""Some of the key frames: those whose labels a run may see, and those that stand for a whole split."""

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
"""Drawing more than so many times the share that was asked for is worth a warning."""


@dataclass(frozen=True)
class EveryKthScene:
    """Labels of whole scenes: every k-th one, in the order of the rows (the paper's and ALSO's habit)."""

    first: int = 0
    """Number of the first scene, below k; k is 1 / fraction, rounded."""


@dataclass(frozen=True)
class RandomKeyFrames:
    """Labels of single key frames, drawn at random."""

    seed: int = 0
    """Random seed of the draw."""


LabelDraw = EveryKthScene | RandomKeyFrames


def label_subset(
    index: Index, rows: Int64[ndarray, " n"], fraction: float, draw: LabelDraw
) -> Int64[ndarray, " left"]:
    """Draw a share of some key frames, in their order; log how many, and warn if they are far too many.

    Args:
        index: The index of the data folder.
        rows: Key frames to draw from.
        fraction: Share, above 0 and at most 1.
        draw: How to draw.

    Raises:
        SettingsError: The fraction is impossible, or nothing is left.
    """
    if not 0 < fraction <= 1:
        raise SettingsError(f"Expected a label fraction above 0 and at most 1, got {fraction}.")
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
            hint="Take a larger fraction, or another way or seed of drawing.",
        )
    share = len(chosen) / len(rows)
    _log.info("Labels: %d of %d key frames (%.3g %%).", len(chosen), len(rows), 100 * share)
    if share > FAR_MORE * fraction:
        text = "That is %.1f times the label fraction %g, drawn by %s."
        _log.warning(text, share / fraction, fraction, drawn_by)
    return chosen


def lines_of(tokens: Iterable[str]) -> str:
    """Return tokens as a text, one a line."""
    return "".join(f"{token}\n" for token in tokens)


def _scenes(index: Index, rows: Int64[ndarray, " n"], fraction: float, first: int) -> ndarray:
    """Return the key frames of every k-th scene."""
    step = round(1 / fraction)
    if step == 1 or abs(1 / step - fraction) > 0.02 * fraction:
        hint = f"Take 1/{max(step, 2)} = {1 / max(step, 2):.4g}, or draw by key frame."
        raise SettingsError(f"Label fraction {fraction:g}: whole scenes can be every k-th only.", hint=hint)
    if first >= step:
        hint = f"Take a label seed from 0 to {step - 1}."
        raise SettingsError(f"Every {step}th scene can be drawn in {step} ways only.", hint=hint)
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
    """Return at most so many of some key frames, spread evenly, the first and the last among them."""
    count = min(count, len(rows))
    return rows[np.arange(count) * (len(rows) - 1) // max(1, count - 1)]

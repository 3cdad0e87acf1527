"""Some of the key frames: those whose labels a run may see, and those that stand for a whole split."""

import logging
from collections.abc import Iterable
from typing import Literal

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from occfeat.data.index.index import Index
from occfeat.errors import SettingsError

_log = logging.getLogger(__name__)

FAR_MORE = 1.5
"""So many times the share asked for is worth a warning."""


def label_subset(
    index: Index,
    rows: Int64[ndarray, " n"],
    fraction: float,
    *,
    draw: Literal["scene", "key-frame"] = "scene",
    seed: int = 0,
) -> Int64[ndarray, " left"]:
    """Draw a share of some key frames, in their order; logs how many, and warns if they are far too many.

    Args:
        index: The set.
        rows: Key frames to draw from.
        fraction: Share, above 0 and at most 1.
        draw: `scene` takes every k-th scene, in the order of the rows, k being 1 / fraction rounded (the
            paper's and ALSO's habit); `key-frame` takes single key frames at random.
        seed: For `scene` the number of the first scene, below k; for `key-frame` the random seed.

    Raises:
        SettingsError: The fraction is impossible, or nothing is left.
    """
    if not 0 < fraction <= 1:
        raise SettingsError(f"Label fraction {fraction} is not above 0 and at most 1.")
    if fraction == 1:
        chosen = rows
    else:
        chosen = _by_scene(index, rows, fraction, seed) if draw == "scene" else _by_draw(rows, fraction, seed)
    if len(chosen) == 0:
        raise SettingsError(
            f"Label fraction {fraction:g} of {len(rows)} key frames, drawn by {draw}, leaves none.",
            hint="Take a larger fraction, or another way or seed of drawing.",
        )
    share = len(chosen) / len(rows)
    _log.info("Labels: %d of %d key frames (%.3g %%).", len(chosen), len(rows), 100 * share)
    if share > FAR_MORE * fraction:
        text = "That is %.1f times the label fraction %g, drawn by %s."
        _log.warning(text, share / fraction, fraction, draw)
    return chosen


def lines_of(tokens: Iterable[str]) -> str:
    """Tokens as a text, one a line."""
    return "".join(f"{token}\n" for token in tokens)


def _by_scene(index: Index, rows: Int64[ndarray, " n"], fraction: float, seed: int) -> ndarray:
    step = round(1 / fraction)
    if step == 1 or abs(1 / step - fraction) > 0.02 * fraction:
        hint = f"Take 1/{max(step, 2)} = {1 / max(step, 2):.4g}, or draw by key frame."
        raise SettingsError(f"Label fraction {fraction:g}: whole scenes can be every k-th only.", hint=hint)
    if seed >= step:
        hint = f"Take a label seed from 0 to {step - 1}."
        raise SettingsError(f"Every {step}th scene can be drawn in {step} ways only.", hint=hint)
    scenes = index.scene_of(rows)
    names = list(dict.fromkeys(scenes.tolist()))
    chosen = names[seed::step]
    _log.info("Labels of %d of %d scenes: every %dth from scene %d on.", len(chosen), len(names), step, seed)
    kept: ndarray = rows[np.isin(scenes, chosen)]
    return kept


def _by_draw(rows: Int64[ndarray, " n"], fraction: float, seed: int) -> ndarray:
    positions = np.random.default_rng(seed).permutation(len(rows))[: round(fraction * len(rows))]
    kept: ndarray = rows[np.sort(positions)]
    return kept


def spread(rows: Int64[ndarray, " n"], count: int) -> Int64[ndarray, " some"]:
    """At most so many of some key frames, spread evenly, the first and the last among them."""
    count = min(count, len(rows))
    return rows[np.arange(count) * (len(rows) - 1) // max(1, count - 1)]

"""Search for the errors that fit best: a grid, then steps of a quadratic fit from coarse to fine.

The spread of the result is that of a bootstrap over blocks of neighbouring key frames, as these see the same
things.

Axes: `k` errors that are searched, `d` points of a design, `F` key frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from occfeat.data.check.alignment.image_edges import LEVELS
from occfeat.data.check.alignment.match import Match, degrees_per_pixel

PITCH_DEG, YAW_DEG, TIME_S = (-2, -1, 0, 1, 2), (-3, -2, -1, 0, 1, 2, 3), (-0.08, -0.04, 0, 0.04, 0.08)
"""The grid at the coarsest level."""
STEP_PX = (1.5, 1.5, 2.5)
"""Steps of the design about each axis, in pixels of the level."""
STEP_S = (0.02, 0.03, 0.05)
"""Steps of the design in time at each level."""
MOST_STEPS, FARTHEST, SMALLEST = 6, 2.0, 0.08
"""Number of steps at a level, largest length of one in steps of the design, and that at which it ends."""
BLOCKS, DRAWS = 12, 300
"""Number of blocks of key frames, and draws of the bootstrap."""


@dataclass(frozen=True)
class Fit:
    """The errors of a camera that fit best."""

    errors: Float64[ndarray, "4"]
    """About x, y and z of the camera in degrees, and in time in seconds. Those not searched are 0."""
    spread: Float64[ndarray, "4"]
    """Standard deviation of each; NaN if not searched."""
    score: tuple[float, float]
    """The score without errors and with them, -1 to 1."""
    gains: float
    """Share of the draws in which the score with errors is the better one."""


class Scorer:
    """The score of one camera, over all its key frames.

    Args:
        matches: Groups of key frames, each with optics of its own.
    """

    def __init__(self, matches: Sequence[Match]) -> None:
        self.matches = matches

    def sums(self, errors: Float64[ndarray, "4"], level: int) -> Float64[ndarray, "F 2"]:
        """Return what `Match.sums` does, for all key frames."""
        return np.concatenate([one.sums(errors, level) for one in self.matches])

    def score(self, errors: Float64[ndarray, "4"], level: int) -> float:
        """Return the mean strength of image edges below depth edges, beyond what is usual there."""
        return float(_ratio(self.sums(errors, level).sum(axis=0)))

    def design_steps(self, level: int) -> Float64[ndarray, "4"]:
        """Return the steps of the design at a level."""
        pixel_deg = degrees_per_pixel(self.matches[0].optics, level)
        return np.array([*(step * pixel_deg for step in STEP_PX), STEP_S[level]])


def fit(scorer: Scorer, *, with_time: bool) -> Fit:
    """Search for the errors of a camera.

    Args:
        scorer: Its score.
        with_time: Whether a shift in time is searched, too. It shows only if the car moves.
    """
    used = np.arange(4 if with_time else 3)
    errors = _best_of_grid(scorer, with_time)
    for level in reversed(range(LEVELS)):
        errors = _climb(scorer, errors, level, used)
    return _with_spread(scorer, errors, used)


def design(count: int) -> Float64[ndarray, "d k"]:
    """Return the points at which a quadratic form is fitted: the centre, the axes, and pairs of axes."""
    points = [np.zeros(count)]
    for axes in (*combinations(range(count), 1), *combinations(range(count), 2)):
        for signs in product((-1, 1), repeat=len(axes)):
            point = np.zeros(count)
            point[list(axes)] = signs
            points.append(point)
    return np.array(points)


def best_step(
    values: Float64[ndarray, " d"], points: Float64[ndarray, "d k"], farthest: float = FARTHEST
) -> Float64[ndarray, " k"]:
    """Return the step of at most some length to the maximum of the quadratic form through some values."""
    count = points.shape[1]
    first, second = np.triu_indices(count)
    columns = (np.ones((len(points), 1)), points, points[:, first] * points[:, second])
    coefficients = np.linalg.lstsq(np.hstack(columns), values, rcond=None)[0]
    slope, bend = coefficients[1 : count + 1], np.zeros((count, count))
    bend[first, second] = coefficients[count + 1 :]
    curve, axes = np.linalg.eigh(bend + bend.T)
    along = axes.T @ slope
    low = max(0.0, float(curve.max()) + 1e-12)
    high = low + float(np.linalg.norm(along)) / farthest + float(np.abs(curve).max()) + 1e-12
    if curve.max() < 0 and np.linalg.norm(along / curve) <= farthest:
        return np.asarray(axes @ (-along / curve))
    for _ in range(50):  # the multiplier at which the step has the largest length
        middle = (low + high) / 2
        low, high = (middle, high) if np.linalg.norm(along / (middle - curve)) > farthest else (low, middle)
    return np.asarray(axes @ (along / (high - curve)))


def _ratio(sums: Float64[ndarray, "*d 2"]) -> Float64[ndarray, "*d"]:
    """Return strength by weight."""
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1e-9))


def _best_of_grid(scorer: Scorer, with_time: bool) -> Float64[ndarray, "4"]:
    """Return the best errors of the grid."""
    times_s = TIME_S if with_time else (0.0,)
    grid = [np.array([x, y, 0.0, time_s]) for x, y, time_s in product(PITCH_DEG, YAW_DEG, times_s)]
    return grid[int(np.argmax([scorer.score(errors, LEVELS - 1) for errors in grid]))]


def _climb(scorer: Scorer, errors: Float64[ndarray, "4"], level: int, used: ndarray) -> ndarray:
    """Return errors with a better score nearby, by steps of quadratic fits that never make it worse."""
    points, steps, farthest = design(len(used)), scorer.design_steps(level)[used], FARTHEST
    for _ in range(MOST_STEPS):
        tried = _around(errors, points * steps, used)
        values = np.array([scorer.score(one, level) for one in tried])
        new = _around(errors, best_step(values, points, farthest)[None] * steps, used)[0]
        score, best = scorer.score(new, level), int(values.argmax())
        if values[best] > score:
            new, score = tried[best], values[best]
        if score <= values[0]:
            farthest /= 3
            if farthest < 0.2:
                break
            continue
        moved = np.abs((new - errors)[used] / steps).max()
        errors = new
        if moved < SMALLEST:
            break
    return errors


def _around(errors: ndarray, offsets: Float64[ndarray, "d k"], used: ndarray) -> Float64[ndarray, "d 4"]:
    """Return errors with offsets in those that are searched."""
    moved = np.repeat(errors[None], len(offsets), axis=0)
    moved[:, used] += offsets
    return moved


def _with_spread(scorer: Scorer, errors: Float64[ndarray, "4"], used: ndarray) -> Fit:
    """Return the errors as the mean of a bootstrap around the best ones, and their spread."""
    points, steps = design(len(used)), scorer.design_steps(0)[used]
    values = np.array([scorer.sums(one, 0) for one in _around(errors, points * steps, used)])
    given = scorer.sums(np.zeros(4), 0)
    frames, random = len(given), np.random.default_rng(0)
    block = np.arange(frames) * min(BLOCKS, frames) // frames
    found, better = np.zeros((DRAWS, len(used))), np.zeros(DRAWS, dtype=bool)
    for draw in range(DRAWS):
        drawn = np.bincount(random.integers(0, block[-1] + 1, block[-1] + 1), minlength=block[-1] + 1)[block]
        scores = _ratio(np.einsum("dfs,f->ds", values, drawn))
        found[draw] = best_step(scores, points) * steps
        better[draw] = scores[0] > _ratio(drawn @ given)
    mean = _around(errors, found.mean(axis=0)[None], used)[0]
    spread = np.full(4, np.nan)
    spread[used] = found.std(axis=0)
    return Fit(mean, spread, (scorer.score(np.zeros(4), 0), scorer.score(mean, 0)), float(better.mean()))

"""Poses that contradict what the LiDAR sees of the motion of the car between key frames.

Things beside the road are drawn on a raster in both key frames of a pair. Where the rasters match best is how
far the car has moved.

Axes: `P` returns, `c` cells along each side of the raster.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from occfeat.data.index.index import Index
from occfeat.data.index.subsets import successors
from occfeat.data.sweeps.points import read_points
from occfeat.errors import KeyFrameError

PAIRS = 6
"""Number of pairs of key frames that are compared."""
CELL_M, CELLS = 0.5, 192
"""Side of a cell, and number of cells along each side of the raster."""
HEIGHT_M = (0.8, 4.0)
"""Heights in the ego frame between which returns are of things and not of the ground."""
OWN_M = 3.0
"""Distance up to which returns may be of the car itself."""
USUAL_M = 10.0
"""Motion up to which matches are looked at to know the usual one."""
FARTHEST_M = 30.0
"""Largest motion that the raster tells from none."""
LONGEST_S = 3.0
"""Largest time between the key frames of a pair."""
MATCHED, STANDS_OUT = 30, 1.5
"""Number of cells that match at the best motion, and ratio to the usual number, from which on a pair tells
something."""
FITS = 0.75
"""Smallest share of the best match that the poses must reach, both without the usual match. Real poses have
1.0."""
MIN_WRONG = 1 / 3
"""Smallest share of the pairs of a scene that must contradict its poses. With real poses, none does; where
poses say that the car stands, half of them do."""
APART_M = 1.0
"""Smallest distance between the motion of the poses and that of the LiDAR that is a fault."""


@dataclass(frozen=True)
class Motion:
    """How far the car has moved between two key frames, along x and y of the first one."""

    scene: str
    by_poses_m: Float64[ndarray, "2"]
    by_lidar_m: Float64[ndarray, "2"]
    fit: float
    """How well rasters match at the motion of the poses: 1 is as well as at that of the LiDAR, 0 as usual."""


def faults_of_motion(index: Index, rows: Int64[ndarray, " n"], lidars: tuple[str, ...]) -> Iterator[str]:
    """Find scenes in which the LiDAR sees the car move in another way than the poses say."""
    motions: dict[str, list[Motion]] = {}
    for first, second in successors(index, rows[index.has_poses(rows)], PAIRS):
        try:
            motion = _motion_between(index, int(first), int(second), lidars)
        except KeyFrameError:
            continue  # reported elsewhere
        if motion is not None:
            motions.setdefault(motion.scene, []).append(motion)
    for scene, each in motions.items():
        if fault := fault_of_motions(each):
            yield f"{scene}: {fault}"


def fault_of_motions(motions: Sequence[Motion]) -> str:
    """Return whether some motions of a scene by its poses are not those that the LiDAR sees.

    Walls along the road hide motion, so that not all of the pairs of a scene with wrong poses tell it.
    """
    wrong = [one for one in motions if one.fit < FITS and _apart_m(one) > APART_M]
    if not wrong or len(wrong) < MIN_WRONG * len(motions):
        return ""
    worst = max(wrong, key=_apart_m)
    (x, y), (seen_x, seen_y) = worst.by_poses_m.round(1) + 0.0, worst.by_lidar_m.round(1) + 0.0
    by_poses = f"({x:.1f}, {y:.1f}) m"
    return f"the LiDAR sees the car move by ({seen_x:.1f}, {seen_y:.1f}) m where its poses say {by_poses}"


def _apart_m(motion: Motion) -> float:
    """Return the distance between the two motions."""
    return float(np.linalg.norm(motion.by_poses_m - motion.by_lidar_m))


def _motion_between(index: Index, first: int, second: int, lidars: tuple[str, ...]) -> Motion | None:
    """Measure the motion between two key frames; None if it cannot be told."""
    before, after = (index.key_frame(row, lidars=lidars) for row in (first, second))
    if (after.timestamp_us - before.timestamp_us) > LONGEST_S * 1e6:
        return None
    before_from_after = np.linalg.inv(before.global_from_ego.numpy()) @ after.global_from_ego.numpy()
    if np.linalg.norm(before_from_after[:2, 3]) > FARTHEST_M:
        return None
    points, later = (
        read_points(index.source, one.sweeps).points_ego.double().numpy() for one in (before, after)
    )
    return measure_motion(before.scene, points, later, before_from_after)


def measure_motion(
    scene: str,
    before: Float64[ndarray, "_ 3"],
    after: Float64[ndarray, "_ 3"],
    before_from_after: Float64[ndarray, "4 4"],
) -> Motion | None:
    """Measure the motion between two sweeps, turned by what the poses say; None if it cannot be told."""
    reference = cv2.dilate(_raster(before), np.ones((3, 3)), borderType=cv2.BORDER_CONSTANT)
    moved = _raster(after @ before_from_after[:3, :3].T)
    match = np.fft.irfft2(np.fft.rfft2(reference) * np.conj(np.fft.rfft2(moved)), s=reference.shape)
    at = np.fft.fftfreq(CELLS, 1 / CELLS)
    within = np.hypot(at[:, None], at[None]) * CELL_M <= FARTHEST_M
    usual = float(np.median(match[np.hypot(at[:, None], at[None]) * CELL_M <= USUAL_M]))
    match = np.where(within, match, 0)
    best = np.unravel_index(int(match.argmax()), match.shape)
    if match[best] < max(MATCHED, STANDS_OUT * usual):
        return None
    given_m = before_from_after[:2, 3]
    x, y = np.floor(given_m / CELL_M).astype(int)
    near = max(match[(x + i) % CELLS, (y + j) % CELLS] for i in (0, 1) for j in (0, 1))
    seen_m = CELL_M * np.array([at[best[0]], at[best[1]]])
    return Motion(scene, given_m, seen_m, float((near - usual) / (match[best] - usual)))


def _raster(points_ego: Float64[ndarray, "_ 3"]) -> Float32[ndarray, "c c"]:
    """Return which cells around the car hold returns of things; `points_ego` may be turned about the car."""
    far_m = np.hypot(points_ego[:, 0], points_ego[:, 1])
    with np.errstate(invalid="ignore"):
        of_things = (points_ego[:, 2] > HEIGHT_M[0]) & (points_ego[:, 2] < HEIGHT_M[1]) & (far_m > OWN_M)
    cell = np.floor(points_ego[of_things, :2] / CELL_M).astype(np.int64) + CELLS // 2
    cell = cell[((cell >= 0) & (cell < CELLS)).all(1)]
    raster = np.zeros((CELLS, CELLS), dtype=np.float32)
    raster[cell[:, 0], cell[:, 1]] = 1
    return raster

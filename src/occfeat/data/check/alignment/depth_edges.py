"""Edges of depth in a LiDAR sweep: where a return is much nearer than its neighbour.

Neighbours are the next firing of the same beam, and the next beam of the same firing. The edge lies half way
between both rays, at the distance of the nearer return: that is where it is expected.

Axes: `P` returns, `E` edges, `B A` beams by azimuth.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from occfeat.data.source.sweep import Sweep
from occfeat.data.sweeps.points import beam_of

OWN_RADIUS_M = 1.5
"""Nearer returns hit the car itself."""
JUMP = (0.5, 0.06)
"""Smallest jump in depth, in metres and relative to the distance."""
SMOOTH = 3.0
"""How many times the slope before it a jump must be, in inverse distance: walls and ground are no edges."""
BEAMS_FROM_M = 12.0
"""Distance from which on edges between beams count. On nearer things, the camera, which is lower than the
LiDAR, sees another edge of the roof."""
AZIMUTHS = (180, 4096)
"""Smallest and largest number of firings in a revolution."""
ASIDE = 0.1
"""Part of the way to the far neighbour at which the second point lies that gives an edge its direction."""


@dataclass(frozen=True)
class DepthEdges:
    """Edges of depth, in any frame."""

    points: Float64[ndarray, "E 3"]
    """Where they are, in metres."""
    aside: Float64[ndarray, "E 3"]
    """Points a little towards the far side."""
    weight: Float64[ndarray, " E"]
    """Root of the jump relative to the larger distance, 0 to 1 (Levinson and Thrun's power of 1/2)."""

    def moved(self, a_from_b: Float64[ndarray, "4 4"]) -> "DepthEdges":
        """Return the edges in frame a."""
        points, aside = (one @ a_from_b[:3, :3].T + a_from_b[:3, 3] for one in (self.points, self.aside))
        return DepthEdges(points, aside, self.weight)


def find_edges(sweep: Sweep) -> DepthEdges:
    """Return the edges of depth of a sweep, in the frame of its points."""
    beam = beam_of(sweep) if len(sweep.points) else np.zeros(0, dtype=np.int64)
    origin = np.zeros(3) if sweep.origins is None else sweep.origins.astype(np.float64)
    ray = sweep.points[:, :3].astype(np.float64) - origin
    with np.errstate(invalid="ignore"):
        used = np.linalg.norm(ray, axis=1) > OWN_RADIUS_M  # false for what is not finite
    ray, beam = ray[used], beam[used]
    origin = np.broadcast_to(origin, (len(used), 3))[used]
    if len(ray) < AZIMUTHS[0]:
        return DepthEdges(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0))
    distance_m = np.linalg.norm(ray, axis=1)
    unit = ray / distance_m[:, None]
    image = _range_image(unit, beam)
    found = [
        _edges_towards(image, distance_m, down, along) for down, along in ((0, 1), (0, -1), (1, 0), (-1, 0))
    ]
    near, far = (np.concatenate(part) for part in zip(*found, strict=True))
    between = unit[near] + unit[far]
    between *= (distance_m[near] / np.linalg.norm(between, axis=1))[:, None]
    across = ASIDE * distance_m[near, None] * (unit[far] - unit[near])
    weight = np.sqrt(1 - distance_m[near] / distance_m[far])
    return DepthEdges(origin[near] + between, origin[near] + between + across, weight)


def _range_image(unit: Float64[ndarray, "P 3"], beam: ndarray) -> ndarray:
    """Return the number of the return at each beam, from below, and azimuth; -1 where there is none."""
    azimuth = np.arctan2(unit[:, 1], unit[:, 0])
    order = np.lexsort((azimuth, beam))
    step = np.diff(azimuth[order])[np.diff(beam[order]) == 0]
    step = step[step > 1e-5]
    turn = 2 * np.pi
    count = int(np.clip(round(turn / np.median(step)) if len(step) else 0, *AZIMUTHS))
    column = ((azimuth + np.pi) / turn * count).astype(np.int64) % count
    numbers = np.unique(beam)
    height = np.array([np.median(unit[beam == number, 2]) for number in numbers])  # a few dozen
    rank = np.empty(len(numbers), dtype=np.int64)
    rank[height.argsort()] = np.arange(len(numbers))
    image = np.full((len(numbers), count), -1)
    image[rank[np.searchsorted(numbers, beam)], column] = np.arange(len(unit))
    return image


def _edges_towards(
    image: ndarray, distance_m: Float64[ndarray, " P"], down: int, along: int
) -> tuple[ndarray, ndarray]:
    """Return the near and the far return of each edge whose far side lies in one direction."""
    here, there, before = image, _neighbour(image, down, along), _neighbour(image, -down, -along)
    known = (here >= 0) & (there >= 0)
    if down:
        known &= before >= 0
    here, there, before = here[known], there[known], before[known]
    near_m, far_m = distance_m[here], distance_m[there]
    slope = np.where(before >= 0, np.abs(1 / distance_m[before] - 1 / near_m), 0)
    edge = far_m - near_m > np.maximum(JUMP[0], JUMP[1] * near_m)
    edge &= 1 / near_m - 1 / far_m > SMOOTH * slope
    if down:
        edge &= near_m > BEAMS_FROM_M
    return here[edge], there[edge]


def _neighbour(image: ndarray, down: int, along: int) -> ndarray:
    """Return the neighbour of each cell: azimuths go round, beams do not."""
    moved = np.roll(image, (-down, -along), axis=(0, 1))
    if down:
        moved[-1 if down > 0 else 0] = -1
    return moved

"""Windows of sweeps in plain Python: slow, and obviously right."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from occfeat.geometry.grid import VoxelGrid

Cell = tuple[int, int, int]
Point = Sequence[float]


def segments(origin_ego: Point, point_ego: Point, grid: VoxelGrid) -> Iterator[tuple[Cell, float]]:
    """Yield each voxel that a ray passes through, and the length inside it in cells.

    The ray is cut at every plane between cells; each piece lies in one voxel, that of its middle.
    """
    begin = [(a - low) / cell for a, low, cell in zip(origin_ego, grid.lower_m, grid.cell_m, strict=True)]
    end = [(a - low) / cell for a, low, cell in zip(point_ego, grid.lower_m, grid.cell_m, strict=True)]
    cuts = {0.0, 1.0}
    for a, b, count in zip(begin, end, grid.shape, strict=True):
        cuts |= {(plane - a) / (b - a) for plane in range(count + 1) if a != b}
    inside = sorted(cut for cut in cuts if 0 <= cut <= 1)
    for one, other in pairwise(inside):
        middle = [a + (one + other) / 2 * (b - a) for a, b in zip(begin, end, strict=True)]
        x, y, z = (math.floor(value) for value in middle)
        if all(0 <= index < count for index, count in zip((x, y, z), grid.shape, strict=True)):
            yield (x, y, z), (other - one) * math.dist(begin, end)


@dataclass(frozen=True)
class Seen:
    """What a sweep says of a voxel: numbers of the slices that it hits and crosses."""

    hit: set[int]
    crossed: set[int]


def state(
    key: Seen, before: Sequence[Seen], after: Sequence[Seen], *, on_ground: bool, believe_hits: bool
) -> tuple[str, bool]:
    """Return the state of a voxel, and whether rays conflict there.

    Args:
        key: What the key sweep says.
        before: What each sweep before it says.
        after: What each sweep after it says.
        on_ground: Whether nobody hits anything below, nearby.
        believe_hits: Whether rays count that pass below hits.
    """
    others = [*before, *after]
    hits = [one for one in others if one.hit]
    crosses = [one for one in others if one.crossed and not one.hit]
    highest = max((slice_ for one in hits for slice_ in one.hit), default=-1)
    cleared = any(slice_ < highest for one in (key, *others) for slice_ in one.crossed)
    both_sides = any(one.hit for one in before) and any(one.hit for one in after)
    gone = [
        below for below in range(max(key.hit, default=0)) if sum(below in one.crossed for one in others) >= 2
    ]
    moved = len(hits) >= 2 and cleared and not key.hit
    conflict = moved or bool(gone and not hits)
    if key.hit or (len(hits) >= 2 and believe_hits):
        return "occupied", conflict
    if len(hits) >= 2 and not cleared:
        return ("occupied" if both_sides or on_ground else "unknown"), conflict
    if key.crossed or (len(crosses) >= 2 and not hits):
        return "empty", conflict
    return "unknown", conflict


def is_on_ground(hit: Callable[[Cell], bool], cell: Cell, around: tuple[int, int], shape: Cell) -> bool:
    """Return whether nothing is hit below a voxel in the columns around it."""
    x, y, z = cell
    columns = [
        (one, other)
        for one in range(max(0, x - around[0]), min(shape[0], x + around[0] + 1))
        for other in range(max(0, y - around[1]), min(shape[1], y + around[1] + 1))
    ]
    return not any(hit((*column, lower)) for column in columns for lower in range(z))

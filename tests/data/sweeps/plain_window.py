"""Windows of sweeps in plain Python: slow, and obviously right."""

import math
from collections.abc import Iterator, Sequence
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


def state(
    hits: bool, crosses: bool, others: Sequence[tuple[bool, bool]], *, believe_key_sweep: bool
) -> tuple[str, bool]:
    """Return the state of a voxel, and whether rays conflict there.

    Args:
        hits: Whether the key sweep hits it.
        crosses: Whether the key sweep crosses it.
        others: Whether each other sweep hits and crosses it, in the order of time.
        believe_key_sweep: Whether crossing rays of the key sweep and later ones count against hits.
    """
    hit_by = [number for number, (hit, _) in enumerate(others) if hit]
    crossed_by = [number for number, (_, crossed) in enumerate(others) if crossed]
    often_hit, often_crossed = len(hit_by) >= 2, len(crossed_by) >= 2
    cleared = crosses or any(number > hit_by[-1] for number in crossed_by if hit_by)
    conflict = (often_hit and cleared and not hits) or (hits and often_crossed and not hit_by)
    if hits:
        return "occupied", conflict
    if often_hit and not (believe_key_sweep and cleared):
        return "occupied", conflict
    if crosses or (often_crossed and not hit_by):
        return "empty", conflict
    return "unknown", conflict

"""The land between the roads: blocks bounded by kerbs, cut into triangles.

Axes: `T` triangles; an outline is a list of points.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from streetworld.town.curves import thin
from streetworld.town.network import Junction, Network, Road

Outline = Float[np.ndarray, "_ 2"]


def block_outlines(network: Network) -> list[Outline]:
    """Return the borders of all blocks; the last one is the inner border of the open country around the town.

    Blocks are found by walking along kerbs with the block on the right: round a corner of a junction, along
    the road it leads to, round the next corner, until the walk closes.
    """
    left = {
        (junction.index, number) for junction in network.junctions for number in range(len(junction.arms))
    }
    outlines = []
    while left:
        start = min(left)
        corner, pieces = start, []
        while True:
            left.discard(corner)
            junction = network.junctions[corner[0]]
            arm = junction.arms[(corner[1] + 1) % len(junction.arms)]
            pieces.append(junction.corners[corner[1]].curve.points)
            road = network.roads[arm.road]
            pieces.append(_kerb_outward(road, arm.at_start)[1:-1])
            corner = _arrival(network.junctions[road.ends[1 if arm.at_start else 0]], road, not arm.at_start)
            if corner == start:
                break
        outlines.append(thin(np.concatenate(pieces)))
    # Walked with the land on the right, blocks are clockwise and the border of the country is not.
    return sorted(outlines, key=_signed_area)


def _kerb_outward(road: Road, from_start: bool) -> Outline:
    """Return the kerb on the right of a road seen from one of its ends, towards the other."""
    return road.kerb(-1).points if from_start else road.kerb(1).points[::-1]


def _arrival(junction: Junction, road: Road, at_start: bool) -> tuple[int, int]:
    """Return the corner that begins on the left of a road, seen out of the junction."""
    for number, arm in enumerate(junction.arms):
        if arm.road == road.index and arm.at_start == at_start:
            return junction.index, number
    raise ValueError(f"road {road.index} does not meet junction {junction.index}")


def _signed_area(outline: Outline) -> float:
    """Return the area of an outline, positive if it runs counter-clockwise."""
    x, y = outline.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def triangulate(outlines: Sequence[Outline]) -> Float[np.ndarray, "T 3 2"]:
    """Return the triangles that fill what lies inside an odd number of outlines.

    Between the heights of neighbouring points no outline bends, so what lies there are trapezoids.
    """
    start = np.concatenate(outlines)
    end = np.concatenate([np.roll(outline, -1, axis=0) for outline in outlines])
    heights = np.unique(np.round(start[:, 1], 6))
    low, high = heights[:-1], heights[1:]
    middle = (low + high) / 2
    bottom, top = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    crosses = (bottom < middle[:, None]) & (top > middle[:, None])
    slab, edge = np.nonzero(crosses)

    def cut(height: Float[np.ndarray, " S"]) -> Float[np.ndarray, " C"]:
        """Return the x of every edge at a height in its slab."""
        rise = end[edge, 1] - start[edge, 1]
        share = (height[slab] - start[edge, 1]) / rise
        return start[edge, 0] + np.clip(share, 0, 1) * (end[edge, 0] - start[edge, 0])

    order = np.lexsort((cut(middle), slab))
    x_low, x_high, slab = cut(low)[order], cut(high)[order], slab[order]
    first, second = slice(0, None, 2), slice(1, None, 2)
    corners = [
        np.stack((x, y), axis=-1)
        for x, y in (
            (x_low[first], low[slab[first]]),
            (x_low[second], low[slab[second]]),
            (x_high[second], high[slab[second]]),
            (x_high[first], high[slab[first]]),
        )
    ]
    a, b, c, d = corners
    return np.concatenate((np.stack((a, b, c), axis=1), np.stack((a, c, d), axis=1)))

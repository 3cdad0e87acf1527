"""Boxes that contradict the car and the LiDAR: far away, off the ground, turned, or empty.

Axes: `n` boxes, `P` returns, `t` turns.
"""

import math

import torch
from jaxtyping import Bool, Float, Int64
from numpy import ndarray
from torch import Tensor

from occfeat.data.keyframe import Boxes

FARTHEST_M = 300.0
"""Largest median distance of boxes from the car. Real ones are 20 to 60 m."""
OFF_GROUND_M = 5.0
"""Largest median distance of the lower faces of boxes from z = 0. Real ones are below 1.5 m."""
MANY = 10
"""Smallest number of boxes that tell something."""
MARGIN_M = 0.2
"""What is added to each side of a box before returns in it are looked for."""
GROUND_M = 0.25
"""Height above the lower face of a box up to which a return may be of the ground."""
LONG, TELLING = 1.5, 8
"""Ratio of the sides from which on a box tells how it is turned, and number of returns that it needs."""
TURNS_DEG = (0.0, 22.5, 45.0, 67.5, 90.0, 112.5, 135.0, 157.5)
"""Turns about the upright axis that are tried."""
LOSES, HOLDS = 0.75, 0.8
"""A box is turned if it holds less than the first share of the returns that its best turn holds, and that
one more than the second share of all that any turn could hold."""
MAX_TURNED = 0.25
"""Largest share of turned boxes. Real ones are 0.04."""
MIN_HOLD, MIN_HOLD_OF_SOME = 0.7, 0.3
"""Share of the boxes with `num_lidar_pts` above 0 that must hold a return, of all LiDARs or of some. Real
sets have 0.91 to 1.0. With the poses of the next key frame, a real scene has 0.6."""
AROUND_M = (0.3, 1.5)
"""Distances from a box between which the ground around it is looked for."""
SUNK = 0.3
"""Largest median distance of the ground from the lower face of a box, in heights of the box. Real ones are
below 0.05. Where positions are those of the lower faces, it is 0.5."""


def fault_of_places(boxes: list[Boxes]) -> str:
    """Return whether boxes are not where a car could see them: they are probably in another frame."""
    if sum(map(len, boxes)) < MANY:
        return ""
    center = torch.cat([one.center_ego for one in boxes])
    bottom = center[:, 2] - torch.cat([one.size_m for one in boxes])[:, 2] / 2
    far_m, high_m = float(center[:, :2].norm(dim=1).median()), float(bottom.median())
    if far_m > FARTHEST_M:
        return f"half of the boxes are more than {far_m:.0f} m from the car"
    if abs(high_m) > OFF_GROUND_M:
        return f"half of the boxes stand {high_m:.1f} m off the ground"
    return ""


def fault_of_sizes(boxes: list[Boxes], cars: tuple[str, ...]) -> str:
    """Return whether most cars are wider than long: their sizes are probably in another order.

    Args:
        boxes: Boxes by key frame.
        cars: Beginnings of the names of their categories.
    """
    sizes = [one.size_m[one.in_categories(cars)] for one in boxes]
    size_m = torch.cat(sizes) if sizes else torch.zeros((0, 3))
    if len(size_m) < MANY or (share := float((size_m[:, 1] > size_m[:, 0]).double().mean())) <= 0.5:
        return ""
    return f"{100 * share:.0f} % of the cars are wider than long; {_ORDER}"


_ORDER = "sizes are width, length, height, and rotations w, x, y, z"


def are_long(boxes: Boxes) -> Bool[Tensor, " n"]:
    """Return which boxes have sides of different lengths, so that returns tell how they are turned."""
    length, width = boxes.size_m[:, 0], boxes.size_m[:, 1]
    return (length > LONG * width) | (width > LONG * length)


def count_returns(boxes: Boxes, points_ego: Float[Tensor, "P 3"]) -> Int64[Tensor, "n turns"]:
    """Return how many returns each box holds that are not of the ground below it, for each of `TURNS_DEG`.

    The last column is how many any turn about its centre could hold.
    """
    held = torch.zeros((len(boxes), len(TURNS_DEG) + 1), dtype=torch.int64)
    turn_rad = torch.deg2rad(torch.tensor(TURNS_DEG, dtype=points_ego.dtype))
    cos, sin = turn_rad.cos(), turn_rad.sin()
    for number, offset_box in enumerate(_near(boxes, points_ego, 2 * MARGIN_M)):
        half_m = boxes.size_m[number] / 2
        above = offset_box[offset_box[:, 2].abs() <= half_m[2] + MARGIN_M]
        x, y = above[above[:, 2] > GROUND_M - half_m[2], :2].T[..., None]
        along, across = (x * cos + y * sin).abs(), (y * cos - x * sin).abs()
        inside = (along <= half_m[0] + MARGIN_M) & (across <= half_m[1] + MARGIN_M)
        held[number, :-1] = inside.sum(0)
        held[number, -1] = (torch.hypot(x, y) <= half_m[:2].norm() + MARGIN_M).sum()
    return held


def ground_around(boxes: Boxes, points_ego: Float[Tensor, "P 3"]) -> Float[Tensor, " n"]:
    """Return how high the ground around each box is above its lower face, in heights of the box.

    NaN where too few returns are around it.
    """
    height = torch.full((len(boxes),), math.nan, dtype=points_ego.dtype)
    for number, offset_box in enumerate(_near(boxes, points_ego, AROUND_M[1])):
        size_m = boxes.size_m[number]
        outside = ((offset_box[:, :2].abs() - size_m[:2] / 2) > AROUND_M[0]).any(1)
        if int(outside.sum()) >= TELLING:
            height[number] = offset_box[outside, 2].quantile(0.1) / size_m[2] + 0.5
    return height


def _near(boxes: Boxes, points_ego: Float[Tensor, "P 3"], margin_m: float) -> list[Float[Tensor, "_ 3"]]:
    """Return the returns around each box, in its frame: those that its sides and a margin reach."""
    points_ego = points_ego[points_ego[:, 0].argsort()]
    x, reach_m = points_ego[:, 0].contiguous(), boxes.size_m[:, :2].norm(dim=1) / 2 + margin_m
    begin = torch.searchsorted(x, boxes.center_ego[:, 0] - reach_m).tolist()
    end = torch.searchsorted(x, boxes.center_ego[:, 0] + reach_m).tolist()
    near = []
    for number in range(len(boxes)):  # a few dozen
        offset = points_ego[begin[number] : end[number]] - boxes.center_ego[number]
        offset = offset[offset[:, :2].norm(dim=1) <= reach_m[number]]
        near.append(offset @ boxes.ego_from_box[number])
    return near


def fault_of_returns(held: Int64[ndarray, "n turns"], least: float = MIN_HOLD) -> str:
    """Return whether too many boxes that count returns hold none of them.

    Args:
        held: Returns in each box; see `count_returns`.
        least: Smallest share of boxes that must hold some.
    """
    share = float((held[:, 0] > 0).mean()) if len(held) >= MANY else 1.0
    return "" if share >= least else f"{100 * share:.0f} % of the boxes that count LiDAR returns hold any"


def fault_of_turns(held: Int64[ndarray, "n turns"]) -> str:
    """Return whether many long boxes hold clearly more returns if they are turned; see `count_returns`."""
    held = held[held[:, :-1].max(1, initial=0) >= TELLING]
    best = held[:, :-1].max(1, initial=0)
    turned = (held[:, 0] < LOSES * best) & (best > HOLDS * held[:, -1])
    if len(held) < MANY or turned.mean() <= MAX_TURNED:
        return ""
    usual = TURNS_DEG[int((held[turned, :-1] == best[turned, None]).sum(0).argmax())]
    by = f"by {usual:g} degrees" if usual == 90 else "about z"
    what = f"{100 * turned.mean():.0f} % of the long boxes hold more LiDAR returns if they are turned {by}"
    return f"{what}; {_ORDER}"


def fault_of_heights(ground: Float[ndarray, " n"]) -> str:
    """Return whether the ground is not at the lower faces of boxes; see `ground_around`."""
    if len(ground) < MANY or abs(median := float(torch.from_numpy(ground).median())) <= SUNK:
        return ""
    where = "above" if median > 0 else "below"
    by = f"{100 * abs(median):.0f} % of their height {where}"
    return f"the ground around half of the boxes is {by} their lower faces; positions are those of centres"

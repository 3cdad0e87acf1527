"""Boxes that contradict the car and the LiDAR: far away, off the ground, without the returns they count.

Axes: `n` boxes, `P` returns.
"""

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
LONG, TELLING = 1.5, 5
"""Ratio of length and width above which a box tells how it is turned, and number of returns that it needs."""
MAX_TURNED = 0.4
"""Largest share of long boxes that hold more returns if they are turned by 90 degrees. Real ones are 0.08."""
MIN_HOLD = 0.3
"""Share of the boxes with `num_lidar_pts` above 0 that must hold a return. Real sets have 1.0."""


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


def are_long(boxes: Boxes) -> Bool[Tensor, " n"]:
    """Return which boxes are longer than wide."""
    return boxes.size_m[:, 0] > LONG * boxes.size_m[:, 1]


def count_returns(boxes: Boxes, points_ego: Float[Tensor, "P 3"]) -> Int64[Tensor, "n 2"]:
    """Return how many returns each box holds that are not of the ground below it.

    The second column is that of boxes with length and width exchanged, which is a turn by 90 degrees.
    """
    held = torch.zeros((len(boxes), 2), dtype=torch.int64)
    points_ego = points_ego[points_ego[:, 0].argsort()]
    x, reach_m = points_ego[:, 0].contiguous(), boxes.size_m.norm(dim=1) / 2 + 2 * MARGIN_M
    begin = torch.searchsorted(x, boxes.center_ego[:, 0] - reach_m).tolist()
    end = torch.searchsorted(x, boxes.center_ego[:, 0] + reach_m).tolist()
    for number in range(len(boxes)):  # a few dozen
        offset = points_ego[begin[number] : end[number]] - boxes.center_ego[number]
        offset_box, half_m = offset @ boxes.ego_from_box[number], boxes.size_m[number] / 2
        above = offset_box[:, 2] > GROUND_M - half_m[2]
        for column, half in enumerate((half_m, half_m[[1, 0, 2]])):
            held[number, column] = ((offset_box.abs() <= half + MARGIN_M).all(1) & above).sum()
    return held


def fault_of_returns(held: Int64[ndarray, "n 2"]) -> str:
    """Return whether boxes that count returns hold none of them in most cases; see `count_returns`."""
    share = 100 * (held[:, 0] > 0).mean() if len(held) >= MANY else 100.0
    return "" if share >= 100 * MIN_HOLD else f"{share:.0f} % of the boxes that count LiDAR returns hold any"


def fault_of_sides(held: Int64[ndarray, "n 2"]) -> str:
    """Return whether many long boxes hold more returns if they are turned; see `count_returns`."""
    held = held[held.sum(1) >= TELLING]
    if len(held) < MANY or (share := (held[:, 1] > held[:, 0]).mean()) <= MAX_TURNED:
        return ""
    what = f"{100 * share:.0f} % of the long boxes hold more LiDAR returns if they are turned by 90 degrees"
    return f"{what}; sizes are width, length, height, and rotations w, x, y, z"

"""Boxes that contradict the car and the LiDAR: far away, off the ground, without the returns they count.

Axes: `n` boxes, `P` returns.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
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
        return f"half of the boxes are more than {far_m:.0f} m from the car; they belong in the map frame"
    if abs(high_m) > OFF_GROUND_M:
        return f"half of the boxes stand {high_m:.1f} m off the ground; they belong in the map frame"
    return ""


def hold_returns(boxes: Boxes, points_ego: Float[Tensor, "P 3"]) -> Bool[Tensor, " n"]:
    """Return which boxes hold at least one return that is not of the ground below them."""
    held = torch.zeros(len(boxes), dtype=torch.bool)
    points_ego = points_ego[points_ego[:, 0].argsort()]
    x, reach_m = points_ego[:, 0].contiguous(), boxes.size_m.norm(dim=1) / 2 + 2 * MARGIN_M
    begin = torch.searchsorted(x, boxes.center_ego[:, 0] - reach_m).tolist()
    end = torch.searchsorted(x, boxes.center_ego[:, 0] + reach_m).tolist()
    for number in range(len(boxes)):  # a few dozen
        offset = points_ego[begin[number] : end[number]] - boxes.center_ego[number]
        offset_box, half_m = offset @ boxes.ego_from_box[number], boxes.size_m[number] / 2
        inside = (offset_box.abs() <= half_m + MARGIN_M).all(1) & (offset_box[:, 2] > GROUND_M - half_m[2])
        held[number] = inside.any()
    return held


def fault_of_returns(held: list[Bool[ndarray, " _"]]) -> str:
    """Return whether boxes that count returns hold none of them in most cases; see `hold_returns`."""
    of_all = np.concatenate(held) if held else np.zeros(0, dtype=bool)
    if len(of_all) < MANY or of_all.mean() >= MIN_HOLD:
        return ""
    share = 100 * of_all.mean()
    return f"{share:.0f} % of the boxes that count LiDAR returns hold any; they belong in the map frame"

"""All returns around a key frame with their times, for pictures.

Axes: `P` returns.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from occfeat.data.index.index import Index
from occfeat.data.sweeps.points import read_points
from occfeat.errors import KeyFrameError
from occfeat.settings.sections import ViewConfig


def read_by_time(
    index: Index, view: ViewConfig, row: int, window_s: float
) -> tuple[Float[Tensor, "P 3"], Float[Tensor, " P"]]:
    """Return the returns of all sweeps near a key frame in its ego frame, and their times.

    Sweeps that cannot be read are left out.

    Args:
        index: The data set.
        view: LiDARs, and the radius around them that the car itself fills.
        row: The key frame.
        window_s: Largest distance in time of a sweep from the key frame.

    Returns:
        Returns in metres, and seconds after the key frame, negative before it.

    Raises:
        SettingsError: The ego pose of the key frame is not known.
    """
    key_us = index.timestamp_us(row)
    points_ego, after_s = [torch.empty(0, 3)], [torch.empty(0)]
    for sweep in index.sweeps_within(row, window_s, view.lidars):
        try:
            found = read_points(index.source, [sweep], view.ego_radius_m)
        except KeyFrameError:
            continue
        points_ego.append(found.points_ego)
        after_s.append(torch.full((len(found),), (sweep.timestamp_us - key_us) / 1e6))
    return torch.cat(points_ego), torch.cat(after_s)

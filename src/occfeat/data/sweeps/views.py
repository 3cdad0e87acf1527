"""The teacher's view of a place from several key frames, and which returns hide what (this project's option).

Axes: `N` cameras, `P` returns, `h w` cells of an image.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.teacher import FeatureMaps, TeacherViews
from occfeat.geometry.camera import project, visible_in
from occfeat.geometry.frames import invert, transform_points

HIDING_CELL_PX = 7
"""Width and height of the cells in which returns hide what is behind them: half a patch of DINOv2."""


def farthest_depth(points_ego: Float[Tensor, "P 3"], cameras: Cameras) -> Float[Tensor, "N h w"]:
    """Return the depth of the farthest return in each cell of each image; infinite without a return.

    What lies behind all returns of a cell is hidden. The farthest counts, because a cell at a border, or on
    ground that is seen at a flat angle, holds returns of very different depths.

    Args:
        points_ego: LiDAR returns at the time of the images.
        cameras: Calibration of the images of one key frame.
    """
    points_ego = points_ego.expand(len(cameras.present), -1, -1)
    points_camera = transform_points(invert(cameras.ego_from_camera), points_ego)
    pixels, depth_m = project(cameras.intrinsics, points_camera, cameras.lenses)
    seen = visible_in(cameras.image_size, pixels, depth_m) & cameras.present[:, None]
    height, width = (-(-size // HIDING_CELL_PX) for size in cameras.image_size)
    camera, point = seen.nonzero(as_tuple=True)
    column, row = (pixels[camera, point] / HIDING_CELL_PX).long().unbind(1)
    farthest = torch.zeros(len(seen) * height * width)
    farthest.scatter_reduce_(0, (camera * height + row) * width + column, depth_m[camera, point], "amax")
    farthest[farthest == 0] = torch.inf
    return farthest.view(-1, height, width)


def join_views(views: Sequence[TeacherViews]) -> TeacherViews:
    """Return the views of several key frames as those of one rig."""
    cameras = [view.cameras for view in views]
    if any(one.lenses is not None for one in cameras):
        cameras = [one.with_lenses() for one in cameras]
    lenses = [one.lenses for one in cameras if one.lenses is not None]
    return TeacherViews(
        FeatureMaps(
            torch.cat([view.maps.values for view in views]), torch.cat([view.maps.scales for view in views])
        ),
        Cameras(
            torch.cat([one.intrinsics for one in cameras]),
            torch.cat([one.ego_from_camera for one in cameras]),
            torch.cat([one.present for one in cameras]),
            cameras[0].image_size,
            torch.cat(lenses) if lenses else None,
        ),
        torch.cat([view.own for view in views]),
        torch.cat([view.camera for view in views]),
        torch.cat([view.depth_m for view in views]),
    )

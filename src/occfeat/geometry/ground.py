"""Whether cameras see ground near the car, which tells most impossible calibrations.

Transforms in millimetres, with swapped axes or inverted are rigid, too, but rarely give such a view.

Axes: `N` cameras, `L` numbers of a lens.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from occfeat.geometry import camera
from occfeat.geometry.frames import invert, transform_points


def sees_ground(
    intrinsics: Float[Tensor, "N 3 3"],
    ego_from_camera: Float[Tensor, "N 4 4"],
    lenses: Float[Tensor, "N L"] | None,
    image_size: tuple[int, int],
    *,
    reach_m: float,
    points: int,
) -> Bool[Tensor, " N"]:
    """Return which cameras are above the ground and see some of it within reach of the ego origin.

    Args:
        intrinsics: Matrices in pixels of the images.
        ego_from_camera: Transforms in metres.
        lenses: Their numbers. None: all are pinholes.
        image_size: (height, width) of the images.
        reach_m: Half the side of the square of ground at z = 0.
        points: Points per side of the square, of which a camera must see at least one.
    """
    line = torch.linspace(-reach_m, reach_m, points, dtype=ego_from_camera.dtype)
    ground_ego = torch.cartesian_prod(line, line, line.new_zeros(1)).expand(len(ego_from_camera), -1, -1)
    ground_camera = transform_points(invert(ego_from_camera), ground_ego)
    pixels, depth_m = camera.project(intrinsics, ground_camera, lenses)
    above = ego_from_camera[:, 2, 3] > 0
    return above & camera.visible_in(image_size, pixels, depth_m).any(-1)


def describe_stand(ego_from_camera: Float[Tensor, "4 4"]) -> str:
    """Describe the position and viewing direction of a camera."""
    position, along = (
        ", ".join(f"{round(value, 2) + 0.0:.2f}" for value in ego_from_camera[:3, axis].tolist())
        for axis in (3, 2)
    )
    return f"is at ({position}) m and looks along ({along}) in the ego frame"

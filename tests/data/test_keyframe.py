import math

import torch

from occfeat.data.keyframe import Boxes, transform_from_pose
from occfeat.geometry.frames import rotation_about_z


def one_box(yaw: float) -> Boxes:
    return Boxes(
        tokens=("a",),
        category=("vehicle.car",),
        center_ego=torch.tensor([[10.0, 5.0, 1.0]], dtype=torch.float64),
        size_m=torch.tensor([[4.0, 2.0, 1.5]], dtype=torch.float64),
        ego_from_box=rotation_about_z(torch.tensor([yaw], dtype=torch.float64)),
        visibility=torch.tensor([4]),
        lidar_points=torch.tensor([7]),
        speed_mps=torch.tensor([0.0]),
    )


def test_corners_ego__length_runs_along_x() -> None:
    corners = one_box(0.0).corners_ego()[0]
    bottom = [[12.0, 4, 0.25], [12, 6, 0.25], [8, 6, 0.25], [8, 4, 0.25]]
    torch.testing.assert_close(corners[:4], torch.tensor(bottom, dtype=torch.float64))
    torch.testing.assert_close(
        corners[4:] - corners[:4], torch.tensor([[0, 0, 1.5]] * 4, dtype=torch.float64)
    )


def test_footprint_ego__turned_left() -> None:
    footprint = one_box(math.pi / 2).footprint_ego()[0]
    expected = torch.tensor([[11.0, 7], [9, 7], [9, 3], [11, 3]], dtype=torch.float64)
    torch.testing.assert_close(footprint, expected)


def test_transform_from_pose() -> None:
    half = math.sqrt(0.5)
    transform = transform_from_pose(torch.tensor([1.0, 2, 3, half, 0, 0, half], dtype=torch.float64))
    expected = torch.tensor([[0.0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(transform, expected)

"""Rigs of cameras for tests."""

import math
from dataclasses import replace

import torch

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.camera import rotate
from occfeat.geometry.distortion import stack_lenses
from occfeat.geometry.frames import from_rotation, rotation_about_z, rotation_from_quaternion
from occfeat.geometry.grid import VoxelGrid
from occfeat.geometry.lens import PINHOLE, Lens

SMALL_GRID = VoxelGrid((-8.0, -6.0, -1.0), (8.0, 6.0, 2.0), (1.0, 0.5, 1.0))
SQUARE_GRID = VoxelGrid((-8.0, -8.0, -1.0), (8.0, 8.0, 2.0), (0.5, 0.5, 1.0))

# Camera axes (x right, y down, z forward) of a camera that looks along the ego frame's x axis.
FORWARD = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=torch.float64)


def looking(azimuth_deg: float, position_m: tuple[float, float, float] = (0.0, 0.0, 1.5)) -> torch.Tensor:
    """`ego_from_camera` of a level camera; azimuth 0 looks forward, 90 to the left."""
    turn = rotation_about_z(torch.tensor(math.radians(azimuth_deg), dtype=torch.float64))
    return from_rotation(turn @ FORWARD, torch.tensor(position_m, dtype=torch.float64))


def surround(cameras: int = 6, image_size: tuple[int, int] = (32, 56), focal_px: float = 35.0) -> Cameras:
    """A batch of one rig that looks all around, from the ego frame's z axis."""
    height, width = image_size
    intrinsics = torch.tensor([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    poses = torch.stack([looking(360 / cameras * index) for index in range(cameras)]).float()
    present = torch.ones(1, cameras, dtype=torch.bool)
    return Cameras(intrinsics.expand(1, cameras, 3, 3), poses[None], present, image_size)


def random_cameras(seed: int, batch: int, cameras: int, image_size: tuple[int, int]) -> Cameras:
    """Cameras anywhere near the middle, turned any way; images turned and mirrored, ego frames mirrored.

    About one camera in four is absent.
    """
    random = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=random, dtype=torch.float64)

    height, width = image_size
    intrinsics = torch.zeros(batch, cameras, 3, 3, dtype=torch.float64)
    intrinsics[..., 0, 0] = (0.4 + uniform(batch, cameras)) * width
    intrinsics[..., 1, 1] = (0.4 + uniform(batch, cameras)) * width
    intrinsics[..., 0, 2] = (0.3 + 0.4 * uniform(batch, cameras)) * width
    intrinsics[..., 1, 2] = (0.3 + 0.4 * uniform(batch, cameras)) * height
    intrinsics[..., 2, 2] = 1
    intrinsics = rotate(image_size, 30 * float(uniform(1)) - 15) @ intrinsics
    mirrored = uniform(batch, cameras) < 0.3
    intrinsics[..., 0, :] = torch.where(
        mirrored[..., None],
        torch.tensor([0, 0, width], dtype=torch.float64) - intrinsics[..., 0, :],
        intrinsics[..., 0, :],
    )
    poses = from_rotation(
        rotation_from_quaternion(uniform(batch, cameras, 4) - 0.5), 4 * uniform(batch, cameras, 3) - 2
    )
    mirror = torch.diag(torch.tensor([1.0, -1, 1, 1], dtype=torch.float64))
    poses = torch.where((uniform(batch) < 0.5)[:, None, None, None], mirror @ poses, poses)
    present = uniform(batch, cameras) < 0.75
    return Cameras(intrinsics.float(), poses.float(), present, image_size)


def rig_of(cameras: Cameras, index: int = 0) -> Cameras:
    """One key frame's calibration."""
    return cameras.of_key_frame(index)


LENSES = (
    Lens("kannala_brandt", (0.05, -0.01, 0.002, 0.0)),
    Lens("brown_conrady", (-0.25, 0.06, 0.001, -0.002)),
    PINHOLE,
    Lens("f_theta", (0.9, 0.05, -0.08)),
)
"""One lens of each model."""


def with_lenses(cameras: Cameras) -> Cameras:
    """The same batch with lenses of all models in turn."""
    lenses = stack_lenses([LENSES[number % len(LENSES)] for number in range(cameras.present.shape[1])])
    assert lenses is not None
    return replace(cameras, lenses=lenses.expand(len(cameras.present), -1, -1))


def quarter_turn(cameras: Cameras) -> Cameras:
    """The same rig, turned to the left about the ego frame's z axis."""
    turn = from_rotation(torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), torch.zeros(3))
    return Cameras(cameras.intrinsics, turn @ cameras.ego_from_camera, cameras.present, cameras.image_size)


def blind(cameras: Cameras) -> Cameras:
    """The same rig without a single camera present."""
    return Cameras(
        cameras.intrinsics, cameras.ego_from_camera, torch.zeros_like(cameras.present), cameras.image_size
    )

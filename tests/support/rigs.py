"""Small rigs and batches for tests of networks and targets."""

import torch

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.lidar import Points
from occfeat.data.sample.sample import Batch, Labels
from occfeat.data.sample.teacher import TeacherImages
from occfeat.geometry.frames import from_rotation, rotation_about_z
from occfeat.geometry.grid import VoxelGrid

GRID = VoxelGrid((-8.0, -8.0, -1.0), (8.0, 8.0, 3.0), (1.0, 1.0, 1.0))
"""16 x 16 x 4 voxels of 1 m."""

EGO_FROM_FORWARD_CAMERA = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""Camera axes (right, down, forward) in the ego frame of a camera that looks forward."""


def ring_of_cameras(
    count: int, image_size: tuple[int, int], key_frames: int = 1, focal_px: float | None = None
) -> Cameras:
    """Cameras 1.5 m above the ground, 1 m from the middle, evenly around the ego; the first looks forward."""
    height, width = image_size
    focal_px = 0.7 * width if focal_px is None else focal_px
    intrinsics = torch.tensor([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1]])
    turn = rotation_about_z(-2 * torch.pi * torch.arange(count) / count)
    position = (turn @ torch.tensor([1.0, 0, 0])) + torch.tensor([0, 0, 1.5])
    ego_from_camera = from_rotation(turn @ EGO_FROM_FORWARD_CAMERA, position)
    return Cameras(
        intrinsics=intrinsics.expand(key_frames, count, 3, 3).clone(),
        ego_from_camera=ego_from_camera.expand(key_frames, count, 4, 4).clone(),
        present=torch.ones(key_frames, count, dtype=torch.bool),
        image_size=image_size,
    )


def batch_of(
    key_frames: int = 2,
    cameras: int = 4,
    image_size: tuple[int, int] = (32, 64),
    teacher_size: tuple[int, int] | None = None,
    grid: VoxelGrid = GRID,
    seed: int = 0,
) -> Batch:
    """A batch of noise images, points on the ground and around, and labels, all from a seed."""
    random = torch.Generator().manual_seed(seed)
    points = torch.rand(400 * key_frames, 3, generator=random) * torch.tensor([20.0, 20, 4])
    points -= torch.tensor([10.0, 10, 1])
    target = torch.rand(key_frames, 1, *grid.bev.shape, generator=random) < 0.2
    hidden = target & (torch.rand(target.shape, generator=random) < 0.3)
    rig = ring_of_cameras(cameras, image_size, key_frames)
    images = _noise(random, key_frames, cameras, image_size)
    teacher = None
    if teacher_size is not None:
        teacher_images = _noise(random, key_frames, cameras, teacher_size)
        teacher = TeacherImages(teacher_images, ring_of_cameras(cameras, teacher_size, key_frames))
    return Batch(
        tokens=tuple(f"frame{number}" for number in range(key_frames)),
        images=images,
        cameras=rig,
        teacher=teacher,
        points=Points(
            points_ego=points,
            origins_ego=torch.tensor([0.3, -0.2, 1.6]).expand_as(points),
            key_frame=torch.arange(key_frames).repeat_interleave(400),
        ),
        labels=Labels(("vehicle",), target, hidden),
    )


def _noise(random: torch.Generator, key_frames: int, cameras: int, size: tuple[int, int]) -> torch.Tensor:
    shape = (key_frames, cameras, 3, *size)
    return torch.randint(0, 256, shape, generator=random, dtype=torch.uint8)

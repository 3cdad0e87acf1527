"""A made scene for the self-test: a rig that looks all around, walls, ground, and noise as images."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.lidar import Points
from occfeat.data.sample.sample import Batch, Sample, collate
from occfeat.data.sample.teacher import FeatureMaps, TeacherMaps
from occfeat.geometry.grid import VoxelGrid

CAMERAS = 6
RETURNS = 20_000
"""LiDAR returns of a key frame."""
LIDAR_M = (0.0, 0.0, 1.8)
"""Position of the LiDAR in the ego frame in metres."""
PATCH_PX = 14
TEACHER_CHANNELS = 384
"""Those of DINOv2 ViT-S/14."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a scene."""

    grid: VoxelGrid
    image_size: tuple[int, int]
    """(height, width) of the student's images in pixels."""


SMALL = Sizes(VoxelGrid((-20.0, -20.0, -1.0), (20.0, 20.0, 3.0), (1.0, 1.0, 1.0)), (48, 80))
PAPER = Sizes(VoxelGrid((-50.0, -50.0, -4.5), (50.0, 50.0, 5.5), (0.5, 0.5, 1.25)), (224, 400))
"""Sizes of the paper's recipe."""
LAPTOP = Sizes(VoxelGrid((-25.6, -25.6, -1.0), (25.6, 25.6, 3.0), (0.8, 0.8, 0.5)), (128, 224))
"""Sizes of the recipe `cpu-small`."""


def make_batch(sizes: Sizes, key_frames: int, seed: int = 0) -> Batch:
    """Return a batch with everything that pretraining needs, on the CPU; the same for the same seed."""
    random = torch.Generator().manual_seed(seed)
    return collate([_make_sample(sizes, f"made-{number}", random) for number in range(key_frames)])


def _make_sample(sizes: Sizes, token: str, random: torch.Generator) -> Sample:
    """Return one key frame."""
    height, width = sizes.image_size
    patches = (height // PATCH_PX, width // PATCH_PX)
    teacher_size = (patches[0] * PATCH_PX, patches[1] * PATCH_PX)
    values = torch.randn(CAMERAS, *patches, TEACHER_CHANNELS, generator=random).half()
    maps = FeatureMaps(values, torch.ones(CAMERAS, *patches))
    points = make_surfaces(random)
    return Sample(
        token=token,
        images=torch.randint(0, 256, (CAMERAS, 3, height, width), dtype=torch.uint8, generator=random),
        cameras=make_rig(sizes.image_size, random),
        teacher=TeacherMaps(maps, make_rig(teacher_size, random)),
        points=Points.of_one_key_frame(points, torch.tensor(LIDAR_M).expand_as(points)),
    )


def make_rig(image_size: tuple[int, int], random: torch.Generator) -> Cameras:
    """Return cameras that look all around, turned a little at random, as in no other key frame."""
    height, width = image_size
    intrinsics = torch.tensor([[0.8 * width, 0, width / 2], [0, 0.8 * width, height / 2], [0, 0, 1]])
    turn = 0.05 * torch.rand((), generator=random)
    poses = torch.eye(4).repeat(CAMERAS, 1, 1)
    for number in range(CAMERAS):
        yaw = float(turn) + 2 * math.pi * number / CAMERAS
        poses[number, :3, :3] = _looking(yaw)
        poses[number, :3, 3] = torch.tensor((math.cos(yaw), math.sin(yaw), 1.6))
    present = torch.ones(CAMERAS, dtype=torch.bool)
    return Cameras(intrinsics.expand(CAMERAS, 3, 3).contiguous(), poses, present, image_size)


def _looking(yaw: float) -> Float[Tensor, "3 3"]:
    """Return the rotation of a level camera (x right, y down, z forward) to the ego frame."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    return torch.tensor([[sin, 0.0, cos], [-cos, 0.0, sin], [0.0, -1.0, 0.0]])


def make_surfaces(random: torch.Generator) -> Float[Tensor, "P 3"]:
    """Return returns on level ground, and on walls at a distance that changes with the direction."""
    azimuth = 2 * math.pi * torch.rand(RETURNS, generator=random)
    elevation = -0.4 + 0.5 * torch.rand(RETURNS, generator=random)
    wall_m = 12 + 6 * torch.sin(3 * azimuth) + 0.1 * torch.rand(RETURNS, generator=random)
    ground_m = torch.where(elevation < 0, -LIDAR_M[2] / elevation.tan(), torch.full_like(elevation, 1e9))
    away_m = torch.minimum(wall_m, ground_m)
    height_m = LIDAR_M[2] + away_m * elevation.tan()
    return torch.stack((away_m * azimuth.cos(), away_m * azimuth.sin(), height_m), dim=1)

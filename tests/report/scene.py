"""A small asymmetric scene, and ways to find things in a picture by their colour."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import to_rgb
from PIL import Image
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.frames import from_rotation, rotation_about_z
from occfeat.geometry.grid import VoxelGrid

VOXELS = VoxelGrid((-20.0, -20.0, -1.0), (20.0, 20.0, 3.0), (1.0, 1.0, 1.0))
GRID = VOXELS.bev


def rig_looking_at(*azimuths_deg: float) -> Cameras:
    """Level cameras 1.5 m above the ground looking in these directions (left is positive)."""
    ahead = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # ego from camera
    turns = rotation_about_z(torch.deg2rad(torch.tensor(azimuths_deg)))
    count = len(azimuths_deg)
    return Cameras(
        intrinsics=torch.tensor([[30.0, 0, 30], [0, 30, 20], [0, 0, 1]]).repeat(count, 1, 1),
        ego_from_camera=from_rotation(turns @ ahead, torch.tensor([0.0, 0.0, 1.5]).repeat(count, 1)),
        present=torch.ones(count, dtype=torch.bool),
        image_size=(40, 60),
    )


def box_corners(center_ego: tuple[float, float, float], size_m: tuple[float, float, float]) -> Tensor:
    """Corners (8, 3) of a box that looks ahead: four of the bottom, front ones first, then those above."""
    signs = [(x, y, z) for z in (-1, 1) for x, y in ((1, -1), (1, 1), (-1, 1), (-1, -1))]
    return torch.tensor(center_ego) + torch.tensor(signs) * torch.tensor(size_m) / 2


def far_front_left() -> Tensor:
    """A mask (X, Y) of the cells from 8 to 16 m ahead and from 6 to 12 m to the left."""
    mask = torch.zeros(GRID.shape, dtype=torch.bool)
    mask[28:36, 26:32] = True
    return mask


def find(path: Path, color: str) -> np.ndarray:
    """Rows and columns (n, 2) of the pixels of a picture that have a colour."""
    with Image.open(path) as file:
        picture = np.asarray(file.convert("RGB")).astype(int)
    wanted = np.round(np.array(to_rgb(color)) * 255)
    return np.argwhere((np.abs(picture - wanted) <= 12).all(axis=-1))


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture in pixels."""
    with Image.open(path) as file:
        return file.size

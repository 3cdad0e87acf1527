"""What the student has to predict: where the LiDAR hit, and what the teacher saw there (paper section 3).

Axes: `B` key frames, `N` cameras, `P` points, `X Y Z` voxels, `K` chosen voxels, `F` teacher channels, `h w`
teacher feature map.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occfeat.data.sample import Cameras, Points
from occfeat.geometry.camera import project, visible_in
from occfeat.geometry.frames import invert
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.lifting.sampling import bilinear_taps


@dataclass(frozen=True)
class FeatureTarget:
    """Teacher features of the occupied voxels that at least one camera sees."""

    cells: Int64[Tensor, "K 4"]
    """Each voxel as (key frame, x, y, z)."""
    features: Float[Tensor, "K F"]
    """Mean of the teacher's features over the cameras that see the centre of the voxel."""


def occupancy_target(points: Points, key_frames: int, grid: VoxelGrid) -> Bool[Tensor, "B X Y Z"]:
    """A voxel is occupied if it holds at least one LiDAR point; all others count as empty."""
    cell, inside = grid.cell_index(points.points_ego)
    occupied = torch.zeros(key_frames, *grid.shape, dtype=torch.bool, device=inside.device)
    occupied[(points.key_frame[inside], *cell[inside].unbind(1))] = True
    return occupied


def feature_target(
    occupied: Bool[Tensor, "B X Y Z"],
    maps: Float[Tensor, "BN F h w"],
    cameras: Cameras,
    grid: VoxelGrid,
) -> FeatureTarget:
    """Mean of the teacher's features at the projected centre of each occupied voxel.

    Voxels that no camera sees are left out. Between patch centres features are interpolated bilinearly;
    nearer to the image border than half a patch they keep the value of the outermost patches.

    Args:
        occupied: The occupancy target.
        maps: Teacher features of all images, cameras of one key frame after the other.
        cameras: Calibration of the images the teacher saw, in the same ego frame as the points.
        grid: The voxels.
    """
    cells = occupied.nonzero()
    pixels, seen = _project_cells(cells, cameras, grid)  # (K, N, 2), (K, N)
    cameras_per_voxel = seen.sum(dim=1)
    voxel, camera = seen.nonzero(as_tuple=True)  # sorted by voxel
    image = cells[voxel, 0] * seen.shape[1] + camera
    height, width = maps.shape[2:]
    patches_per_px = pixels.new_tensor((width / cameras.image_size[1], height / cameras.image_size[0]))
    patch = (pixels[voxel, camera] * patches_per_px - 0.5).T
    tap, weight = bilinear_taps(patch, image, (height, width))
    weight = weight / cameras_per_voxel[voxel, None]
    kept = cameras_per_voxel > 0
    taps_per_voxel = 4 * cameras_per_voxel[kept]
    features = F.embedding_bag(
        tap.flatten(),
        maps.float().permute(0, 2, 3, 1).reshape(-1, maps.shape[1]),
        offsets=taps_per_voxel.cumsum(0) - taps_per_voxel,
        per_sample_weights=weight.flatten(),
        mode="sum",
    )
    return FeatureTarget(cells[kept], features)


def seen_cells(occupied: Bool[Tensor, "B X Y Z"], cameras: Cameras, grid: VoxelGrid) -> Int64[Tensor, "K 4"]:
    """Occupied voxels whose centre at least one camera sees, each as (key frame, x, y, z)."""
    cells = occupied.nonzero()
    return cells[_project_cells(cells, cameras, grid)[1].any(dim=1)]


def _project_cells(
    cells: Int64[Tensor, "K 4"], cameras: Cameras, grid: VoxelGrid
) -> tuple[Float[Tensor, "K N 2"], Bool[Tensor, "K N"]]:
    """Pixel of each voxel's centre in each camera of its key frame, and whether it is seen there."""
    with torch.autocast(cells.device.type, enabled=False):  # pixels need all their digits
        return _project_exactly(cells, cameras, grid)


def _project_exactly(
    cells: Int64[Tensor, "K 4"], cameras: Cameras, grid: VoxelGrid
) -> tuple[Float[Tensor, "K N 2"], Bool[Tensor, "K N"]]:
    key_frame = cells[:, 0]
    lower_m, cell_m = (cameras.intrinsics.new_tensor(size) for size in (grid.lower_m, grid.cell_m))
    centers_ego = lower_m + (cells[:, 1:] + 0.5) * cell_m
    camera_from_ego = invert(cameras.ego_from_camera)[key_frame]  # (K, N, 4, 4)
    rotation, translation_m = camera_from_ego[..., :3, :3], camera_from_ego[..., :3, 3]
    centers_camera = (rotation @ centers_ego[:, None, :, None])[..., 0] + translation_m
    pixels, depth_m = project(cameras.intrinsics[key_frame], centers_camera[:, :, None])
    seen = visible_in(cameras.image_size, pixels, depth_m)[..., 0]
    return pixels[:, :, 0], seen & cameras.present[key_frame]

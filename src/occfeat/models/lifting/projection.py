"""Projection of all voxel centres of a grid into the images of a rig.

Axes: `B` key frames, `N` cameras, `X Y Z` voxels; what is said of single cameras is in the order Z, X, Y.
"""

import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.camera import project_through, visible_at
from occfeat.geometry.grid import VoxelGrid
from occfeat.machine.waiting import upload


def project_voxels(
    cameras: Cameras, grid: VoxelGrid, device: torch.device | None = None
) -> tuple[Float32[Tensor, "N Z X Y"], Float32[Tensor, "N Z X Y"], Bool[Tensor, "N Z X Y"]]:
    """Return pixel positions u and v of all voxel centres in all cameras, and a mask of the visible ones."""
    u, v, depth_m = voxel_pixels(cameras, grid, device)
    visible = visible_at(cameras.image_size, u, v, depth_m)
    return u, v, visible & upload(cameras.present, u.device)[:, None, None, None]


def seen_voxels(cameras: Cameras, grid: VoxelGrid) -> Bool[Tensor, "B X Y Z"]:
    """Return which voxel centres lie in the image of at least one camera of each key frame.

    This is projection alone: a voxel behind a wall counts as seen (this project's choice).

    Args:
        cameras: Calibration of a batch, for the images in question.
        grid: The voxels.
    """
    host, device = cameras.on_host(), cameras.intrinsics.device
    rigs = (host.of_key_frame(index) for index in range(len(host.present)))
    seen = torch.stack([project_voxels(rig, grid, device)[2].any(dim=0) for rig in rigs])
    return seen.permute(0, 2, 3, 1)


def voxel_pixels(
    cameras: Cameras, grid: VoxelGrid, device: torch.device | None = None
) -> tuple[Float32[Tensor, "N Z X Y"], Float32[Tensor, "N Z X Y"], Float32[Tensor, "N Z X Y"]]:
    """Return pixel positions u and v of all voxel centres in all cameras, and their depths in metres.

    Pixels of voxels that a camera cannot see mean nothing; depths are those of `geometry.camera.project`.
    Exact to about 1e-3 pixels where a voxel is seen: coordinates are counted from the camera, which keeps
    those of near voxels small. The device defaults to that of the calibration.
    """
    device = device or cameras.intrinsics.device
    pose = cameras.ego_from_camera.cpu().double()
    turn = pose[:, :3, :3].mT
    if cameras.lenses is None:
        u_depth, v_depth, depth_m = _turned(cameras.intrinsics.cpu().double() @ turn, pose, grid, device)
        return u_depth / depth_m, v_depth / depth_m, depth_m
    axes = (axis.flatten(1) for axis in _turned(turn, pose, grid, device))
    lenses, intrinsics = upload(cameras.lenses, device), upload(cameras.intrinsics, device)
    x, y, z = grid.shape
    u, v, depth_m = (one.view(-1, z, x, y) for one in project_through(lenses, intrinsics, *axes))
    return u, v, depth_m


def _turned(
    turn: Float64[Tensor, "N 3 3"], pose: Float64[Tensor, "N 4 4"], grid: VoxelGrid, device: torch.device
) -> tuple[Float32[Tensor, "N Z X Y"], Float32[Tensor, "N Z X Y"], Float32[Tensor, "N Z X Y"]]:
    """Return the product of a matrix per camera and the offset of every voxel centre from that camera.

    It is linear: what x, y and z contribute is computed once for each coordinate, and added up.
    """
    turn = upload(turn.float(), device)
    x, y, z = (
        turn[:, :, axis, None] * upload((centers - pose[:, axis, 3, None]).float(), device)[:, None]
        for axis, centers in enumerate(_axes(grid))
    )
    first, second, third = _outer_sum(z, x, y).unbind(1)
    return first, second, third


def _axes(grid: VoxelGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Return the coordinates of voxel centres along x, y and z in metres."""
    centers = grid.centers().double()
    return centers[:, 0, 0, 0], centers[0, :, 0, 1], centers[0, 0, :, 2]


def _outer_sum(
    z: Float32[Tensor, "N 3 Z"], x: Float32[Tensor, "N 3 X"], y: Float32[Tensor, "N 3 Y"]
) -> Float32[Tensor, "N 3 Z X Y"]:
    """Return the sum of one term for each voxel of the contributions of its three coordinates."""
    plane = x[..., :, None] + y[..., None, :]
    return z[..., None, None] + plane[:, :, None]

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.grid import VoxelGrid
from occfeat.models.lifting import sparse as lifting
from occfeat.models.lifting.plans import PlanCache, finish
from occfeat.models.lifting.projection import project_voxels
from occfeat.models.lifting.sampling import lift_dense
from occfeat.models.lifting.sparse import build_plan, lift
from tests.models.rigs import (
    SMALL_GRID,
    SQUARE_GRID,
    blind,
    looking,
    quarter_turn,
    random_cameras,
    rig_of,
    surround,
)


def lift_sparse(features: torch.Tensor, cameras: Cameras, grid: VoxelGrid) -> torch.Tensor:
    size = (features.shape[-2], features.shape[-1])
    return lift(features, PlanCache(build_plan).plans(cameras, size, 8, grid))


@given(st.integers(0, 2**20), st.integers(1, 3), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))
def test_lift__value_and_gradient_as_dense(seed: int, batch: int, n: int, h: int, w: int) -> None:
    cameras = random_cameras(seed, batch, n, image_size=(8 * h - 3, 8 * w - 5))
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, n, 3, h, w, generator=random).requires_grad_()
    by_volume = torch.randn(batch, 3, 3, 16, 24, generator=random)

    sparse = lift_sparse(features, cameras, SMALL_GRID)
    dense = lift_dense(features, cameras, 8, SMALL_GRID)
    (sparse_gradient,) = torch.autograd.grad(sparse, features, by_volume)
    (dense_gradient,) = torch.autograd.grad(dense, features, by_volume)
    assert (sparse - dense).abs().max() < 1e-4
    assert (sparse_gradient - dense_gradient).abs().max() < 1e-4 * dense_gradient.abs().max().clamp(min=1)


def test_lift__surround_rig_as_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifting, "CPU_BLOCK", 100)  # several blocks, the last one not full
    cameras = surround()
    features = torch.randn(1, 6, 5, 4, 7)
    sparse, dense = lift_sparse(features, cameras, SQUARE_GRID), lift_dense(features, cameras, 8, SQUARE_GRID)
    assert (sparse != 0).float().mean() > 0.3
    assert (sparse - dense).abs().max() < 1e-4


def test_lift__nothing_seen() -> None:
    cameras = surround()
    features = torch.randn(1, 6, 5, 4, 7, requires_grad=True)
    volume = lift_sparse(features, blind(cameras), SQUARE_GRID)
    volume.sum().backward()
    assert not volume.any()
    assert features.grad is not None
    assert not features.grad.any()


def test_lift__constant_features_stay_constant_wherever_seen() -> None:
    cameras = surround(cameras=8)  # overlapping views: the mean must not add up
    volume = lift_sparse(torch.full((1, 8, 1, 4, 7), 3.0), cameras, SQUARE_GRID)
    seen = project_voxels(rig_of(cameras), SQUARE_GRID)[2].any(0)
    assert torch.allclose(volume[0, 0], 3.0 * seen)


def test_lift__front_left_camera_fills_front_left_cells() -> None:
    cameras = surround(cameras=4, focal_px=40)
    poses = torch.stack([looking(azimuth) for azimuth in (45, 135, 225, 315)]).float()[None]
    cameras = Cameras(cameras.intrinsics, poses, cameras.present, cameras.image_size)
    features = torch.zeros(1, 4, 1, 4, 7)
    features[0, 0] = 1
    bright = lift_sparse(features, cameras, SQUARE_GRID)[0, 0].any(0)  # X, Y
    centers = SQUARE_GRID.centers()[:, :, 0]
    assert bright.sum() > 50
    assert (centers[bright][:, :2] > 0).all()


def test_lift__upper_part_of_the_image_is_high_up() -> None:
    cameras = surround(cameras=1, image_size=(64, 64))
    features = torch.zeros(1, 1, 1, 8, 8)
    features[..., :3, :] = 1
    volume = lift_sparse(features, cameras, VoxelGrid((-8.0, -8.0, -1.5), (8.0, 8.0, 4.5), (1.0, 1.0, 1.0)))
    low, high = volume[0, 0, :3], volume[0, 0, 3:]  # the camera is at 1.5 m
    assert high.sum() > 10
    assert low.sum() == 0


@given(st.integers(0, 2**20))
def test_lift__turning_the_rig_turns_the_volume(seed: int) -> None:
    cameras = random_cameras(seed, batch=1, cameras=4, image_size=(48, 64))
    features = torch.randn(1, 4, 2, 6, 8, generator=torch.Generator().manual_seed(seed))
    before, after = (
        lift_sparse(features, cameras, SQUARE_GRID),
        lift_sparse(features, quarter_turn(cameras), SQUARE_GRID),
    )
    differs = (torch.rot90(before, 1, dims=(3, 4)) - after).abs() > 1e-3
    assert differs.float().mean() < 1e-3  # a voxel on the very border of an image may be seen or not


def test_lift__a_camera_changes_only_what_it_sees() -> None:
    cameras = surround()
    features = torch.randn(1, 6, 3, 4, 7)
    changed = features.clone()
    changed[0, 2] += 1
    difference = lift_sparse(features, cameras, SQUARE_GRID) - lift_sparse(changed, cameras, SQUARE_GRID)
    seen = project_voxels(rig_of(cameras), SQUARE_GRID)[2][2]
    assert torch.equal(difference[0].abs().amax(0) > 1e-6, seen)


def test_lift__float32_under_autocast() -> None:
    features = torch.randn(1, 6, 3, 4, 7)
    with torch.autocast("cpu", torch.bfloat16):
        volume = lift_sparse(features.bfloat16(), surround(), SQUARE_GRID)
    expected = lift_sparse(features.bfloat16().float(), surround(), SQUARE_GRID)
    assert volume.dtype == torch.float32
    assert torch.equal(volume, expected)


def test_build_plan__weights_of_a_voxel_add_up_to_one() -> None:
    plan = finish(build_plan(rig_of(random_cameras(5, 1, 4, (48, 64))), (6, 8), 8, SMALL_GRID))
    ones = torch.ones(4 * 6 * 8, 1)
    sums = torch.cat([slab.product(ones) for slab in plan.slabs])
    assert ((sums - 1).abs().lt(1e-5) | sums.eq(0)).all()
    assert sums.sum() > 10

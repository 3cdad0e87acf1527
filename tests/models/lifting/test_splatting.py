from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.camera import project
from occfeat.geometry.frames import invert, transform_points
from occfeat.geometry.grid import VoxelGrid
from occfeat.geometry.lens import Lens
from occfeat.models.lifting.plans import PlanCache
from occfeat.models.lifting.splatting import DepthBins, build_plan, frustum, splat
from tests.geometry.strategies import unproject
from tests.models.rigs import (
    SMALL_GRID,
    SQUARE_GRID,
    blind,
    quarter_turn,
    random_cameras,
    rig_of,
    surround,
    with_lenses,
)

BINS = DepthBins(1.0, 9.0, 5)


def splatted(
    features: torch.Tensor, probabilities: torch.Tensor, cameras: Cameras, grid: VoxelGrid = SMALL_GRID
) -> torch.Tensor:
    size = (features.shape[-2], features.shape[-1])
    plans = PlanCache(build_plan).plans(cameras, size, 8, grid, BINS)
    return splat(features, probabilities, plans, grid.bev.shape)


def splatted_by_loops(features: torch.Tensor, probabilities: torch.Tensor, cameras: Cameras) -> torch.Tensor:
    """One point of the frusta after the other."""
    batch, count, channels, height, width = features.shape
    bev = features.new_zeros(batch, channels, *SMALL_GRID.bev.shape)
    for b, n, row, column, d in torch.cartesian_prod(
        *(torch.arange(size) for size in (batch, count, height, width, BINS.count))
    ).tolist():
        u, v = 8 * (column + 0.5), 8 * (row + 0.5)
        if not cameras.present[b, n] or u >= cameras.image_size[1] or v >= cameras.image_size[0]:
            continue
        depth_m = torch.tensor([1.0 + 1.6 * (d + 0.5)]).double()
        pixel = torch.tensor([[u, v]]).double()
        point_camera = unproject(cameras.intrinsics[b, n].double(), pixel, depth_m)
        point = transform_points(cameras.ego_from_camera[b, n].double(), point_camera).float()
        ((x, y, _),), inside = SMALL_GRID.cell_index(point)
        if inside:
            bev[b, :, x, y] += probabilities[b, n, d, row, column] * features[b, n, :, row, column]
    return bev


def inputs_for(cameras: Cameras, h: int, w: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    leading = cameras.present.shape
    features = torch.randn(*leading, 3, h, w, generator=random)
    likely = torch.randn(*leading, BINS.count, h, w, generator=random).softmax(2)
    return features.requires_grad_(), likely.requires_grad_()


@given(st.integers(0, 2**20), st.integers(1, 2), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_splat__value_and_gradient_as_by_loops(seed: int, batch: int, n: int, h: int, w: int) -> None:
    cameras = random_cameras(seed, batch, n, image_size=(8 * h - 5, 8 * w - 3))
    inputs = inputs_for(cameras, h, w, seed)
    found, wanted = splatted(*inputs, cameras), splatted_by_loops(*inputs, cameras)
    assert (found - wanted).abs().max() < 1e-5
    if not wanted.requires_grad:  # not a single point lies in the grid
        return
    by_bev = torch.randn(found.shape, generator=torch.Generator().manual_seed(seed))
    gradients = torch.autograd.grad(found, inputs, by_bev)
    for gradient, expected in zip(gradients, torch.autograd.grad(wanted, inputs, by_bev), strict=True):
        assert (gradient - expected).abs().max() < 1e-5


@given(st.integers(0, 2**20))
def test_frustum__through_lenses_is_seen_where_it_began(seed: int) -> None:
    """Points of the frusta project to the middle of their feature cells, at the depth of their bins."""
    rig = rig_of(with_lenses(random_cameras(seed, 1, 4, image_size=(32, 48))))
    points_ego, exist = frustum(rig, (4, 6), 8, BINS)
    points_camera = transform_points(invert(rig.ego_from_camera.double()), points_ego.double().flatten(1, 3))
    assert rig.lenses is not None
    pixels, depth_m = project(rig.intrinsics.double(), points_camera, rig.lenses.double())
    v, u = torch.meshgrid(8 * (torch.arange(4) + 0.5), 8 * (torch.arange(6) + 0.5), indexing="ij")
    cell = torch.stack((u, v), dim=-1)[:, :, None].expand(4, 4, 6, BINS.count, 2)
    found = pixels.view(4, 4, 6, BINS.count, 2)[exist]
    assert torch.allclose(found, cell[exist].double(), atol=1e-3)
    depth_m = depth_m.view(4, 4, 6, BINS.count)[exist]
    assert torch.allclose(depth_m, BINS.centers_m().double().expand_as(depth_m), atol=1e-3)
    assert not exist[~rig.present].any()


def test_frustum__cells_that_the_lens_does_not_reach_have_no_points() -> None:
    """A barrel that turns at 45 degrees shows nothing outside a circle."""
    cameras = surround(cameras=1, image_size=(64, 64), focal_px=40.0)
    lens = Lens("brown_conrady", (-1 / 3, 0.0, 0.0, 0.0))
    rig = replace(cameras, lenses=torch.tensor([[lens.numbers()]])).of_key_frame(0)
    _, exist = frustum(rig, (8, 8), 8, BINS)
    v, u = torch.meshgrid(*(8 * (torch.arange(8) + 0.5) - 32,) * 2, indexing="ij")
    assert torch.equal(exist[0], torch.hypot(u, v) < 40 * 2 / 3)


def test_splat__nothing_seen() -> None:
    cameras = surround()
    inputs = inputs_for(cameras, 4, 7, 0)
    bev = splatted(*inputs, blind(cameras), SQUARE_GRID)
    bev.sum().backward()
    assert not bev.any()
    assert not any(tensor.grad.any() for tensor in inputs)


def test_splat__a_camera_changes_only_the_cells_its_rays_reach() -> None:
    cameras = surround()
    features, likely = inputs_for(cameras, 4, 7, 0)
    changed = features.detach().clone()
    changed[0, 2] += 1
    before = splatted(features, likely, cameras, SQUARE_GRID)
    difference = before - splatted(changed, likely, cameras, SQUARE_GRID)
    points, valid = frustum(rig_of(cameras), (4, 7), 8, BINS)
    cell, inside = SQUARE_GRID.cell_index(points[2][valid[2]].flatten(0, 1))
    reached = torch.zeros(SQUARE_GRID.bev.shape, dtype=torch.bool)
    reached[tuple(cell[inside][:, :2].T)] = True
    assert torch.equal(difference[0].abs().amax(0) > 1e-6, reached)


@given(st.integers(0, 2**20))
def test_splat__turning_the_rig_turns_the_plane(seed: int) -> None:
    cameras = random_cameras(seed, batch=1, cameras=4, image_size=(48, 64))
    inputs = inputs_for(cameras, 6, 8, seed)
    before = splatted(*inputs, cameras, SQUARE_GRID)
    after = splatted(*inputs, quarter_turn(cameras), SQUARE_GRID)
    differs = (torch.rot90(before, 1, dims=(2, 3)) - after).abs() > 1e-4
    assert differs.float().mean() < 5e-3  # a point on the very border of two cells may lie in either


def test_splat__float32_under_autocast() -> None:
    features, likely = inputs_for(surround(), 4, 7, 0)
    with torch.autocast("cpu", torch.bfloat16):
        bev = splatted(features.bfloat16(), likely, surround(), SQUARE_GRID)
    assert bev.dtype == torch.float32
    assert torch.equal(bev, splatted(features.bfloat16().float(), likely, surround(), SQUARE_GRID))


def test_bins__centres_lie_in_their_bins() -> None:
    index, inside = BINS.index(BINS.centers_m())
    assert index.tolist() == [0, 1, 2, 3, 4]
    assert inside.all()
    assert BINS.index(torch.tensor([0.99, 1.0, 9.0, float("nan")]))[1].tolist() == [False, True, False, False]

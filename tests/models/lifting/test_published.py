import math
from dataclasses import replace

import pytest
import torch

from occfeat.data.sample.cameras import Cameras
from occfeat.geometry.camera import project
from occfeat.geometry.frames import invert, transform_points
from occfeat.models.lifting.plans import PlanCache
from occfeat.models.lifting.published import build_sampling_plan, lift_published, published_positions
from tests.models.rigs import SMALL_GRID, SQUARE_GRID, blind, quarter_turn, random_cameras, surround

STRIDE_PX = 8
SIZE = (4, 7)  # of the features of an image of 32 x 56


def lift(features: torch.Tensor, cameras: Cameras, grid=SMALL_GRID, aligned: bool = False) -> torch.Tensor:
    plans = PlanCache(build_sampling_plan).plans(cameras, SIZE, STRIDE_PX, grid, aligned)
    return lift_published(features, plans)


def features_of(cameras: Cameras, channels: int = 3) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    features = torch.randn(*cameras.present.shape, channels, *SIZE, generator=random)
    return features * (torch.rand(features.shape, generator=random) < 0.7)  # some are exactly 0


def sample(plane: torch.Tensor, x: float, y: float) -> float:
    """One feature map at (x, y) in cells, first centre at 0; 0 outside."""
    left, top, value = math.floor(x), math.floor(y), 0.0
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= row < SIZE[0] and 0 <= column < SIZE[1]:
            value += float(plane[row, column]) * (1 - abs(x - column)) * (1 - abs(y - row))
    return value


def by_the_rule(features: torch.Tensor, cameras: Cameras, point_ego: torch.Tensor) -> list[float]:
    """The published rule in words, for one voxel and key frame: every channel for itself."""
    height, width = SIZE
    samples: list[list[float]] = [[] for _ in features[0]]
    for camera, maps in enumerate(features):
        pose = cameras.ego_from_camera[0, camera].double()
        point = transform_points(invert(pose), point_ego.double()[None])
        pixel, depth_m = project(cameras.intrinsics[0, camera].double(), point)
        x, y = (pixel[0] / STRIDE_PX).tolist()
        inside = -0.5 < x < width - 0.5 and -0.5 < y < height - 0.5 and float(depth_m) > 0
        if inside and cameras.present[0, camera]:
            for channel, plane in enumerate(maps):
                stretched = (x * width / (width - 1) - 0.5, y * height / (height - 1) - 0.5)
                samples[channel].append(sample(plane, *stretched))
    return [
        sum(values) / max(1, sum(value != 0 for value in values)) if values else 0.0 for values in samples
    ]


@pytest.mark.parametrize("seed", [0, 1])
def test_lift_published__equals_the_rule_voxel_by_voxel(seed: int) -> None:
    cameras = random_cameras(seed, batch=1, cameras=5, image_size=(32, 56))
    features = features_of(cameras)
    volume = lift(features, cameras)[0].permute(2, 3, 1, 0)  # X Y Z C
    centers = SMALL_GRID.centers()
    some = torch.randperm(centers[..., 0].numel(), generator=torch.Generator().manual_seed(0))[:400]
    expected = [by_the_rule(features[0], cameras, point) for point in centers.flatten(0, 2)[some]]
    assert torch.tensor(expected).abs().max() > 0.5
    torch.testing.assert_close(volume.flatten(0, 2)[some], torch.tensor(expected), rtol=0, atol=2e-4)


def test_lift_published__aligned_reads_the_true_position() -> None:
    cameras = surround()
    features = torch.zeros(1, 6, 1, *SIZE)
    features[:, 0] = torch.arange(SIZE[1]) + 0.5  # the first camera's say where they are, in cells
    point_ego = torch.tensor([[5.5, 0.75, 1.5]])  # centre of a voxel it sees well within its image
    ((x, y, z),) = SMALL_GRID.cell_index(point_ego)[0].tolist()
    assert torch.equal(SMALL_GRID.centers()[x, y, z], point_ego[0])
    point_camera = transform_points(invert(cameras.ego_from_camera[0, 0]), point_ego)
    pixel, _ = project(cameras.intrinsics[0, 0], point_camera)
    true_column = float(pixel[0, 0]) / STRIDE_PX
    assert lift(features, cameras, aligned=True)[0, 0, z, x, y] == pytest.approx(true_column, abs=1e-4)
    stretched = true_column * SIZE[1] / (SIZE[1] - 1)
    assert lift(features, cameras)[0, 0, z, x, y] == pytest.approx(stretched, abs=1e-4)


def test_lift_published__turns_with_the_rig() -> None:
    cameras = surround(cameras=5)
    features = features_of(cameras)
    turned = lift(features, quarter_turn(cameras), SQUARE_GRID)
    # To the left: what was at (x, y) is at (-y, x).
    expected = lift(features, cameras, SQUARE_GRID).flip(4).transpose(3, 4)
    differs = (turned - expected).abs().amax(dim=1) > 1e-3
    assert differs.float().mean() < 0.01  # voxels on the border between two cameras
    assert expected.abs().max() > 0.5


def test_lift_published__without_cameras() -> None:
    cameras = blind(surround())
    assert not lift(features_of(cameras), cameras).any()


def test_lift_published__gradient() -> None:
    cameras = random_cameras(3, batch=2, cameras=3, image_size=(32, 56))
    features = features_of(cameras).requires_grad_()
    random = torch.Generator().manual_seed(1)
    direction = torch.randn(features.shape, generator=random) * (features.detach() != 0)
    weights = torch.randn(lift(features, cameras).shape, generator=random)
    (lift(features, cameras) * weights).sum().backward()
    step = 1e-2
    with torch.no_grad():
        ahead = (lift(features + step * direction, cameras) * weights).sum().double()
        behind = (lift(features - step * direction, cameras) * weights).sum().double()
    slope = float((features.grad * direction).sum())
    assert float(ahead - behind) / (2 * step) == pytest.approx(slope, rel=2e-2)


def test_published_positions__are_finite_for_voxels_in_the_plane_of_the_camera() -> None:
    """Exported networks read at all positions and then leave out what is not seen: 0 times NaN would stay."""
    cameras = surround(4)
    x_m = float(SMALL_GRID.centers()[0, 0, 0, 0])
    cameras = replace(cameras, ego_from_camera=cameras.ego_from_camera.clone())
    cameras.ego_from_camera[..., 0, 3] = x_m  # the depth of some voxels is 0 now
    positions, seen = published_positions(cameras.of_key_frame(0), SIZE, STRIDE_PX, SMALL_GRID, aligned=False)
    assert positions.isfinite().all()
    assert (positions[~seen] == 0).all()

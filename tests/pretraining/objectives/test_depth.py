import math
from dataclasses import replace

import pytest
import torch

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.lidar import Points
from occfeat.geometry.camera import project, visible_in
from occfeat.geometry.frames import invert, transform_points
from occfeat.geometry.lens import Lens
from occfeat.models.encoders.pyramid import PyramidEncoder
from occfeat.models.lifting.splatting import DepthBins
from occfeat.models.students.lss import Lss
from occfeat.pretraining.network import PretrainingNetwork, TargetMaker
from occfeat.pretraining.objectives.build import build_objectives
from occfeat.pretraining.objectives.depth import UNKNOWN, depth_loss, depth_target
from occfeat.settings.sections import HeadConfig, PretrainLossConfig
from occfeat.settings.students import LssConfig
from tests.models.rigs import with_lenses
from tests.support.rigs import GRID, batch_of, ring_of_cameras

BINS = DepthBins(1.0, 9.0, 8)


def target_by_loops(points: torch.Tensor, key_frame: torch.Tensor, cameras: Cameras) -> torch.Tensor:
    batch, count = cameras.present.shape
    target = torch.full((batch, count, 4, 8), UNKNOWN)
    for b in range(batch):
        for n in range(count):
            camera_from_ego = invert(cameras.ego_from_camera[b, n])
            for point in points[key_frame == b]:
                lens = None if cameras.lenses is None else cameras.lenses[b, n]
                pixel, depth_m = project(
                    cameras.intrinsics[b, n], transform_points(camera_from_ego, point[None]), lens
                )
                index, inside = BINS.index(depth_m)
                if cameras.present[b, n] and inside and visible_in((32, 64), pixel, depth_m):
                    column, row = (int(value // 8) for value in pixel[0])
                    before = int(target[b, n, row, column])
                    nearest = int(index) if before == UNKNOWN else min(before, int(index))
                    target[b, n, row, column] = nearest
    return target


@pytest.mark.parametrize("lenses", [False, True])
def test_depth_target__as_by_loops(lenses: bool) -> None:
    batch = batch_of(key_frames=2, cameras=3)
    cameras = with_lenses(batch.cameras) if lenses else batch.cameras
    cameras.present[1, 2] = False
    assert batch.points is not None
    every, origins = batch.points.points_ego, batch.points.origins_ego
    points = Points(every[::4], origins[::4], batch.points.key_frame[::4])
    found = depth_target(points, cameras, BINS)
    assert torch.equal(found, target_by_loops(points.points_ego, points.key_frame, cameras))
    assert (found != UNKNOWN).sum() > 20
    assert (found[1, 2] == UNKNOWN).all()


def test_depth_target__of_a_fisheye_is_the_distance() -> None:
    """A point beside the camera, which has no depth along its axis."""
    lens = torch.tensor([[Lens("f_theta", (1.0,)).numbers()]])
    cameras = replace(ring_of_cameras(1, (64, 64), focal_px=18.0), lenses=lens)
    beside = torch.tensor([[1.0, 5.5, 1.5]])
    found = depth_target(Points.of_one_key_frame(beside, torch.zeros_like(beside)), cameras, BINS)
    ((row, column),) = (found[0, 0] != UNKNOWN).nonzero().tolist()
    assert (row, column) == (4, int((32 - 18 * math.pi / 2) // 8))
    assert found[0, 0, row, column] == int(BINS.index(torch.tensor([5.5]))[0])


def test_depth_target__without_points() -> None:
    batch = batch_of()
    nothing = Points.of_one_key_frame(torch.zeros(0, 3), torch.zeros(0, 3))
    target = depth_target(nothing, batch.cameras, BINS)
    assert (target == UNKNOWN).all()
    logits = torch.randn(2, 4, 8, 4, 8, requires_grad=True)
    loss = depth_loss(logits, target)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_depth_loss__is_the_mean_over_known_cells() -> None:
    logits, target = torch.randn(1, 1, 3, 1, 3), torch.tensor([[[[2, UNKNOWN, 0]]]])
    log_probability = logits.log_softmax(2)
    wanted = -(log_probability[0, 0, 2, 0, 0] + log_probability[0, 0, 0, 0, 2]) / 2
    assert depth_loss(logits, target).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_pretraining__learns_depth() -> None:
    torch.manual_seed(0)
    config = LssConfig(image_channels=8, bev_channels=16, depth_m=(1, 9), depth_bins=8)
    student = Lss(PyramidEncoder("resnet18", channels=8), GRID, config)
    objectives = build_objectives(PretrainLossConfig(features=0, depth=0.5), student=config)
    network = PretrainingNetwork(student, objectives, heights=GRID.shape[2], head=HeadConfig(channels=4))
    batch = batch_of()
    target = TargetMaker(objectives, GRID)(batch)
    step = network(batch, target)
    occupancy, depth = (step.metrics[f"loss/{name}"].value() for name in ("occupancy", "depth"))
    assert step.loss.item() == pytest.approx(occupancy + 0.5 * depth, rel=1e-5)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(25):
        optimizer.zero_grad()
        loss = network(batch, target)
        loss.loss.backward()
        optimizer.step()
    assert loss.metrics["loss/depth"].value() < 0.7 * depth

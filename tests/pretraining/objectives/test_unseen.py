"""Voxels that no camera sees, against a slow projection of each centre."""

import pytest
import torch

from occfeat.models.lifting.projection import seen_voxels
from occfeat.pretraining.network import TargetMaker
from occfeat.pretraining.objectives.entropy import mean_entropy
from occfeat.pretraining.objectives.occupancy import occupancy_logits
from occfeat.settings.sections import PretrainLossConfig
from tests.models.rigs import SMALL_GRID, random_cameras
from tests.pretraining.small_networks import build_network
from tests.support import rigs


def slow_seen(cameras: rigs.Cameras, index: int) -> torch.Tensor:
    """Project each voxel centre into each camera of a key frame, one by one."""
    seen = torch.zeros(SMALL_GRID.shape, dtype=torch.bool)
    centers = SMALL_GRID.centers().double()
    height, width = cameras.image_size
    for camera in cameras.present[index].nonzero()[:, 0].tolist():
        camera_from_ego = torch.linalg.inv(cameras.ego_from_camera[index, camera].double())
        intrinsics = cameras.intrinsics[index, camera].double()
        for cell in torch.ones_like(seen).nonzero().tolist():
            center = torch.cat((centers[tuple(cell)], torch.ones(1, dtype=torch.float64)))
            u, v, depth_m = (intrinsics @ (camera_from_ego @ center)[:3]).tolist()
            if depth_m >= 0.1 and 0 <= u / depth_m < width and 0 <= v / depth_m < height:
                seen[tuple(cell)] = True
    return seen


@pytest.mark.parametrize("seed", range(3))
def test_seen_voxels__are_those_of_a_slow_projection(seed: int) -> None:
    cameras = random_cameras(seed, batch=2, cameras=2, image_size=(32, 56))  # some absent, mirrored, turned
    found = seen_voxels(cameras, SMALL_GRID)
    for index in range(2):
        assert torch.equal(found[index], slow_seen(cameras, index))


def test_seen_voxels__without_a_camera_are_none() -> None:
    cameras = random_cameras(0, batch=1, cameras=2, image_size=(32, 56))
    absent = type(cameras)(
        cameras.intrinsics, cameras.ego_from_camera, torch.zeros_like(cameras.present), cameras.image_size
    )
    assert not seen_voxels(absent, SMALL_GRID).any()


@pytest.mark.parametrize("unknown", ["empty", "ignore"])
def test_step__unseen_voxels_count_neither_in_the_loss_nor_in_the_metrics(unknown: str) -> None:
    loss = PretrainLossConfig(features=0, unknown=unknown, unseen="ignore")
    network = build_network(loss)
    batch = rigs.batch_of(cameras=1)  # looks ahead alone
    maker = TargetMaker(network.objectives, rigs.GRID)
    targets, evidence = maker(batch), maker.evidence(batch)
    target = targets["occupancy"]
    assert 0.05 < evidence.seen.float().mean() < 0.5
    assert (target.counted <= evidence.seen).all()
    assert torch.equal(target.counted, evidence.seen) == (unknown == "empty")
    step = network(batch, targets)
    voxels = network.see(batch.images, batch.cameras)["voxels"]
    logits = occupancy_logits(network.outputs["occupancy"], voxels)
    predicted, occupied = logits[target.counted] > 0, target.occupied[target.counted]
    which = "seen" if unknown == "empty" else "known_seen"
    metrics = {"loss", "loss/occupancy", f"{which}_occupancy_iou", "occupancy_recall", f"{which}_share"}
    assert set(step.metrics) == metrics
    iou = float((predicted & occupied).sum() / (predicted | occupied).sum())
    assert step.metrics[f"{which}_occupancy_iou"].value() == pytest.approx(iou)
    recall = float((predicted & occupied).sum() / occupied.sum())
    assert step.metrics["occupancy_recall"].value() == pytest.approx(recall)
    assert step.metrics[f"{which}_share"].value() == pytest.approx(float(target.counted.float().mean()))
    (by_logit,) = torch.autograd.grad(mean_entropy(logits, target.occupied, target.counted), logits)
    assert torch.equal(by_logit != 0, target.counted)


def test_settings__unseen_needs_an_mean_entropy() -> None:
    with pytest.raises(ValueError, match="unseen `ignore` expects an occupancy weight above 0"):
        PretrainLossConfig(occupancy=0, unseen="ignore")

"""Segmentation loss, pooled IoU under both protocols, frozen students."""

import pytest
import torch
from torch import nn

from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.sample import Labels
from occfeat.segmentation.head import SegmentationHead
from occfeat.segmentation.losses import segmentation_loss
from occfeat.segmentation.metrics import (
    MOTION,
    PROTOCOLS,
    BevIou,
    counted_cells,
    metric_names,
    overlap_by_class,
    overlap_by_protocol,
)
from occfeat.segmentation.task import FinetuningNetwork, Segmenter
from tests.support.rigs import GRID, batch_of


class MeanStudent(nn.Module):
    """A small network with batch norm, to see whether it is really frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

    def forward(self, images: torch.Tensor, cameras: Cameras) -> torch.Tensor:
        features = self.net(images.float().mean(1) / 255)
        return nn.functional.interpolate(features, GRID.bev.shape)


def _labels(target: torch.Tensor, hidden: torch.Tensor) -> Labels:
    return Labels(("vehicle", "pedestrian"), target, hidden)


def test_segmentation_loss__equals_a_plain_sum() -> None:
    logits = torch.randn(2, 1, 4, 5)
    target, counted = torch.rand(2, 1, 4, 5) < 0.3, torch.rand(2, 1, 4, 5) < 0.7
    total, count = 0.0, 0
    for logit, positive, counts in zip(logits.flatten(), target.flatten(), counted.flatten(), strict=True):
        if counts:
            probability = float(logit.double().sigmoid())
            log = torch.tensor(probability if positive else 1 - probability).log()
            total -= float(log) * (2.13 if positive else 1)
            count += 1
    assert segmentation_loss(logits, target, counted, 2.13).item() == pytest.approx(total / count, rel=1e-5)


def test_segmentation_loss__ignored_cells_get_no_gradient() -> None:
    logits = torch.randn(1, 1, 3, 3, requires_grad=True)
    counted = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    counted[0, 0, 1, 1] = True
    segmentation_loss(logits, counted, counted, 2.0).backward()
    assert logits.grad is not None
    assert (logits.grad != 0).nonzero().tolist() == [[0, 0, 1, 1]]


def test_segmentation_loss__nothing_counted_is_zero() -> None:
    nothing = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    assert segmentation_loss(torch.randn(1, 1, 2, 2), nothing, nothing, 2.0).item() == 0


@pytest.mark.parametrize("protocol", MOTION)
def test_counted_cells__motion_needs_labels_that_say_it(protocol: str) -> None:
    nothing = torch.zeros(1, 2, 3, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="expected labels with motion, got none"):
        counted_cells(_labels(nothing, nothing), protocol)


def test_overlap_by_protocol__counts_for_each_protocol_what_it_counts_alone() -> None:
    predicted, target, hidden = (torch.rand(3, 2, 2, 4, 4) < 0.5).unbind(0)
    labels = _labels(target, hidden)
    found = overlap_by_protocol(predicted, labels, PROTOCOLS)
    assert found.keys() == set(PROTOCOLS)
    assert found == {protocol: overlap_by_class(predicted, labels, protocol) for protocol in PROTOCOLS}


def test_bev_iou__is_pooled_not_averaged_over_batches() -> None:
    target = torch.zeros(2, 2, 4, 4, dtype=torch.bool)
    predicted = target.clone()
    target[0, 0, :, :2] = True  # 8 cells, all found
    predicted[0, 0, :, :2] = True
    target[1, 0, 0, 0] = True  # 1 cell, missed; 3 false ones
    predicted[1, 0, 1, :3] = True
    iou = BevIou(("vehicle", "pedestrian"), has_visibility=True)
    for key_frame in range(2):
        part = slice(key_frame, key_frame + 1)
        iou.update(predicted[part], _labels(target[part], torch.zeros_like(target[part])))
    metrics = iou.compute()
    assert metrics["vehicle_iou/all"] == pytest.approx(8 / 12)  # the mean of batches would be 0.5
    assert metrics["vehicle_iou/visible"] == pytest.approx(8 / 12)
    assert metrics["pedestrian_iou/all"] != metrics["pedestrian_iou/all"]  # never there: not a number


def test_bev_iou__visible_protocol_ignores_hidden_cells_on_both_sides() -> None:
    target = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    hidden, predicted = target.clone(), target.clone()
    target[0, 0, 0, :3] = True
    hidden[0, 0, 0, 2] = True  # one of the three is hidden
    predicted[0, 0, 0, :2] = True
    iou = BevIou(("vehicle", "pedestrian"), has_visibility=True)
    iou.update(predicted, _labels(target, hidden))
    assert iou.compute()["vehicle_iou/all"] == pytest.approx(2 / 3)
    assert iou.compute()["vehicle_iou/visible"] == 1
    iou.reset()
    predicted[0, 0, 0, 2] = True  # marking the hidden cell changes nothing
    iou.update(predicted, _labels(target, hidden))
    assert iou.compute()["vehicle_iou/visible"] == 1


def test_bev_iou__equals_sets_of_cells() -> None:
    random = torch.Generator().manual_seed(0)
    predicted, target, hidden = (torch.rand(3, 2, 6, 7, generator=random) < 0.4 for _ in range(3))
    iou = BevIou(("vehicle", "pedestrian"), has_visibility=True)
    iou.update(predicted, _labels(target, hidden))
    assert metric_names(iou.classes, has_visibility=True) == list(iou.compute())
    for column, name in enumerate(iou.classes):
        cells = {
            kind: {tuple(cell) for cell in mask[:, column].nonzero().tolist()}
            for kind, mask in (("p", predicted), ("t", target), ("h", hidden))
        }
        for protocol, ignored in (("all", set()), ("visible", cells["h"])):
            one, other = cells["p"] - ignored, cells["t"] - ignored
            expected = len(one & other) / len(one | other)
            assert iou.compute()[f"{name}_iou/{protocol}"] == pytest.approx(expected)


def test_bev_iou__map_layers_are_reported_once_and_on_average() -> None:
    """The mean leaves out a layer that neither occurs nor is predicted, and everything that is no layer."""
    classes = ("walkway", "vehicle", "divider", "stop_line")
    target = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    predicted = target.clone()
    target[0, :3, 0] = True  # four cells each
    predicted[0, 0, 0, :2] = True  # two of them
    predicted[0, 2, 0] = True  # all of them, and four more
    predicted[0, 2, 1] = True
    iou = BevIou(classes, has_visibility=True)
    iou.update(predicted, Labels(classes, target, torch.zeros_like(target)))
    metrics = iou.compute()
    names = {"walkway_iou/map", "divider_iou/map", "stop_line_iou/map", "mean_iou/map"}
    assert set(metrics) == names | {"vehicle_iou/all", "vehicle_iou/visible"}
    assert metric_names(classes, has_visibility=True) == list(metrics)
    assert (metrics["walkway_iou/map"], metrics["divider_iou/map"]) == (0.5, 0.5)
    assert metrics["stop_line_iou/map"] != metrics["stop_line_iou/map"]
    assert metrics["mean_iou/map"] == 0.5
    assert metrics["vehicle_iou/all"] == 0


def test_bev_iou__what_moves_and_what_stands_still_are_counted_apart() -> None:
    """Three true cells: one moves, one stands, one is hidden; the first and a cell of none are predicted."""
    cells = torch.zeros(5, 1, 2, 2, 4, dtype=torch.bool)
    target, predicted, hidden, not_moving, not_still = cells
    target[0, :, 0, :3] = True
    predicted[0, :, 0, 0], predicted[0, :, 1, 0] = True, True
    hidden[0, :, 0, 2] = True
    not_moving[0, :, 0, 1], not_still[0, :, 0, 0] = True, True
    iou = BevIou(("vehicle", "walkway"), has_visibility=True, motion=True)
    iou.update(predicted, Labels(iou.classes, target, hidden, not_moving, not_still))
    metrics = iou.compute()
    assert list(metrics) == metric_names(iou.classes, has_visibility=True, motion=True)
    assert metrics["vehicle_iou/all"] == 1 / 4
    assert metrics["vehicle_iou/visible"] == 1 / 3
    assert metrics["vehicle_iou/moving"] == 1 / 2
    assert metrics["vehicle_iou/still"] == 0
    assert "walkway_iou/moving" not in metrics


def test_bev_iou__without_visibility_levels_has_no_visible_protocol() -> None:
    iou = BevIou(("vehicle", "divider"), has_visibility=False)
    cells = torch.ones(1, 2, 2, 2, dtype=torch.bool)
    iou.update(cells, Labels(iou.classes, cells, torch.zeros_like(cells)))
    names = ["vehicle_iou/all", "divider_iou/map", "mean_iou/map"]
    assert iou.compute() == dict.fromkeys(names, 1.0)
    assert metric_names(iou.classes, has_visibility=False) == names


def test_bev_iou__mean_of_nothing_is_not_a_number() -> None:
    iou = BevIou(("walkway",), has_visibility=True)
    nothing = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    iou.update(nothing, Labels(("walkway",), nothing, nothing))
    assert iou.compute()["mean_iou/map"] != iou.compute()["mean_iou/map"]


def test_segmenter__frozen_student_keeps_weights_and_statistics() -> None:
    torch.manual_seed(0)
    batch = batch_of()
    segmenter = Segmenter(MeanStudent(), SegmentationHead(4, 1, linear=True), freeze=True)
    network = FinetuningNetwork(
        segmenter, positive_weight=2.0, ignore_low_visibility=True, has_visibility=True
    ).train()
    before = {name: tensor.clone() for name, tensor in segmenter.student.state_dict().items()}
    assert batch.labels is not None
    network(batch, batch.labels).loss.backward()
    learning = [name for name, parameter in network.named_parameters() if parameter.grad is not None]
    assert learning == ["segmenter.head.output.weight", "segmenter.head.output.bias"]
    for name, tensor in segmenter.student.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_segmenter__what_the_student_keeps_frozen_stays_frozen() -> None:
    student = MeanStudent()
    student.requires_grad_(False)
    segmenter = Segmenter(student, SegmentationHead(4, 1))
    assert {weight.requires_grad for weight in segmenter.student.parameters()} == {False}
    assert {weight.requires_grad for weight in segmenter.head.parameters()} == {True}


def test_finetuning_step__objects_and_map_layers_weigh_the_same() -> None:
    classes = ("vehicle", "walkway", "divider")
    segmenter = Segmenter(MeanStudent(), SegmentationHead(4, 3))
    network = FinetuningNetwork(
        segmenter, positive_weight=2.0, ignore_low_visibility=True, has_visibility=True
    )
    batch, target = batch_of(), torch.rand(2, 3, *GRID.bev.shape) < 0.3
    step = network(batch, Labels(classes, target, torch.zeros_like(target)))
    logits = segmenter(batch.images, batch.cameras)
    everywhere = torch.ones_like(target)
    vehicle, layers = (
        segmentation_loss(logits[:, part], target[:, part], everywhere[:, part], 2.0).item()
        for part in (slice(0, 1), slice(1, 3))
    )
    assert step.loss.item() == pytest.approx((vehicle + layers) / 2, rel=1e-5)
    assert step.metrics["loss/objects"].value() == pytest.approx(vehicle, rel=1e-5)
    assert step.metrics["loss/map"].value() == pytest.approx(layers, rel=1e-5)


@pytest.mark.parametrize("has_visibility", [True, False])
def test_finetuning_step__reports_the_protocols_that_the_boxes_have(has_visibility: bool) -> None:
    batch = batch_of()
    assert batch.labels is not None
    network = FinetuningNetwork(
        Segmenter(MeanStudent(), SegmentationHead(4, 1)),
        positive_weight=2.13,
        ignore_low_visibility=False,
        has_visibility=has_visibility,
    )
    step = network(batch, batch.labels)
    visible = {"vehicle_iou/visible"} if has_visibility else set()
    assert set(step.metrics) == {"loss", "vehicle_iou/all"} | visible
    assert torch.isfinite(step.loss)
    layer = Labels(("walkway",), batch.labels.target, torch.zeros_like(batch.labels.target))
    assert set(network(batch, layer).metrics) == {"loss", "walkway_iou/map"}

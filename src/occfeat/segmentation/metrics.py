"""IoU in BEV, pooled over a whole split, under several protocols.

`CLASS_iou/all` counts every annotated object. `CLASS_iou/visible` ignores the cells of objects of low
visibility, in prediction and truth (the rule of Simple-BEV and PointBeV). The data source defines the low
level: 1 (0-40 %) for nuScenes. For a format without visibility levels it is not reported. Map layers have
no visibility: `LAYER_iou/map` counts every cell, and `mean_iou/map` is the mean over the layers. On request,
`CLASS_iou/moving` also ignores the cells of objects that are not known to move (faster than 1 m/s), and
`CLASS_iou/still` those of objects that are not known to stand still. See `training.overlap` for the
threshold.

Axes: `B` key frames, `K` classes, `X Y` BEV cells.
"""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Bool
from torch import Tensor
from torchmetrics import Metric

from occfeat.data.maps.maps import layers_of
from occfeat.data.maps.masks import LAYERS
from occfeat.data.sample.sample import Labels
from occfeat.training.overlap import Overlap, overlap

PROTOCOLS = ("all", "visible", "map")
"""Names of the protocols that need no request, in the order of the counts."""

MOTION = ("moving", "still")
"""Protocols that part objects by their speed; their counts follow."""


def protocols_of(name: str, *, has_visibility: bool, motion: bool = False) -> tuple[str, ...]:
    """Return the protocols under which the IoU of a class is reported.

    Args:
        name: The class.
        has_visibility: Whether the boxes have visibility levels, see `Taxonomy.has_visibility`.
        motion: Whether objects that move are reported apart.
    """
    if name in LAYERS:
        return ("map",)
    return (*(("all", "visible") if has_visibility else ("all",)), *(MOTION if motion else ()))


def metric_names(classes: tuple[str, ...], *, has_visibility: bool, motion: bool = False) -> list[str]:
    """Return the names of the metrics of some classes, as `BevIou` computes them."""
    names = [
        f"{name}_iou/{protocol}"
        for name in classes
        for protocol in protocols_of(name, has_visibility=has_visibility, motion=motion)
    ]
    return [*names, "mean_iou/map"] if layers_of(classes) else names


def known_metrics(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Return metrics with None instead of NaN."""
    return {name: value if value == value else None for name, value in metrics.items()}


def counted_cells(labels: Labels, protocol: str) -> Bool[Tensor, "B K X Y"]:
    """Return a mask of the cells that a protocol counts."""
    if protocol in MOTION:
        others = labels.not_moving if protocol == "moving" else labels.not_still
        if others is None:
            raise ValueError("expected labels with motion, got none")
        return ~(labels.low_visibility | others)
    return ~labels.low_visibility if protocol == "visible" else torch.ones_like(labels.target)


def overlap_by_class(
    predicted: Bool[Tensor, "B K X Y"], labels: Labels, protocol: str
) -> tuple[Overlap, ...]:
    """Count the predicted, true and common cells of each class under a protocol."""
    counted = counted_cells(labels, protocol)
    pairs = zip((predicted & counted).unbind(1), (labels.target & counted).unbind(1), strict=True)
    return tuple(overlap(marked, target) for marked, target in pairs)


def overlap_by_protocol(
    predicted: Bool[Tensor, "B K X Y"], labels: Labels, protocols: Iterable[str]
) -> dict[str, tuple[Overlap, ...]]:
    """Count the cells of each class under `all` and other protocols; `map` counts the same cells as `all`."""
    cells = dict.fromkeys("all" if protocol == "map" else protocol for protocol in protocols)
    found = {protocol: overlap_by_class(predicted, labels, protocol) for protocol in cells}
    return {**found, "map": found["all"]}


class BevIou(Metric):
    """Intersection over union of each class under its protocols, pooled over all updates.

    Counts are integers and are summed over processes, so the result does not depend on batches or ranks.

    Args:
        classes: Names of the classes.
        has_visibility: Whether the boxes have visibility levels.
        motion: Whether labels say which objects move, and these are reported apart.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, classes: tuple[str, ...], *, has_visibility: bool, motion: bool = False) -> None:
        super().__init__()
        self.classes, self.has_visibility, self.motion = classes, has_visibility, motion
        self.protocols = (*PROTOCOLS, *(MOTION if motion else ()))
        zeros = torch.zeros(len(self.protocols), 2, len(classes), dtype=torch.int64)
        self.add_state("counts", zeros, dist_reduce_fx="sum")

    def update(self, predicted: Bool[Tensor, "B K X Y"], labels: Labels) -> None:
        """Add the predictions of a batch."""
        found = overlap_by_protocol(predicted, labels, self.protocols)
        for row, protocol in enumerate(self.protocols):
            self.counts[row, 0] += torch.stack([of_class.both for of_class in found[protocol]])
            self.counts[row, 1] += torch.stack([of_class.union for of_class in found[protocol]])

    def compute(self) -> dict[str, float]:
        """Return IoU by name, 0 to 1; NaN for a class that neither occurs nor is predicted.

        The mean over map layers ignores such classes.
        """
        both, either = self.counts.cpu().double().unbind(1)  # not every device supports float64
        iou = both / either
        metrics = {
            f"{name}_iou/{protocol}": float(iou[self.protocols.index(protocol), column])
            for column, name in enumerate(self.classes)
            for protocol in protocols_of(name, has_visibility=self.has_visibility, motion=self.motion)
        }
        if layers := layers_of(self.classes):
            of_layers = torch.tensor([metrics[f"{name}_iou/map"] for name in layers])
            metrics["mean_iou/map"] = float(of_layers.nanmean())
        return metrics

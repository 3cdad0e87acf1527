"""IoU in BEV, pooled over a whole split and named after its protocol.

`CLASS_iou/all` counts every annotated object; `CLASS_iou/visible` leaves out the cells of objects of nuScenes
visibility 1 (0-40 %), in prediction and truth alike (Simple-BEV's and PointBeV's rule). The threshold is 0.5.

Axes: `B` key frames, `K` classes, `X Y` BEV cells.
"""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from torchmetrics import Metric

from occfeat.data.sample import Labels

PROTOCOLS = ("all", "visible")
"""Names of the protocols, in the order of the rows of the counts."""


def counted_cells(labels: Labels, protocol: str) -> Bool[Tensor, "B K X Y"]:
    """Cells that a protocol counts."""
    if protocol == "all":
        return torch.ones_like(labels.target)
    return ~labels.low_visibility


def iou_counts(
    predicted: Bool[Tensor, "B K X Y"],
    target: Bool[Tensor, "B K X Y"],
    counted: Bool[Tensor, "B K X Y"],
) -> Int64[Tensor, "2 K"]:
    """Number of cells of each class in the intersection and in the union."""
    intersection = (predicted & target & counted).sum(dim=(0, 2, 3))
    union = ((predicted | target) & counted).sum(dim=(0, 2, 3))
    return torch.stack((intersection, union))


class BevIou(Metric):
    """Intersection over union of each class under both protocols, pooled over everything it was given.

    Counts are whole numbers and add up over processes, so the result does not depend on batches or ranks.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.classes = classes
        zeros = torch.zeros(len(PROTOCOLS), 2, len(classes), dtype=torch.int64)
        self.add_state("counts", zeros, dist_reduce_fx="sum")

    def update(self, predicted: Bool[Tensor, "B K X Y"], labels: Labels) -> None:
        """Add the predictions of a batch."""
        for row, protocol in enumerate(PROTOCOLS):
            self.counts[row] += iou_counts(predicted, labels.target, counted_cells(labels, protocol))

    def compute(self) -> dict[str, float]:
        """IoU by name, 0 to 1; NaN for a class that neither occurs nor is predicted."""
        iou = self.counts[:, 0].double() / self.counts[:, 1].double()
        return {
            f"{name}_iou/{protocol}": float(iou[row, column])
            for column, name in enumerate(self.classes)
            for row, protocol in enumerate(PROTOCOLS)
        }

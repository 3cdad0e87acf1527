"""Fine-tuning of the student and a segmentation head."""

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from occfeat.data.maps.masks import LAYERS
from occfeat.data.sample.cameras import Cameras
from occfeat.data.sample.sample import Batch, Labels, Sample
from occfeat.segmentation.head import SegmentationHead
from occfeat.segmentation.losses import segmentation_loss
from occfeat.segmentation.metrics import PROTOCOLS, counted_cells, overlap_by_protocol, protocols_of
from occfeat.training.overlap import is_positive
from occfeat.training.step import Step, mean_of


def labels_of(read: Sample | Batch) -> Labels:
    """Return the labels of a batch: the target of a fine-tuning step."""
    if read.labels is None:
        raise ValueError("expected key frames with labels, got none")
    return read.labels


def tasks_of(classes: tuple[str, ...]) -> dict[str, list[int]]:
    """Return the indices of the object classes, and of the map layers."""
    of_map = {"objects": False, "map": True}
    columns = {
        task: [column for column, name in enumerate(classes) if (name in LAYERS) == wanted]
        for task, wanted in of_map.items()
    }
    return {task: found for task, found in columns.items() if found}


def _columns(planes: Shaped[Tensor, "B K X Y"], columns: list[int]) -> Shaped[Tensor, "B k X Y"]:
    """Return some classes, without an index that the device would have to get first."""
    return torch.stack([planes[:, column] for column in columns], dim=1)


class Segmenter(nn.Module):
    """Student and segmentation head.

    Args:
        student: Images and cameras to BEV features (B, C, X, Y).
        head: BEV features to logits.
        freeze: Whether to freeze the student, including its batch statistics.
    """

    def __init__(self, student: nn.Module, head: SegmentationHead, *, freeze: bool = False) -> None:
        super().__init__()
        self.student = student
        self.head = head
        self.freeze = freeze
        if freeze:
            self.student.requires_grad_(False)  # otherwise the student's own frozen parts stay frozen

    def train(self, mode: bool = True) -> "Segmenter":
        """Set training or evaluation mode; a frozen student stays in evaluation mode."""
        super().train(mode)
        if self.freeze:
            self.student.eval()
        return self

    def forward(self, images: UInt8[Tensor, "B N 3 H W"], cameras: Cameras) -> Float[Tensor, "B K X Y"]:
        """Return the logit of each cell holding each class."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            bev = self.student(images, cameras)
        logits: Tensor = self.head(bev)
        return logits


class FinetuningNetwork(nn.Module):
    """A segmenter whose forward pass returns the loss of a batch.

    Args:
        segmenter: The network that is fine-tuned.
        positive_weight: Weight of positive cells.
        ignore_low_visibility: Whether to ignore cells of objects of low visibility in the loss.
        has_visibility: Whether the boxes have visibility levels.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        positive_weight: float,
        ignore_low_visibility: bool,
        has_visibility: bool,
    ) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.positive_weight, self.has_visibility = positive_weight, has_visibility
        self.protocol = "visible" if ignore_low_visibility else "all"

    @property
    def student(self) -> nn.Module:
        """The student, which can have its own learning rate."""
        return self.segmenter.student

    def forward(self, batch: Batch, target: Labels) -> Step:
        """Return the weighted cross-entropy, and the IoU of each class in the batch under its protocols.

        Of several data sets, each has metrics of its own, too.

        Objects and map layers are two tasks of equal weight, so that vehicles do not count as one class of
        seven (this project's choice).
        """
        logits = self.segmenter(batch.images, batch.cameras)
        step = self._compare(logits, target)
        for name, chosen in batch.by_data_set().items():
            with torch.no_grad():
                some = (
                    step
                    if len(chosen) == len(batch)
                    else self._compare(logits[chosen], target.of_key_frames(chosen))
                )
            step.metrics.update({f"{name}/{metric}": ratio for metric, ratio in some.metrics.items()})
        return step

    def _compare(self, logits: Float[Tensor, "B K X Y"], target: Labels) -> Step:
        """Return the loss and the metrics of some key frames."""
        counted = counted_cells(target, self.protocol)
        losses = {
            task: segmentation_loss(
                _columns(logits, columns),
                _columns(target.target, columns),
                _columns(counted, columns),
                self.positive_weight,
            )
            for task, columns in tasks_of(target.classes).items()
        }
        loss = torch.stack(list(losses.values())).mean()
        metrics = {"loss": mean_of(loss)}
        if len(losses) > 1:
            metrics |= {f"loss/{task}": mean_of(value) for task, value in losses.items()}
        found = overlap_by_protocol(is_positive(logits), target, PROTOCOLS)
        for protocol in PROTOCOLS:
            for name, of_class in zip(target.classes, found[protocol], strict=True):
                if protocol in protocols_of(name, has_visibility=self.has_visibility):
                    metrics[f"{name}_iou/{protocol}"] = of_class.iou
        return Step(loss, metrics)

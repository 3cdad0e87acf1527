"""Occupancy: predict whether each voxel contains a LiDAR return (paper section 3).

Axes: `B` key frames, `D` channels per voxel, `X Y Z` voxels.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from occfeat.data.sample.lidar import Window
from occfeat.pretraining.objectives.contract import POINTS, WINDOW, HeadShape, Need, Objective, Panel, Term
from occfeat.pretraining.objectives.entropy import mean_entropy
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.visibility import known_voxels
from occfeat.training.overlap import is_positive, overlap
from occfeat.training.step import Ratio, ratio_of


@dataclass(frozen=True)
class OccupancyTarget:
    """Occupancy of the voxels, and a mask of those that count."""

    occupied: Bool[Tensor, "B X Y Z"]
    counted: Bool[Tensor, "B X Y Z"] | None = None
    """Voxels that count in the loss and in the metrics. None: all."""
    window: Window | None = None
    """The window of sweeps from which both are taken. None: the key frame's own sweep."""


@dataclass(frozen=True)
class Occupancy(Objective[nn.Conv3d, OccupancyTarget]):
    """Predict whether each voxel is occupied."""

    weight: float
    known_only: bool = False
    """Whether to ignore voxels that the LiDAR did not observe (this project's option)."""
    seen_only: bool = False
    """Whether to ignore voxels outside the image of every camera (this project's option)."""
    of_window: bool = False
    """Whether to learn what the sweeps around the key frame say together (this project's option)."""
    name = "occupancy"

    @property
    def needs(self) -> frozenset[Need]:  # type: ignore[override] # depends on the settings of the objective
        """Points, and the window if the target is made of it."""
        return WINDOW if self.of_window else POINTS

    def build_output(self, shape: HeadShape) -> nn.Conv3d:
        """Build a linear layer from the channels of a voxel to one logit."""
        return nn.Conv3d(shape.voxel_channels, 1, kernel_size=1)

    def target(self, evidence: Evidence) -> OccupancyTarget:
        """Return the occupied voxels, and those that count unless all do."""
        occupied, counted, window = evidence.occupied, None, None
        if self.of_window:
            window = evidence.window
            occupied, counted = window.occupied, window.known
        elif self.known_only:
            counted = known_voxels(occupied, evidence.points, evidence.grid)
        if self.seen_only:
            counted = evidence.seen if counted is None else counted & evidence.seen
        return OccupancyTarget(occupied, counted, window)

    def loss(self, output: nn.Conv3d, read: Tensor, target: OccupancyTarget) -> Term:
        """Return the binary cross-entropy as loss, IoU and recall as metrics."""
        logits = occupancy_logits(output, read)
        return Term(mean_entropy(logits, target.occupied, target.counted), self._metrics(logits, target))

    def of_key_frames(self, target: OccupancyTarget, chosen: Int64[Tensor, " b"]) -> OccupancyTarget:
        """Return the voxels of some key frames of a batch."""
        counted = None if target.counted is None else target.counted[chosen]
        window = None if target.window is None else target.window.of_key_frames(chosen)
        return OccupancyTarget(target.occupied[chosen], counted, window)

    def _metrics(self, logits: Float[Tensor, "B X Y Z"], target: OccupancyTarget) -> dict[str, Ratio]:
        """Return IoU and recall; their names tell which voxels are ignored."""
        occupied, counted = target.occupied, target.counted
        if counted is None:
            found = overlap(is_positive(logits), occupied)
            return {"occupancy_iou": found.iou, "occupancy_recall": found.recall}
        found = overlap(is_positive(logits.masked_fill(~counted, -1.0)), occupied & counted)
        which = "window_" * self.of_window or "known_" * self.known_only
        which += "seen_" * self.seen_only
        share = ratio_of(counted.sum(), counted.numel())
        return {
            f"{which}occupancy_iou": found.iou,
            "occupancy_recall": found.recall,
            f"{which}share": share,
            **({} if target.window is None else _counts(target.window)),
        }

    def occupancy_probability(self, output: nn.Conv3d, read: Tensor) -> Float[Tensor, "B X Y Z"]:
        """Return the occupancy probability of each voxel."""
        return occupancy_logits(output, read).sigmoid()

    def panels(self, output: nn.Conv3d, read: Tensor, target: OccupancyTarget) -> list[Panel]:
        """Return what a window of sweeps makes known; what one sweep hits is drawn anyway."""
        if target.window is None or target.counted is None:
            return []
        probability = self.occupancy_probability(output, read)
        return [Panel.of_voxels("occupied in the window", probability, target.occupied, target.counted)]


def _counts(window: Window) -> dict[str, Ratio]:
    """Return the mean number of LiDAR files in a window, and of those that could not be read."""
    key_frames = len(window.sweeps)
    return {
        "window_sweeps": ratio_of(window.sweeps.sum(), key_frames),
        "window_lost": ratio_of(window.lost.sum(), key_frames),
    }


def occupancy_logits(output: nn.Conv3d, voxels: Float[Tensor, "B D X Y Z"]) -> Float[Tensor, "B X Y Z"]:
    """Return the occupancy logit of each voxel."""
    return voxel_logits(output, voxels)[:, 0]


def voxel_logits(output: nn.Conv3d, voxels: Float[Tensor, "B D X Y Z"]) -> Float[Tensor, "B K X Y Z"]:
    """Return the logits of each voxel, from an output with several."""
    # A matrix product over channels keeps the memory layout of the volume.
    logits: Tensor = output(voxels.permute(0, 1, 4, 2, 3))
    return logits.permute(0, 1, 3, 4, 2)

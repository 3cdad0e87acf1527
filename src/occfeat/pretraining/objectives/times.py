"""Occupancy at other times: predict from one moment's features what is occupied before and after it.

All times are in the ego frame of the key frame (after ViDAR, CVPR 2024, and UniWorld; this project's option).

Axes: `B` key frames, `T` times, `D` channels per voxel, `X Y Z` voxels.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from occfeat.data.sample.lidar import TimedStates
from occfeat.machine.waiting import numbers_like
from occfeat.pretraining.objectives.contract import TIMES, HeadShape, Objective, Panel, Term
from occfeat.pretraining.objectives.entropy import mean_entropy
from occfeat.pretraining.objectives.evidence import Evidence
from occfeat.pretraining.objectives.occupancy import voxel_logits
from occfeat.training.overlap import is_positive, overlap
from occfeat.training.step import Ratio, ratio_of


@dataclass(frozen=True)
class TimedOccupancy(Objective[nn.Conv3d, TimedStates]):
    """Predict whether each voxel is occupied at each of some times."""

    weight: float
    times_s: tuple[float, ...]
    """Times after the key frame; negative before it."""
    time_weights: tuple[float, ...]
    """Weight of the loss of each time."""
    name = "times"
    needs = TIMES

    def build_output(self, shape: HeadShape) -> nn.Conv3d:
        """Build a linear layer from the channels of a voxel to one logit per time."""
        return nn.Conv3d(shape.voxel_channels, len(self.times_s), kernel_size=1)

    def target(self, evidence: Evidence) -> TimedStates:
        """Return the states of the voxels at each time."""
        return evidence.timed_states

    def loss(self, output: nn.Conv3d, read: Tensor, target: TimedStates) -> Term:
        """Return the weighted sum of the binary cross-entropies as loss, the IoU of each time as metric."""
        logits = voxel_logits(output, read)
        losses = timed_losses(logits, target)
        return Term(losses @ numbers_like(self.time_weights, losses), self._metrics(logits, target))

    def of_key_frames(self, target: TimedStates, chosen: Int64[Tensor, " b"]) -> TimedStates:
        """Return the states of some key frames of a batch."""
        return TimedStates(target.states[chosen], target.present[chosen])

    def _metrics(self, logits: Float[Tensor, "B T X Y Z"], target: TimedStates) -> dict[str, Ratio]:
        """Return the IoU of each time over known voxels, and the share of the times with a sweep."""
        metrics = {}
        for number, time_s in enumerate(self.times_s):
            known = target.known[:, number]
            found = overlap(is_positive(logits[:, number]) & known, target.occupied[:, number])
            metrics[f"occupancy_iou_at_{time_s:+g}s"] = found.iou
        present = target.present
        return {**metrics, "times_present": ratio_of(present.sum(), present.numel())}

    def occupancy_probability(self, output: nn.Conv3d, read: Tensor) -> Float[Tensor, "B X Y Z"] | None:
        """Return the occupancy probability at the time of the key frame; None if it is not predicted."""
        if 0.0 not in self.times_s:
            return None
        return voxel_logits(output, read)[:, self.times_s.index(0.0)].sigmoid()

    def panels(self, output: nn.Conv3d, read: Tensor, target: TimedStates) -> list[Panel]:
        """Return what is occupied at each time."""
        probability = voxel_logits(output, read).sigmoid()
        each = zip(
            self.times_s,
            probability.unbind(1),
            target.occupied.unbind(1),
            target.known.unbind(1),
            strict=True,
        )
        return [Panel.of_voxels(f"occupied at {time_s:+g} s", *of_time) for time_s, *of_time in each]


def timed_losses(logits: Float[Tensor, "B T X Y Z"], target: TimedStates) -> Float[Tensor, " T"]:
    """Return the binary cross-entropy of each time in float32, averaged over known voxels; 0 without any."""
    each = zip(logits.unbind(1), target.occupied.unbind(1), target.known.unbind(1), strict=True)
    return torch.stack([mean_entropy(*of_time) for of_time in each])

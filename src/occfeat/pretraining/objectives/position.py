"""What the teacher sees at each patch of each camera on average (this project's option).

A part of it is what is always there, such as sky above and road below. Another part are artefacts of vision
transformers that depend on the position alone (Denoising Vision Transformers, ECCV 2024).

Axes: `B` key frames, `N` cameras, `F` teacher channels, `h w` teacher feature map.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class PositionSurvey:
    """Sums of feature maps by camera and patch; starts empty. Absent cameras do not count."""

    def __init__(self) -> None:
        self.total: Float[Tensor, "N F h w"] = torch.zeros(0, 0, 0, 0)
        self.count: Int64[Tensor, " N"] = torch.zeros(0, dtype=torch.int64)
        self.squares = 0.0

    def add(self, maps: Float[Tensor, "B N F h w"], present: Bool[Tensor, "B N"]) -> None:
        """Add the maps of a batch."""
        maps, present = maps.cpu().double(), present.cpu()  # not every device supports float64
        maps = torch.where(present[..., None, None, None], maps, 0)
        total, count = maps.sum(dim=0), present.sum(dim=0)
        self.total = self.total + total if len(self.total) else total
        self.count = self.count + count if len(self.count) else count
        self.squares += float(maps.square().sum())

    def mean(self) -> Float[Tensor, "N F h w"]:
        """Return the mean map of each camera; of one that was never there, that of all others."""
        counted = self.count.clamp(min=1)[:, None, None, None]
        others = self.total.sum(dim=0) / max(1, int(self.count.sum()))
        met = (self.count > 0)[:, None, None, None]
        return torch.where(met, self.total / counted, others).float()

    def explained(self) -> float | None:
        """Return the share of the variance that camera and patch explain; None if it cannot be estimated.

        Means over few key frames explain something by chance. The share is adjusted for it, as an adjusted
        coefficient of determination.
        """
        height, width = self.total.shape[2:]
        met = self.count > 0
        patches, positions = int(self.count.sum()) * height * width, int(met.sum()) * height * width
        if patches <= positions:
            return None
        counts = self.count[met][:, None, None, None]
        within = self.squares - float((self.total[met].square() / counts).sum())
        around_mean = self.squares - float(self.total.sum(dim=(0, 2, 3)).square().sum()) / patches
        if around_mean <= 0:
            return None
        return 1 - within / (patches - positions) / (around_mean / (patches - 1))

"""What the teacher sees at each patch of each camera on average (this project's option).

A part of it is what is always there, such as sky above and road below. Another part is artefacts of vision
transformers that depend on the position alone (Denoising Vision Transformers, ECCV 2024).

Axes: `B` key frames, `S` data sets, `N` cameras, `V` views: the cameras of a key frame, or of several, `F`
teacher channels, `h w` teacher feature map.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from occfeat.errors import SettingsError
from occfeat.machine.waiting import upload


@dataclass(frozen=True)
class UsualMaps:
    """The mean feature of each patch of each camera of each data set."""

    data_sets: tuple[str, ...]
    """Names of the data sets; that of a single one is empty."""
    maps: Float[Tensor, "S N F h w"]
    """Means; those behind the last camera of a rig are never read."""

    def of(self, data_sets: Sequence[str], camera: Int64[Tensor, "B V"]) -> Float[Tensor, "B V F h w"]:
        """Return the mean map of each view.

        Args:
            data_sets: Name of the data set of each key frame.
            camera: Which camera of its rig each view is.

        Raises:
            SettingsError: There are no means of a data set.
        """
        if unknown := sorted(set(data_sets) - set(self.data_sets)):
            known, found = (
                ", ".join(name or "one data set" for name in names) for names in (self.data_sets, unknown)
            )
            raise SettingsError(
                f"loss.center `position` knows the cameras of {known}, got {found}.",
                hint="Use a data set of the pretraining run, or a run with loss.center `mean`.",
            )
        number = torch.tensor([self.data_sets.index(name) for name in data_sets])
        return self.maps.to(camera.device)[upload(number, camera.device)[:, None], camera]

    def require(self, cameras: int, patches: tuple[int, int]) -> None:
        """Refuse key frames of another rig or image size.

        Raises:
            SettingsError: Cameras or patches differ from those of pretraining.
        """
        _, most, _, *wanted = self.maps.shape
        several = len(self.data_sets) > 1  # rigs with fewer cameras are among them
        if [*patches] == wanted and (cameras == most or (several and cameras < most)):
            return
        expected, found = (f"{n} x {h} x {w}" for n, h, w in ((most, *wanted), (cameras, *patches)))
        raise SettingsError(
            f"loss.center `position` expects the {expected} patches of pretraining, got {found}.",
            hint="Use the data set of the pretraining run, or a run with loss.center `mean`.",
        )


class PositionSurvey:
    """Sums of feature maps by camera and patch. Absent cameras do not count.

    Args:
        shape: Cameras, channels, rows and columns of a map.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self.total: Float[Tensor, "N F h w"] = torch.zeros(*shape, dtype=torch.float64)
        self.count: Int64[Tensor, " N"] = torch.zeros(shape[0], dtype=torch.int64)
        self.squares = 0.0

    def add(self, maps: Float[Tensor, "B N F h w"], present: Bool[Tensor, "B N"]) -> None:
        """Add the maps of a batch, which may lack the last cameras."""
        maps, present = maps.cpu().double(), present.cpu()  # not every device supports float64
        maps = torch.where(present[..., None, None, None], maps, 0)
        lacking = len(self.count) - present.shape[1]
        self.total += F.pad(maps.sum(dim=0), (*(0,) * 7, lacking))
        self.count += F.pad(present.sum(dim=0), (0, lacking))
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

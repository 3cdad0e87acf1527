"""Calibration of the cameras of a rig.

Axes: `*B` is empty in a sample and one axis in a batch, `N` cameras of the rig.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from occfeat.data.sample.tensors import Tensors
from occfeat.geometry.lens import PINHOLE


@dataclass(frozen=True)
class Cameras(Tensors):
    """Calibration of all cameras of a rig, for their image tensors. `L`: numbers of a lens."""

    intrinsics: Float[Tensor, "*B N 3 3"]
    """From normalised coordinates to pixels of the image tensors, after resize, crop, flip and rotation."""
    ego_from_camera: Float[Tensor, "*B N 4 4"]
    """Camera frame to ego frame at the LiDAR's time, including the ego motion in between."""
    present: Bool[Tensor, "*B N"]
    """False for a camera that is missing in this key frame; its image is black."""
    image_size: tuple[int, int]
    """(height, width) in pixels of the image tensors."""
    lenses: Float[Tensor, "*B N L"] | None = None
    """`Lens.numbers` of each camera, which act on normalised coordinates. None: all are pinholes."""
    host: "Cameras | None" = None
    """The same calibration on the CPU, kept when it is moved to another device; see `on_host`."""

    def on_host(self) -> "Cameras":
        """Return the same calibration on the CPU, without waiting for a device that it was moved to."""
        if self.intrinsics.device.type == "cpu":
            return self
        return self.host or self.to("cpu")

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Cameras":
        """Return the changed calibration; what was on the CPU is kept beside it on another device."""
        kept = self if self.intrinsics.device.type == "cpu" else self.host
        moved = Tensors._each(replace(self, host=None), change)
        return replace(moved, host=None if moved.intrinsics.device.type == "cpu" else kept)

    def with_absent(self, count: int) -> "Cameras":
        """Return the rig of one key frame with absent cameras behind its own, `count` in all."""
        more = count - len(self.present)
        absent = Cameras(
            torch.eye(3).expand(more, 3, 3),
            torch.eye(4).expand(more, 4, 4),
            torch.zeros(more, dtype=torch.bool),
            self.image_size,
        )
        lenses = absent.with_lenses().lenses
        return replace(
            self,
            intrinsics=torch.cat((self.intrinsics, absent.intrinsics)),
            ego_from_camera=torch.cat((self.ego_from_camera, absent.ego_from_camera)),
            present=torch.cat((self.present, absent.present)),
            lenses=None if self.lenses is None or lenses is None else torch.cat((self.lenses, lenses)),
        )

    def of_key_frame(self, index: int) -> "Cameras":
        """Return the calibration of one key frame of a batch."""
        return Cameras(
            self.intrinsics[index],
            self.ego_from_camera[index],
            self.present[index],
            self.image_size,
            None if self.lenses is None else self.lenses[index],
        )

    def without_needless_lenses(self) -> "Cameras":
        """Return the same cameras, on the CPU, without lenses if all are pinholes."""
        if self.lenses is None or bool((self.lenses != self.lenses.new_tensor(PINHOLE.numbers())).any()):
            return self
        return replace(self, lenses=None)

    def with_lenses(self) -> "Cameras":
        """Return the same cameras with a lens for each, also for pinholes."""
        if self.lenses is not None:
            return self
        pinholes = self.intrinsics.new_tensor(PINHOLE.numbers()).expand(*self.present.shape, -1)
        return replace(self, lenses=pinholes)

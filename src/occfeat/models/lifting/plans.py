"""Plans: what a lifting derives from a rig's calibration, cached."""

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import torch

from occfeat.data.sample import Cameras

Plan = TypeVar("Plan")


class PlanCache(Generic[Plan]):
    """A cache of the latest plans, by calibration: a rig that does not change is planned once.

    Ego motion that is folded into the calibration, and augmentation, change it with every key frame.

    Args:
        build: Makes the plan of one rig: `build(cameras, *layout, device)`, its calibration on the CPU.
        size: Plans to keep; one of 6 cameras and 200 x 200 x 8 voxels takes about 25 MB.
    """

    def __init__(self, build: Callable[..., Plan], size: int = 8) -> None:
        self._build = build
        self._size = size
        self._plans: dict[tuple[object, ...], Plan] = {}

    def __len__(self) -> int:
        return len(self._plans)

    def plans(self, cameras: Cameras, *layout: Any) -> list[Plan]:
        """Return the plan of each key frame of a batch, on the device of its calibration.

        Args:
            cameras: Calibration of the batch.
            *layout: What else the plan depends on, such as grid and feature size; hashable.
        """
        device = cameras.intrinsics.device
        return [self._plan(rig, *layout, device) for rig in _rigs(cameras.to("cpu"))]

    def _plan(self, rig: Cameras, *layout: Any) -> Plan:
        """Return the plan of one rig, made only if it is not among the latest ones."""
        lenses = b"" if rig.lenses is None else rig.lenses.numpy().tobytes()
        tensors = (rig.intrinsics, rig.ego_from_camera, rig.present)
        key = (*(tensor.numpy().tobytes() for tensor in tensors), lenses, rig.image_size, *layout)
        with torch.inference_mode(False):  # what is kept may take part in training later
            plan = self._plans.pop(key) if key in self._plans else self._build(rig, *layout)
        self._plans[key] = plan  # at the end: the first entry is the one unused for longest
        if len(self._plans) > self._size:
            del self._plans[next(iter(self._plans))]
        return plan


def _rigs(cameras: Cameras) -> Iterator[Cameras]:
    """Yield the calibration of each key frame of a batch, which is on the CPU.

    Rigs of pinholes lose the lenses that they have only because others in the batch have some.
    """
    rigs = (cameras.of_key_frame(index) for index in range(len(cameras.intrinsics)))
    return (rig.without_needless_lenses() for rig in rigs)

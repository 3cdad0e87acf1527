"""Plans: what a lifting derives from a rig's calibration, cached.

The size of a plan depends on numbers that only the device knows, such as how many voxels a camera sees. A
builder of plans is therefore a generator. It yields those numbers once as a tensor, gets them back as a list,
and returns the plan. The numbers of all new rigs of a batch are read from the device at once.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from occfeat.data.sample.cameras import Cameras

Plan = TypeVar("Plan")
Building = Generator[Tensor, list[int], Plan]
"""A plan in progress: yields a vector of whole numbers, gets them as a list, returns the plan."""


class PlanCache(Generic[Plan]):
    """A cache of the latest plans, by calibration: a rig that does not change is planned once.

    Ego motion that is folded into the calibration, and augmentation, change it with every key frame.

    Args:
        build: Builds the plan of one rig: `build(cameras, *layout, device)`, its calibration on the CPU.
        size: Plans to keep; one of 6 cameras and 200 x 200 x 8 voxels takes about 25 MB.
    """

    def __init__(self, build: Callable[..., Building[Plan]], size: int = 8) -> None:
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
        rigs = list(_rigs(cameras.on_host()))
        keys = [_key(rig, layout) for rig in rigs]
        missing = {key: rig for key, rig in zip(keys, rigs, strict=True) if key not in self._plans}
        with torch.inference_mode(False):  # what is kept may take part in training later
            building = (self._build(rig, *layout, device) for rig in missing.values())
            made = [finish(one) for one in building] if device.type == "cpu" else finish_all(building)
        found = {**self._plans, **dict(zip(missing, made, strict=True))}
        plans = [found[key] for key in keys]
        self._keep(dict(zip(keys, plans, strict=True)))
        return plans

    def _keep(self, plans: dict[tuple[object, ...], Plan]) -> None:
        """Put the plans of a batch at the end, and drop those that were unused for longest."""
        others = {key: plan for key, plan in self._plans.items() if key not in plans}
        self._plans = dict(list({**others, **plans}.items())[-self._size :])


def finish(building: Building[Plan]) -> Plan:
    """Return the plan of one rig."""
    return finish_all([building])[0]


def finish_all(buildings: Iterable[Building[Plan]]) -> list[Plan]:
    """Return the plans of several rigs, and wait for the device only once."""
    done: dict[int, Plan] = {}
    asking: dict[int, tuple[Building[Plan], Tensor]] = {}
    for number, building in enumerate(buildings):
        try:
            asking[number] = building, next(building)
        except StopIteration as end:
            done[number] = end.value
    wanted = [numbers for _, numbers in asking.values()]
    told = iter(torch.cat(wanted).tolist() if wanted else [])
    for number, (building, numbers) in asking.items():
        try:
            building.send([next(told) for _ in range(len(numbers))])
        except StopIteration as end:
            done[number] = end.value
    return [done[number] for number in sorted(done)]


def _key(rig: Cameras, layout: tuple[Any, ...]) -> tuple[object, ...]:
    """Return what the plan of a rig depends on."""
    lenses = b"" if rig.lenses is None else rig.lenses.numpy().tobytes()
    tensors = (rig.intrinsics, rig.ego_from_camera, rig.present)
    return (*(tensor.numpy().tobytes() for tensor in tensors), lenses, rig.image_size, *layout)


def _rigs(cameras: Cameras) -> Iterator[Cameras]:
    """Yield the calibration of each key frame of a batch, which is on the CPU.

    Rigs of pinholes lose the lenses that they have only because others in the batch have some.
    """
    rigs = (cameras.of_key_frame(index) for index in range(len(cameras.intrinsics)))
    return (rig.without_needless_lenses() for rig in rigs)

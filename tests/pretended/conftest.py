"""Fixtures: a pretended GPU on which the commands run."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.accelerators.cpu import CPUAccelerator
from lightning_fabric.strategies.single_device import SingleDeviceStrategy
from torch import Tensor
from torch.nn.utils import clip_grad

from tests.pretended.device import GPU, PretendedGpu, PretendedTensor, count_wait


class PretendedAutocast(torch.autocast):
    """Autocast that rounds on the CPU what claims to be on the GPU."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


FACTORIES = ("tensor", "as_tensor", "zeros", "ones", "empty", "full", "eye", "arange", "linspace")


def building_there(build: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a factory for functions of PyTorch that build tensors where the context is not active."""

    def built(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        if device is not None and torch.device(device).type == "cuda":
            if build.__name__ in ("tensor", "as_tensor"):
                count_wait("copy of Python numbers")
            return PretendedTensor(build(*args, **kwargs))
        return build(*args, device=device, **kwargs)

    return built


class PretendedAccelerator(CPUAccelerator):
    """An accelerator that has the pretended GPU."""

    def setup_device(self, device: torch.device) -> None:
        """Accept the pretended GPU."""


def group_by_device(lists: list[list[Tensor]], with_indices: bool = False) -> dict[Any, Any]:
    """Group tensors as PyTorch does in C++, where pretended tensors are on the CPU."""
    places = {(one.device, one.dtype) for one in lists[0]}
    return {
        place: (
            [[one for one in tensors if (one.device, one.dtype) == place] for tensors in lists],
            list(range(len(lists[0]))),
        )
        for place in places
    }


def enter_without_gradients(mode: torch.inference_mode) -> None:
    """Compute without gradients: views of pretended tensors cannot be inference tensors."""
    mode.pretended = torch.set_grad_enabled(not mode.mode)  # type: ignore[attr-defined]


def exit_without_gradients(mode: torch.inference_mode, *error: Any) -> None:
    """Compute as before."""
    mode.pretended.__exit__(*error)  # type: ignore[attr-defined]


def build_pretended(accelerator: str, precision: Any, plugins: Any, **_: Any) -> Fabric:
    """Build a Fabric of one process on the pretended GPU."""
    assert accelerator == "cuda"
    strategy = SingleDeviceStrategy(device=GPU, accelerator=PretendedAccelerator())
    return Fabric(strategy=strategy, precision=precision, plugins=plugins)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    """A pretended GPU, which every command takes."""
    for name, module in list(sys.modules.items()):
        if name.startswith("occfeat.") and hasattr(module, "choose_device"):
            monkeypatch.setattr(module, "choose_device", lambda _: GPU)
    monkeypatch.setattr("occfeat.training.device.Fabric", build_pretended)
    for name in FACTORIES:
        monkeypatch.setattr(torch, name, building_there(getattr(torch, name)))
    monkeypatch.setattr(clip_grad, "_group_tensors_by_device_and_dtype", group_by_device)
    monkeypatch.setattr(torch, "autocast", PretendedAutocast)
    monkeypatch.setattr(torch.inference_mode, "__enter__", enter_without_gradients)
    monkeypatch.setattr(torch.inference_mode, "__exit__", exit_without_gradients)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    with PretendedGpu() as pretended:
        yield pretended
    torch.__future__.set_swap_module_params_on_conversion(before)

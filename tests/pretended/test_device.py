"""The pretended GPU itself: it must refuse what a GPU refuses, or it proves nothing."""

import pytest
import torch
from torch import nn

from tests.pretended.device import GPU, PretendedGpu, on_gpu


@pytest.fixture
def there(gpu: PretendedGpu) -> torch.Tensor:
    """A tensor on the GPU."""
    return torch.arange(6.0, device=GPU)


def test_mixing__raises_forwards_and_in_place(there: torch.Tensor) -> None:
    here = torch.ones(6)
    for mixing in (lambda: there + here, lambda: there.add_(here), lambda: torch.cat((there, here))):
        with pytest.raises(RuntimeError, match="same device"):
            mixing()
    assert (there + torch.tensor(1.0)).tolist() == [1, 2, 3, 4, 5, 6]  # numbers may be anywhere


def test_mixing__raises_in_the_backward_pass(there: torch.Tensor) -> None:
    class Forgetful(torch.autograd.Function):
        """Gives back a gradient of the wrong device."""

        @staticmethod
        def forward(ctx: object, tensor: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return tensor * 2

        @staticmethod
        def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return gradient * torch.ones(6)

    learned = there.requires_grad_()
    with pytest.raises(RuntimeError, match="same device"):
        Forgetful.apply(learned).sum().backward()


def test_numpy__raises(there: torch.Tensor) -> None:
    with pytest.raises(TypeError, match="convert"):
        there.numpy()
    assert there.cpu().numpy().sum() == 15


def test_waits__are_counted(gpu: PretendedGpu, there: torch.Tensor) -> None:
    waiting = {
        "item": lambda: there.sum().item(),
        "bool": lambda: bool((there > 3).any()),
        "mask": lambda: there[there > 3],
        "nonzero": lambda: there.nonzero(),
        "to": lambda: there.to("cpu"),
        "list": lambda: there.tolist(),
        "upload": lambda: torch.ones(6).to(GPU),
        "numbers": lambda: there.new_tensor((1.0, 2.0)),
    }
    for name, wait in waiting.items():
        before = gpu.waits.total
        wait()
        assert gpu.waits.total == before + 1, name
    before = gpu.waits.total
    _ = there * 2 + torch.zeros_like(there)
    _ = torch.ones(6).to(GPU, non_blocking=True)
    assert gpu.waits.total == before


def test_learning__gives_the_results_of_the_cpu(gpu: PretendedGpu) -> None:
    def learned(device: torch.device) -> list[float]:
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1)
        )
        images = torch.randn(2, 3, 8, 8)
        network.to(device)
        optimizer = torch.optim.AdamW(network.parameters(), 0.1)
        losses = []
        for _ in range(3):
            optimizer.zero_grad()
            loss = network(images.to(device)).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert all(on_gpu(one) == (device == GPU) for one in network.state_dict().values())
        return losses

    assert learned(GPU) == learned(torch.device("cpu"))

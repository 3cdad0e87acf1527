import torch
from torch import Tensor, nn

from occfeat.machine.waiting import numbers_like


class Shifted(nn.Module):
    """Adds constants that nothing else asks for."""

    def __init__(self, numbers: tuple[float, ...]) -> None:
        super().__init__()
        self.numbers = numbers

    def forward(self, points: Tensor) -> Tensor:
        return points + numbers_like(self.numbers, points)


def test_numbers_like__are_copied_once() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    numbers = numbers_like((0.25, 71), like)
    assert numbers.tolist() == [0.25, 71.0]
    assert numbers.dtype == torch.float64
    assert numbers_like([0.25, 71], like) is numbers


def test_numbers_like__first_asked_for_while_traced() -> None:
    module, points = Shifted((0.5, 73.0)), torch.tensor([1.0, 2.0])
    first = torch.export.export(module, (points,))
    assert numbers_like((0.5, 73.0), points).tolist() == [0.5, 73.0]
    second = torch.export.export(module, (points,))
    for program in (first, second):
        assert program.module()(points).tolist() == [1.5, 75.0]


def test_numbers_like__first_asked_for_in_inference() -> None:
    with torch.inference_mode():
        numbers = numbers_like((0.5, 79.0), torch.zeros(1))
    points = torch.ones(2, requires_grad=True)
    (points * numbers).sum().backward()
    assert points.grad is not None
    assert points.grad.tolist() == [0.5, 79.0]

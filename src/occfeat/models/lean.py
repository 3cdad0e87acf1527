"""Norms and activations that keep one tensor for the backward pass in place of two.

SiLU and GELU keep their input, which is the output of the norm before them. Computing that again from the
input of the norm, which is kept anyway, takes a small part of the time of a convolution, and gives the same
numbers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Norm = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Normalises an input with weight and bias."""


class LeanNormSilu(BatchNormAct2d):
    """timm's batch norm with SiLU; results are the same, in training with less memory."""

    def forward(self, x: Float[Tensor, "M C H W"]) -> Float[Tensor, "M C H W"]:
        """Normalise over the batch, then apply SiLU."""
        if self.num_batches_tracked is None or not (self.training and torch.is_grad_enabled()):
            usual: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return usual
        self.num_batches_tracked.add_(1)
        first = partial(self._normalise, self.running_mean, self.running_var)
        again = partial(self._normalise, None, None)
        activated: Tensor = _NormActivation.apply(x, self.weight, self.bias, first, again, True)
        return activated

    def _normalise(
        self, mean: Tensor | None, variance: Tensor | None, x: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        """Normalise by the statistics of the batch; running ones that are given are updated."""
        return F.batch_norm(x, mean, variance, weight, bias, True, self.momentum or 0.0, self.eps)


class ConvolutionNormGelu(nn.Sequential):
    """A convolution, a norm of each sample and GELU; in training with less memory than `nn.Sequential`.

    Args:
        convolution: The convolution.
        norm: A group norm, or an instance norm without running statistics; with weight and bias.
    """

    def __init__(self, convolution: nn.Module, norm: nn.GroupNorm | nn.InstanceNorm2d) -> None:
        super().__init__(convolution, norm, nn.GELU())

    def forward(self, x: Float[Tensor, "B C *space"]) -> Float[Tensor, "B C2 *space2"]:
        """Convolve, normalise, activate."""
        convolution, norm, gelu = self
        convolved = convolution(x)
        if not (self.training and torch.is_grad_enabled()):
            usual: Tensor = gelu(norm(convolved))
            return usual
        normalise = partial(_normalise, norm)
        lean: Tensor = _NormActivation.apply(convolved, norm.weight, norm.bias, normalise, normalise, False)
        return lean


def _normalise(norm: nn.Module, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply a norm of each sample with this weight and bias.

    Raises:
        TypeError: It is another norm.
    """
    if isinstance(norm, nn.GroupNorm):
        return F.group_norm(x, norm.num_groups, weight, bias, norm.eps)
    if isinstance(norm, nn.InstanceNorm2d):
        return F.instance_norm(x, None, None, weight, bias, True, norm.momentum or 0.0, norm.eps)
    raise TypeError(f"expected a group norm or an instance norm, got {type(norm).__name__}")


class _NormActivation(torch.autograd.Function):
    """A norm and SiLU or GELU, of which only the input of the norm is kept."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, first: Norm, again: Norm, silu: bool
    ) -> Tensor:
        """Normalise with `first`, and activate."""
        normal = first(x, weight, bias)
        ctx.save_for_backward(x, weight, bias)
        ctx.again, ctx.silu, ctx.dtype = again, silu, normal.dtype
        return F.silu(normal, inplace=True) if silu else F.gelu(normal)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Normalise with `again`, and return the gradients by input, weight and bias."""
        inputs = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        needed = ctx.needs_input_grad[: len(inputs)]
        with torch.enable_grad():  # in the type that autocast chose
            normal = ctx.again(inputs[0].to(ctx.dtype), *inputs[1:])
        backward = torch.ops.aten.silu_backward if ctx.silu else torch.ops.aten.gelu_backward
        by_normal = backward(gradients[0], normal.detach())
        wanted = [one for one, is_needed in zip(inputs, needed, strict=True) if is_needed]
        found = iter(torch.autograd.grad(normal, wanted, by_normal))
        return *(next(found) if is_needed else None for is_needed in needed), None, None, None


def make_lean(network: nn.Module) -> None:
    """Let all batch norms of a network that are followed by SiLU keep less; its weights stay as they are."""
    for module in network.modules():
        plain = type(module) is BatchNormAct2d and module.affine and module.momentum is not None
        if plain and isinstance(module.act, nn.SiLU) and isinstance(module.drop, nn.Identity):
            module.__class__ = LeanNormSilu

"""Norms and activations that keep less: the same numbers to the last bit."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from occfeat.models.lean import ConvolutionNormGelu, LeanNormSilu, make_lean


def passed(network: nn.Module, images: Tensor) -> list[Tensor]:
    """Output, gradients and buffers after two training steps without an optimiser."""
    for _ in range(2):
        found = network(images)
        (found * torch.linspace(-1, 1, found.numel()).view_as(found)).sum().backward()
    gradients = [one.grad for one in network.parameters() if one.grad is not None]
    return [found.detach(), *gradients, *network.buffers()]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_lean__equals_timm_to_the_last_bit(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    usual: nn.Module = timm.create_model("efficientnet_b0", pretrained=False, num_classes=3, drop_rate=0.0)
    usual.to(memory_format=layout).train()
    lean = copy.deepcopy(usual)
    make_lean(lean)
    assert sum(isinstance(module, LeanNormSilu) for module in lean.modules()) == 33
    images = torch.randn(2, 3, 64, 96).contiguous(memory_format=layout)
    ours, theirs = passed(copy.deepcopy(lean), images), passed(usual, images)
    assert len(ours) == len(theirs)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    lean.load_state_dict(usual.state_dict())
    assert torch.equal(lean.eval()(images), usual.eval()(images))


def test_lean__keeps_one_activation_less() -> None:
    kept = dict[int, int]()

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    usual = nn.Sequential(timm.layers.norm_act.BatchNormAct2d(8, act_layer=nn.SiLU))
    sizes = []
    for network in (usual, copy.deepcopy(usual)):
        if sizes:
            make_lean(network)
        images = torch.randn(2, 8, 40, 40, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            network(images * 1)
        sizes.append(sum(kept.values()))
        kept.clear()
    assert sizes[1] < 0.6 * sizes[0]


def test_lean__takes_weights_that_are_frozen() -> None:
    network = nn.Sequential(timm.layers.norm_act.BatchNormAct2d(8, act_layer=nn.SiLU))
    make_lean(network)
    images = torch.randn(2, 8, 4, 4, requires_grad=True)
    network.requires_grad_(False)
    network(images).sum().backward()
    assert images.grad is not None
    network.requires_grad_(True)
    network(images.detach()).sum().backward()
    assert network[0].weight.grad is not None


@pytest.mark.parametrize("norm", [nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True)])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_convolution_norm_gelu__equals_a_sequence(norm: nn.GroupNorm, dtype: torch.dtype | None) -> None:
    torch.manual_seed(0)
    lean = ConvolutionNormGelu(nn.Conv2d(3, 4, 3), copy.deepcopy(norm))
    usual = copy.deepcopy(nn.Sequential(*lean))
    assert lean.state_dict().keys() == usual.state_dict().keys()
    images = torch.randn(2, 3, 16, 24)
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        ours, theirs = (passed(one, images) for one in (lean, usual))
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    lean.load_state_dict(usual.state_dict())
    assert torch.equal(lean.eval()(images), usual.eval()(images))

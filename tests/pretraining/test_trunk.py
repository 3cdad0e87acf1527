import pytest
import torch
from torch import nn

from occfeat.pretraining.trunk import VoxelConvolution


@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
def test_voxel_convolution__is_torchs_in_either_layout(
    capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    convolution = VoxelConvolution(4, 4, kernel_size=3, padding=1)
    plain = nn.Conv3d(4, 4, kernel_size=3, padding=1)
    plain.load_state_dict(convolution.state_dict())
    volume, by_output = torch.randn(2, 4, 3, 7, 5), torch.randn(2, 4, 3, 7, 5)
    results = []
    for one in (convolution, plain):
        given = volume.clone().requires_grad_()
        output = one(given)
        output.backward(by_output)
        results.append((output, given.grad, one.weight.grad, one.bias.grad))
    assert results[0][0].is_contiguous()
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
